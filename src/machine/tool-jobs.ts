/** Jobs of domain 0's tools in the image: their calls in tables, their structures in domain 0's own frames. */

import { START_ENTRY } from '../pcpu/model/boot.js';
import { TOOL_CALL, TOOL_JOB } from '../pcpu/model/privcmd-records.js';
import type { Image } from '../shared/image.js';
import {
  DATA,
  dataBytes,
  type ToolCall,
  type ToolJob,
  type ToolResult,
  type ToolstackConfig,
} from '../toolstack/tool-job.js';

/** Where a workload guest's kernel starts. */
export const GUEST_ENTRY = START_ENTRY;

/** Room for what comes from outside: longer jobs are cut up. */
export const LIVE_CALLS = 4096;
export const LIVE_BYTES = 1 << 20;

export interface ToolRoom {
  readonly jobs: number;
  readonly calls: number;
  /** Of domain 0's memory. */
  readonly bytes: number;
}

const bytesOf = (calls: readonly ToolCall[]): number => calls.reduce((n, call) => n + dataBytes(call), 0);
const allOf = ({ calls, undo = [] }: Pick<ToolJob, 'calls' | 'undo'>): readonly ToolCall[] => [...calls, ...undo];

/** What the jobs take. Job 0 is the outside's. */
export function toolRoom(config: ToolstackConfig | undefined): ToolRoom {
  if (config === undefined) return { jobs: 0, calls: 0, bytes: 0 };
  const { live, jobs } = config;
  return {
    jobs: 1 + jobs.length,
    calls: (live ? LIVE_CALLS : 0) + jobs.reduce((n, job) => n + allOf(job).length, 0),
    bytes: (live ? LIVE_BYTES : 0) + jobs.reduce((n, job) => n + bytesOf(allOf(job)), 0),
  };
}

/** Where the next job goes. `data` is an offset in domain 0's area. */
export interface ToolCursor {
  call: number;
  data: number;
}

/** Where domain 0's area for structures is: image address, guest address. */
export interface ToolArea {
  readonly image: number;
  readonly guest: number;
}

/** Writes a job that is not begun. */
export function writeJob(
  image: Image,
  area: ToolArea,
  j: number,
  wanted: Pick<ToolJob, 'calls' | 'undo'>,
  at: ToolCursor,
): void {
  const [job, call] = [image.table(TOOL_JOB), image.table(TOOL_CALL)];
  const view = new DataView(image.buffer);
  job.setBeganAt(j, -1);
  job.setDoneAt(j, -1);
  job.setFirstCall(j, at.call);
  job.setCalls(j, wanted.calls.length);
  job.setUndo(j, wanted.undo?.length ?? 0);
  job.setUndone(j, 0);
  job.setMade(j, 0);
  job.setIsPaid(j, 0);
  job.setFailed(j, 0);
  for (const spec of allOf(wanted)) {
    const c = at.call++;
    const guest = area.guest + at.data;
    image.u8.set(spec.data, area.image + at.data);
    for (const [field, to] of spec.pointers) {
      view.setBigUint64(area.image + at.data + field, BigInt(guest + to), true);
    }
    call.setCostNs(c, spec.costNs);
    call.setNr(c, spec.nr);
    call.setNeeds(c, spec.needs ?? 0);
    for (let k = 0; k < 4; k++) {
      const arg = spec.args[k] ?? 0;
      call.setArgs(c, k, arg === DATA ? guest : arg);
    }
    call.setResult(c, 0);
    at.data += dataBytes(spec);
  }
}

/** What came of a job that is done: as many results as calls were made, the last one of the call that failed. */
export function readJob(
  image: Image,
  area: ToolArea,
  j: number,
  calls: readonly ToolCall[],
  data: number,
): ToolResult[] {
  const [job, call] = [image.table(TOOL_JOB), image.table(TOOL_CALL)];
  const results: ToolResult[] = [];
  let at = area.image + data;
  for (const [n, spec] of calls.slice(0, job.made(j)).entries()) {
    results.push({ rc: call.result(job.firstCall(j) + n), data: image.u8.slice(at, at + spec.data.length) });
    at += dataBytes(spec);
  }
  return results;
}

/** How many calls from `first` on fit in the room for the outside's. */
export function fitting(calls: readonly ToolCall[], first: number): number {
  let [n, bytes] = [0, 0];
  while (first + n < calls.length && n < LIVE_CALLS) {
    bytes += dataBytes(calls[first + n]!);
    if (bytes > LIVE_BYTES) break;
    n++;
  }
  return n;
}
