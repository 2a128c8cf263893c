/**
 * The way of domain 0's tools into the hypervisor: a task makes the calls of a job, one after the other, and pays for what the tool
 * computes before each with time of the VCPU it runs on. So a toolstack is as fast as the share of its domain lets it be.
 */
import { XEN_EAGAIN, XEN_ENOMEM, XEN_ERESTART } from '../../shared/public/errno.js';
import { BUILD_KERNEL, STORE_WRITE } from '../../shared/tool-words.js';
import type { DomainBuilder } from './domain-builder.js';
import type { GuestHypercalls } from './hypercalls.js';
import type { ModelMemory } from './memory.js';
import { TOOL_CALL, TOOL_JOB, TOOL_POST } from './privcmd-records.js';
import type { Store } from './store.js';

/** What is left of a job. */
export const JOB = { work: 0, call: 1, done: 2 } as const;

/** Time between two tries of a call that could not be finished at once, ns. */
const RETRY_NS = 100_000;

export interface Privcmd {
  /** Whether the outside wants something that is not done yet. */
  isGiven(): boolean;
  /** Says that the outside's job is done. */
  answer(): void;
  /** One step of job j for a task on VCPU v, by one of JOB: `work`: compute for `costNs` first. @param nowNs guest clock */
  step(v: number, j: number, nowNs: number): number;
  /** What is to be computed before job j's next call, ns. */
  costNs(j: number): number;
}

export function privcmd(mem: ModelMemory, calls: GuestHypercalls, store: Store, builder: DomainBuilder): Privcmd {
  const { image, machineWords } = mem.hv.context;
  const job = image.table(TOOL_JOB);
  const call = image.table(TOOL_CALL);
  const post = image.region('tool-post').base;
  const GIVEN = (post + TOOL_POST.offsets.given) >> 2;
  const DONE = (post + TOOL_POST.offsets.done) >> 2;

  const isUndoing = (j: number): boolean => job.failed(j) !== 0;
  const nextCall = (j: number): number =>
    job.firstCall(j) + (isUndoing(j) ? job.calls(j) + job.undone(j) : job.made(j));
  /** Where the first call fails nothing was done. */
  const isOver = (j: number): boolean =>
    isUndoing(j) ? job.undone(j) === job.undo(j) || job.made(j) === 1 : job.made(j) === job.calls(j);

  function make(v: number, j: number): void {
    const c = nextCall(j);
    const [a0, a1, a2, a3] = [call.args(c, 0), call.args(c, 1), call.args(c, 2), call.args(c, 3)];
    const nr = call.nr(c);
    let result: number;
    if (nr === STORE_WRITE) result = store.write(v, a0, a1, a2);
    else if (nr === BUILD_KERNEL) result = builder.build(v, a0);
    else result = calls.call(v, nr, a0, a1, a2, a3);
    // As libxc does: again, until it is through.
    if (result === -XEN_EAGAIN || result === -XEN_ERESTART) {
      call.setCostNs(c, RETRY_NS);
      return;
    }
    if (isUndoing(j)) {
      job.addUndone(j, 1);
      return;
    }
    const isEnough = result >= call.needs(c);
    call.setResult(c, isEnough || result < 0 ? result : -XEN_ENOMEM);
    job.addMade(j, 1);
    if (!isEnough) job.setFailed(j, call.result(c));
  }

  return {
    isGiven: () => machineWords.load(GIVEN) !== machineWords.load(DONE),
    answer() {
      Atomics.store(image.i32, DONE, machineWords.load(GIVEN));
      // Somebody outside the machine waits for it.
      Atomics.notify(image.i32, DONE);
    },
    step(v, j, nowNs) {
      if (job.made(j) === 0 && job.isPaid(j) === 0 && job.beganAt(j) < 0) job.setBeganAt(j, nowNs);
      if (job.isPaid(j) !== 0) {
        job.setIsPaid(j, 0);
        make(v, j);
      }
      if (isOver(j)) {
        job.setDoneAt(j, nowNs);
        return JOB.done;
      }
      job.setIsPaid(j, 1);
      return call.costNs(nextCall(j)) > 0 ? JOB.work : JOB.call;
    },
    costNs: (j) => call.costNs(nextCall(j)),
  };
}
