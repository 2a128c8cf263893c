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
  /** Memory written, and written to the I/O device. */
  | { readonly kind: 'mem' | 'iorun'; readonly bytes: number }
  /** Starts one more task like the one named. */
  | { readonly kind: 'fork'; readonly task: string }
  /** Counting semaphores that start at 0. Not in rt-app's grammar. */
  | { readonly kind: 'sem_post' | 'sem_wait'; readonly ref: string }
  /** Asks a service of another domain and waits for the answer. Not in rt-app's grammar, as the next two. */
  | { readonly kind: 'request'; readonly domain: string; readonly service: string; readonly bytes: number }
  /** Takes the next request, and waits for one if there is none. */
  | { readonly kind: 'serve'; readonly service: string }
  /** Answers the request taken last. */
  | { readonly kind: 'respond'; readonly service: string; readonly bytes: number }
  /** Waits for an interrupt of a device that it has not seen. Not in rt-app's grammar. */
  | { readonly kind: 'irq'; readonly device: string }
  /** Has a disk do something and waits until it is done. Not in rt-app's grammar. */
  | { readonly kind: 'io'; readonly device: string }
  /** Domain 0's NTP client: asks the reference for UTC and sets the host's wall clock. Not in rt-app's grammar. */
  | { readonly kind: 'ntp' }
  /** Domain 0's tools, not in rt-app's grammar either: wait until so long after the start; do a job; do what the outside asks for. */
  | { readonly kind: 'until'; readonly ns: number }
  | { readonly kind: 'tool'; readonly job: number }
  | { readonly kind: 'toolstack' }
);

export type TaskPolicy = 'SCHED_OTHER' | 'SCHED_IDLE' | 'SCHED_FIFO' | 'SCHED_RR' | 'SCHED_DEADLINE';

/** Of SCHED_DEADLINE: `runtimeNs` in every period, by `deadlineNs` after its start. */
export interface DeadlineParameters {
  readonly runtimeNs: number;
  readonly deadlineNs: number;
  readonly periodNs: number;
}

export interface TaskScheduling {
  readonly policy: TaskPolicy;
  /** Nice value of SCHED_OTHER, -20 to 19; priority of SCHED_FIFO and SCHED_RR, 1 to 99; else 0. */
  readonly priority: number;
  /** Exactly with SCHED_DEADLINE. */
  readonly deadline?: DeadlineParameters;
}

export interface WorkloadPhase {
  readonly name: string;
  /** Times the phase runs before the next one starts; -1 = for ever. */
  readonly loop: number;
  /** VCPU numbers of the domain this phase may run on; absent = the task's. */
  readonly cpus?: readonly number[];
  /** How the task is scheduled from here on; absent = as before. */
  readonly scheduling?: TaskScheduling;
  readonly events: readonly WorkloadEvent[];
}

export interface WorkloadTask extends TaskScheduling {
  readonly name: string;
  readonly at: Place;
  /** Identical threads from the start; 0 where they are only forked. Instances are named `name-0`, `name-1`, … in results. */
  readonly instance: number;
  readonly delayNs: number;
  /** Times the whole list of phases runs; -1 = for ever. */
  readonly loop: number;
  readonly cpus?: readonly number[];
  readonly phases: readonly WorkloadPhase[];
}

/** Something in the file that is accepted and changes nothing. */
export interface WorkloadWarning {
  readonly message: string;
  readonly at: Place;
}

export interface Workload {
  readonly file: string;
  /** `global.duration`; absent when -1 or not given. */
  readonly durationNs?: number;
  readonly logBasename: string;
  readonly cumulativeSlack: boolean;
  /** `global.calibration` as a number: what one loop takes, ns. @default 1000 */
  readonly nsPerLoop?: number;
  /** `global.pi_enabled`. @default false */
  readonly inheritsPriority?: boolean;
  /** `global.mem_buffer_size`, bytes. @default 4 MiB */
  readonly memBufferBytes?: number;
  /** `global.io_device`. @default '/dev/null' */
  readonly ioDevice?: string;
  /** `global.log_size: "disable"`. @default true */
  readonly keepsLogs?: boolean;
  /** `global.gnuplot`. @default false */
  readonly gnuplot?: boolean;
  readonly warnings?: readonly WorkloadWarning[];
  readonly tasks: readonly WorkloadTask[];
}
