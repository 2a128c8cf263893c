/**
 * The uniform scheduler interface (S19), after Xen's `struct scheduler`. A policy is one such record of operations
 * plus four state records (per VCPU, per domain, per pCPU, and global ones, one a cpupool); it is made once per worker and cpupool by
 * its factory, keeps all state in the image and is listed in registry.ts.
 *
 * Locking: every operation that names a VCPU is called with the run-queue lock of that VCPU's pCPU held, `doSchedule`
 * with the lock of the pCPU that schedules; `remove`, `contextSaved`, `tick`, `accounting` and `adjust` with none.
 */
import type { Region } from '../../shared/image.js';
import type { HvContext } from '../context.js';

/** What the generic scheduler offers a policy. */
export interface GenericScheduler {
  /** Whether nothing keeps VCPU v from running. */
  isRunnable(v: number): boolean;
  /** Stops a VCPU without waiting for it, for parking. */
  pause(v: number): void;
  unpause(v: number): void;
  /** Asks that a running VCPU be moved: it is taken off its pCPU and finds a new one once its state is saved. @param why one of MOVES, for the trace */
  requestMigration(v: number, why?: number): void;
  raiseSchedule(p: number): void;
  keyChanged(p: number): void;
  /** Takes the lock of the run queue that VCPU v belongs to, wherever it is moved meanwhile, and returns its number. */
  lock(v: number): number;
  /** Parks a VCPU that runs or waits, under that lock; the policy takes it out of its queue itself. `unpause` lets it go. */
  park(v: number): void;
}

/** The cpupool that a policy works for: each has the records of its own number. */
export interface PoolView {
  readonly index: number;
  readonly params: PoolParams;
  /** How many pCPUs it has, and the first of them, which does its accounting; -1 = it has none. */
  pcpus(): number;
  master(): number;
}

/** Parameters of a pool's scheduler, for those that use them. */
export interface PoolParams {
  readonly tsliceNs: number;
  readonly ratelimitNs: number;
  readonly migrationDelayNs: number;
}

export interface SchedulerOps {
  readonly name: string;
  /** Prepares the state of a pool, before it has pCPUs and VCPUs. */
  init(): void;
  /** A pCPU comes to the pool, idle and with an empty queue; or has left it so. */
  initPcpu(p: number): void;
  deinitPcpu(p: number): void;
  /** A VCPU comes, a new one, whose record may have been another's, or one of another pool, with its affinity and a first pCPU set. It neither runs nor is queued. */
  insert(v: number): void;
  /** A VCPU is no more, or leaves for another pool. It is not queued; in the latter case it may run for a moment still. No lock is held. */
  remove(v: number): void;
  sleep(v: number): void;
  wake(v: number): void;
  yield(v: number): void;
  /** Puts the VCPU to run and the timeslice (ns; Infinity = none) into the pCPU's `next` and `nextSlice`. */
  doSchedule(p: number): void;
  pickCpu(v: number): number;
  /** Moves a VCPU that neither runs nor is queued to pCPU `p`. */
  migrate(v: number, p: number): void;
  /** The state of a VCPU that was switched out is saved: from now on others may run it. No lock is held. */
  contextSaved(v: number): void;
  /** Domain parameters changed (weight, cap, SEDF's in the domain's record). */
  adjust(d: number): void;
  /** Affinity masks of v changed. */
  adjustAffinity(v: number): void;
  /** Next tick of pCPU p while it runs a VCPU; Infinity = the policy has none. */
  nextTick(p: number): number;
  tick(p: number): void;
  /** Time of the next accounting, Infinity = none wanted; it runs on pCPU p, the pool's first. */
  nextAccounting(p: number): number;
  accounting(p: number): void;
  /**
   * The first instant at or after `ns` at which accounting may come, whatever turns from `ns` on up to it do.
   * @default nextAccounting()
   */
  accountingFrom?(ns: number): number;
  /**
   * Groups side by side: does what turns have put off, as it concerns several groups and its order counts. Between two turns, while
   * nobody takes any, and before accounting.
   */
  settle?(): void;
  dumpSettings(): string;
  /** What can be changed of the policy as a whole at run time (sysctl's scheduler_op); absent: nothing. */
  readonly settings?: PolicySettings;
  /** Lines for the debug key `r`: of the policy as a whole, and of pCPU p, with its run-queue lock held. */
  dumpGlobal?(): string[];
  dumpPcpu?(p: number): string[];
}

/** Times in ns; what a policy has not is 0, and setting it changes nothing. */
export interface PolicySettings {
  tsliceNs(): number;
  ratelimitNs(): number;
  migrationDelayNs(): number;
  set(tsliceNs: number, ratelimitNs: number, migrationDelayNs: number): void;
}

export interface PolicyShape {
  readonly pcpus: number;
  readonly vcpus: number;
  readonly domains: number;
  readonly runners: number;
  readonly pools: number;
}

export interface SchedulerPolicy {
  readonly name: string;
  /** One line for `--help` and error messages. */
  readonly title: string;
  /** Whether a pCPU never idles while somebody in its queue could run. @default true */
  readonly isWorkConserving?: boolean;
  /**
   * Whether its turns on one group of pCPUs read and write nothing that turns of other groups do (separation.ts), but in accounting,
   * `settle` and `adjust`. Otherwise the machine is one group. @default false
   */
  readonly isLocal?: boolean;
  /** Records for so many pCPUs, VCPUs and domains, and those that each cpupool has for itself. */
  regions(shape: PolicyShape): Region[];
  create(hv: HvContext, generic: GenericScheduler, pool: PoolView): SchedulerOps;
}
