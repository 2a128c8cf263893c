/** The schedulers one can boot with. To add one: write its file and add it here. */
import { credit } from './credit.js';
import type { SchedulerPolicy } from './interface.js';
import { nullScheduler } from './null.js';

export const SCHEDULERS: readonly SchedulerPolicy[] = [credit, nullScheduler];

export const findScheduler = (name: string): SchedulerPolicy | undefined => SCHEDULERS.find((s) => s.name === name);
