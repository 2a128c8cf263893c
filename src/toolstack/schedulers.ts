/** Schedulers by their names on the command line and their numbers in the ABI. */
import * as D from '../shared/public/domctl.js';
import { XEN_SCHEDULER_SEDF } from '../shared/sedf-abi.js';

const NUMBERS = {
  sedf: XEN_SCHEDULER_SEDF,
  credit: D.XEN_SCHEDULER_CREDIT,
  credit2: D.XEN_SCHEDULER_CREDIT2,
  null: D.XEN_SCHEDULER_NULL,
} as const;

export type SchedulerName = keyof typeof NUMBERS;
/** Those whose parameters of a domain are a weight and a cap. */
export type CreditName = 'credit' | 'credit2';

export const schedulerNumber = (name: SchedulerName): number => NUMBERS[name];

export const isSchedulerName = (name: string): name is SchedulerName => Object.hasOwn(NUMBERS, name);

/** Name of scheduler number `id`; a policy of the user's own has none. */
export const schedulerName = (id: number): string =>
  Object.entries(NUMBERS).find(([, number]) => number === id)?.[0] ?? 'user';
