/** The schedulers one can boot with. To add one: write its file and add it here, or name a file of one's own (user-policy.ts). */
import { credit } from './credit.js';
import { credit2 } from './credit2.js';
import type { SchedulerPolicy } from './interface.js';
import { nullScheduler } from './null.js';
import { sedf } from './sedf.js';

export const SCHEDULERS: readonly SchedulerPolicy[] = [credit, credit2, sedf, nullScheduler];

/** Policies from files, by the names of these; of this thread. */
const loaded = new Map<string, SchedulerPolicy>();

export function registerScheduler(policy: SchedulerPolicy): void {
  loaded.set(policy.name, policy);
}

export const findScheduler = (name: string): SchedulerPolicy | undefined =>
  SCHEDULERS.find((s) => s.name === name) ?? loaded.get(name);
