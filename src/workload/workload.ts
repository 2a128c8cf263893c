/**
 * A workload: what the tasks of one domain do, as a tree that the rt-app parser builds and the
 * guest kernel's compiler lowers into the image. Durations are nanoseconds; rt-app files hold microseconds.
 *
 * Source: rt-app's doc/tutorial.txt.
 */
import type { Place } from './config-error.js';

/** One thing a task does. `name` fields refer to resources that live as long as the domain. */
export type WorkloadEvent = { readonly at: Place } & (
  | { readonly kind: 'run'; readonly ns: number }
  | { readonly kind: 'runtime'; readonly ns: number }
  | { readonly kind: 'sleep'; readonly ns: number }
  /** `unique`: every task instance owns a timer of this name; otherwise the domain shares one. */
  | {
      readonly kind: 'timer';
      readonly ref: string;
      readonly unique: boolean;
      readonly periodNs: number;
      readonly mode: 'relative' | 'absolute';
    }
  | { readonly kind: 'lock' | 'unlock'; readonly mutex: string }
  | { readonly kind: 'wait' | 'sync'; readonly cond: string; readonly mutex: string }
  | { readonly kind: 'signal' | 'broad'; readonly cond: string }
  | { readonly kind: 'barrier'; readonly ref: string }
  | { readonly kind: 'suspend' | 'resume'; readonly ref: string }
  | { readonly kind: 'yield' }
  /** Waits for an interrupt of a device that it has not seen. Not in rt-app's grammar. */
  | { readonly kind: 'irq'; readonly device: string }
  /** Has a disk do something and waits until it is done. Not in rt-app's grammar. */
  | { readonly kind: 'io'; readonly device: string }
  /** Domain 0's NTP client: asks the reference for UTC and sets the host's wall clock. Not in rt-app's grammar. */
  | { readonly kind: 'ntp' }
);

export interface WorkloadPhase {
  readonly name: string;
  /** Times the phase runs before the next one starts; -1 = for ever. */
  readonly loop: number;
  /** VCPU numbers of the domain this phase may run on; absent = the task's. */
  readonly cpus?: readonly number[];
  readonly events: readonly WorkloadEvent[];
}

export type TaskPolicy = 'SCHED_OTHER' | 'SCHED_FIFO' | 'SCHED_RR';

export interface WorkloadTask {
  readonly name: string;
  readonly at: Place;
  /** Number of identical threads. Instances are named `name-0`, `name-1`, … in logs as rt-app does. */
  readonly instance: number;
  readonly delayNs: number;
  /** Times the whole list of phases runs; -1 = for ever. */
  readonly loop: number;
  readonly policy: TaskPolicy;
  readonly priority: number;
  readonly cpus?: readonly number[];
  readonly phases: readonly WorkloadPhase[];
}

export interface Workload {
  readonly file: string;
  /** `global.duration`; absent when -1 or not given. */
  readonly durationNs?: number;
  readonly logBasename: string;
  readonly cumulativeSlack: boolean;
  readonly tasks: readonly WorkloadTask[];
}
