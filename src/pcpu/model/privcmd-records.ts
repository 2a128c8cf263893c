/**
 * Hypercalls that domain 0's tools want made, as Linux's privcmd device takes them: a job is a list of calls, made one after the
 * other by one task, each after the work that the tool does before it. Arguments lie in domain 0's own frames.
 */
import { type Region, tableRegion } from '../../shared/image.js';
import { struct } from '../../shared/struct.js';

/** Written by the main thread before the job is given; `result` by the task. */
export const TOOL_CALL = struct('tool-call', {
  /** What the tool computes before the call, ns. */
  costNs: 'f64',
  nr: 'i32',
  /** The least answer that is a success: of memory, all that was asked for. */
  needs: 'i32',
  args: ['i32', 4],
  /** What the call answered. */
  result: 'i32',
});

/** Job 0 is the one that comes from outside, through `ringzero xl`. Written by the task, but for what is to be done. */
export const TOOL_JOB = struct('tool-job', {
  /** Guest clock when it was begun and when it was done, ns; -1 = not yet. */
  beganAt: 'f64',
  doneAt: 'f64',
  firstCall: 'i32',
  calls: 'i32',
  /** Calls made. */
  made: 'i32',
  /** 1 when the work before the next call is done. */
  isPaid: 'i32',
  /** Answer of the call that failed, which ended it; 0 = none. */
  failed: 'i32',
  /** Calls behind the others that take back what was done, if one failed, and how many of them are made. */
  undo: 'i32',
  undone: 'i32',
});

/** Job 0: how often it was given, by the command that gives it, and done, by the task. Atomics. */
export const TOOL_POST = struct('tool-post', { given: 'i32', done: 'i32' }, 64);

export const LIVE_JOB = 0;

export interface ToolShape {
  readonly jobs: number;
  readonly calls: number;
}

export const toolRegions = ({ jobs, calls }: ToolShape): Region[] => [
  tableRegion(TOOL_POST, 1),
  tableRegion(TOOL_JOB, Math.max(1, jobs)),
  tableRegion(TOOL_CALL, Math.max(1, calls)),
];
