/**
 * SCHED_DEADLINE: the task with the earliest deadline runs, and none gets more than its runtime in a period (EDF with a constant
 * bandwidth server a task: sched-deadline in Linux' documentation). A task that has used up its runtime is throttled until
 * its next period, whoever else would run.
 */
import type { ModelMemory } from './memory.js';
import { CLASS } from './records.js';

export interface DeadlineClass {
  charge(t: number, ns: number): void;
  /** t wakes: it keeps deadline and budget if it can use them up without more than its share, or begins anew. */
  wake(t: number, nowNs: number): void;
  /** t begins anew with its parameters. */
  begin(t: number, nowNs: number): void;
  isExhausted(t: number): boolean;
  /** The rest of this period's runtime is given up. */
  giveUp(t: number): void;
  /** When the next period begins, guest clock. */
  nextPeriod(t: number): number;
  replenish(t: number, nowNs: number): void;
}

export function deadlineClass({ task, taskSched }: ModelMemory): DeadlineClass {
  /** Of this class by itself: who inherited a deadline runs without a budget, and so does one that was boosted. */
  const isOwn = (t: number): boolean =>
    taskSched.ownClass(t) === CLASS.deadline && taskSched.queuedBy(t) === taskSched.dlAt(t);

  function setDeadline(t: number, at: number): void {
    // What it inherited stays; its own deadline counts where nothing was.
    const own = isOwn(t);
    taskSched.setDlAt(t, at);
    if (own) taskSched.setQueuedBy(t, at);
  }

  function begin(t: number, nowNs: number): void {
    setDeadline(t, nowNs + taskSched.dlDeadline(t));
    taskSched.setBudget(t, taskSched.dlRuntime(t));
  }

  return {
    charge(t, ns) {
      if (isOwn(t)) taskSched.addBudget(t, -ns);
    },
    wake(t, nowNs) {
      const left = taskSched.dlAt(t) - nowNs;
      if (left <= 0 || taskSched.budget(t) * taskSched.dlDeadline(t) > left * taskSched.dlRuntime(t)) begin(t, nowNs);
    },
    begin,
    isExhausted: (t) => task.taskClass(t) === CLASS.deadline && isOwn(t) && taskSched.budget(t) <= 0,
    giveUp(t) {
      if (isOwn(t)) taskSched.setBudget(t, 0);
    },
    nextPeriod: (t) => taskSched.dlAt(t) - taskSched.dlDeadline(t) + taskSched.dlPeriod(t),
    replenish(t, nowNs) {
      // A task that overran by several periods owes them all.
      for (;;) {
        setDeadline(t, taskSched.dlAt(t) + taskSched.dlPeriod(t));
        taskSched.addBudget(t, taskSched.dlRuntime(t));
        if (taskSched.budget(t) > 0) break;
      }
      if (taskSched.budget(t) > taskSched.dlRuntime(t)) taskSched.setBudget(t, taskSched.dlRuntime(t));
      if (taskSched.dlAt(t) < nowNs) begin(t, nowNs);
    },
  };
}
