/** The schedulers one can boot with. To add one: write its file and add it here. */
import { credit } from './credit.js';
import type { SchedulerPolicy } from './interface.js';
import { sedf } from './sedf.js';

export const SCHEDULERS: readonly SchedulerPolicy[] = [credit, sedf];

export const findScheduler = (name: string): SchedulerPolicy | undefined => SCHEDULERS.find((s) => s.name === name);
