/**
 * Run queues of the credit2 scheduler: who belongs to one, in which order they wait, how loaded it is, and which of its pCPUs are
 * free. Everything here is done under the queue's lock.
 *
 * A VCPU that is moved leaves its old queue under that one's lock, and becomes a member of the new one when somebody next takes the
 * new one's lock for it (`join`): so no move needs two locks.
 */
import { machineMaskWords } from '../../balancer/records.js';
import { type List, lists, NONE } from '../../shared/list.js';
import type { Table } from '../../shared/struct.js';
import type { HvContext } from '../context.js';
import {
  ACTIVE,
  CREDIT2_DOMAIN,
  CREDIT2_GLOBAL,
  CREDIT2_RUNQ,
  CREDIT2_VCPU,
  FREE,
  LOAD_GRANULARITY_SHIFT,
  LOAD_ONE,
  RUNQ_MASKS,
  SMT_FREE,
  TICKLED,
} from './credit2-records.js';

export interface Credit2Queues {
  readonly cv: Table<typeof CREDIT2_VCPU.fields>;
  readonly cq: Table<typeof CREDIT2_RUNQ.fields>;
  readonly cd: Table<typeof CREDIT2_DOMAIN.fields>;
  readonly cg: Table<typeof CREDIT2_GLOBAL.fields>;
  /** Members of run queues. */
  readonly members: List;
  /** The pCPU that stands for the queue of VCPU v. */
  queueOf(v: number): number;
  /** Word index of one of the masks of queue q. */
  mask(q: number, kind: number): number;
  setUp(q: number, start: number, end: number): void;
  /** Puts a VCPU among those who wait, behind those of equal credit. */
  insert(v: number): void;
  join(v: number): void;
  leave(v: number): void;
  weightChanged(v: number, weight: number): void;
  /** v counts in its queue's load from now on, or no longer. */
  count(v: number): void;
  uncount(v: number): void;
  updateLoad(q: number): void;
  updateVcpuLoad(v: number): void;
  /** pCPU p idles and nobody told it of anything; or not any more. */
  setFree(p: number): void;
  clearFree(p: number): void;
  setTickled(p: number): void;
}

export function credit2Queues(hv: HvContext): Credit2Queues {
  const { image, queues, params, now } = hv;
  const { entry, list, runq, masks } = queues;
  const cv = image.table(CREDIT2_VCPU);
  const cq = image.table(CREDIT2_RUNQ);
  const members = lists(
    image.i32,
    image.columns(CREDIT2_VCPU, 'next', 'prev', 'linked'),
    image.columns(CREDIT2_RUNQ, 'first', 'last'),
  );
  const maskBase = image.region('credit2-masks').base >> 2;
  const maskWords = machineMaskWords(queues.pcpus);
  const { threads } = params.topology;
  const hasSmt = threads > 1;
  /** Of averages, in steps of load time. */
  const WINDOW = 2 ** (params.credit2.loadWindowShift - LOAD_GRANULARITY_SHIFT);
  const STEP_NS = 2 ** LOAD_GRANULARITY_SHIFT;

  const mask = (q: number, kind: number): number => (maskBase + Math.imul(RUNQ_MASKS * q + kind, maskWords)) | 0;
  const queueOf = (v: number): number => queues.queueOf(entry.processor(v));

  /** The average `avg` after `delta` more steps under `load`, both in LOAD_ONE. Xen's EWMA: the window forgets as much as it sees. */
  function average(avg: number, load: number, delta: number): number {
    if (delta > WINDOW) return load;
    return avg + Math.floor((delta * load) / WINDOW) - Math.floor((delta * avg) / WINDOW);
  }

  function updateLoad(q: number): void {
    const step = Math.floor(now() / STEP_NS);
    const delta = step - cq.loadUpdated(q);
    if (delta <= 0) return;
    const load = Math.imul(runq.nrRunnable(q), LOAD_ONE);
    cq.setAvgload(q, average(cq.avgload(q), load, delta));
    cq.setBAvgload(q, average(cq.bAvgload(q), load, delta));
    cq.setLoadUpdated(q, step);
  }

  function updateVcpuLoad(v: number): void {
    const step = Math.floor(now() / STEP_NS);
    const delta = step - cv.loadUpdated(v);
    if (delta <= 0) return;
    cv.setAvgload(v, average(cv.avgload(v), cv.isCounted(v) !== 0 ? LOAD_ONE : 0, delta));
    cv.setLoadUpdated(v, step);
  }

  function heaviest(q: number): number {
    let most = 1;
    for (let v = members.first(q); v !== NONE; v = members.next(v)) most = Math.max(most, cv.weight(v));
    return most;
  }

  function uncount(v: number): void {
    if (cv.isCounted(v) === 0) return;
    const q = cv.queue(v) - 1;
    updateLoad(q);
    updateVcpuLoad(v);
    cv.setIsCounted(v, 0);
    runq.addNrRunnable(q, -1);
  }

  /** Makes a core one of the free ones if all its threads are, in this queue. */
  function setCore(q: number, p: number): void {
    const first = p - (p % threads);
    const end = Math.min(first + threads, cq.end(q));
    for (let s = Math.max(first, cq.start(q)); s < end; s++) if (!masks.has(mask(q, FREE), s)) return;
    for (let s = Math.max(first, cq.start(q)); s < end; s++) masks.set(mask(q, SMT_FREE), s);
  }

  function clearCore(q: number, p: number): void {
    const first = p - (p % threads);
    const end = Math.min(first + threads, cq.end(q));
    for (let s = Math.max(first, cq.start(q)); s < end; s++) masks.clear(mask(q, SMT_FREE), s);
  }

  function clearFree(p: number): void {
    const q = queues.queueOf(p);
    masks.clear(mask(q, FREE), p);
    if (hasSmt) clearCore(q, p);
  }

  return {
    cv,
    cq,
    cd: image.table(CREDIT2_DOMAIN),
    cg: image.table(CREDIT2_GLOBAL),
    members,
    queueOf,
    mask,

    setUp(q, start, end) {
      cq.setStart(q, start);
      cq.setEnd(q, end);
      cq.setPickBias(q, start);
      cq.setMaxWeight(q, 1);
      for (let p = start; p < end; p++) {
        queues.runq.setQueue(p, q);
        masks.set(mask(q, ACTIVE), p);
        masks.set(mask(q, FREE), p);
        if (hasSmt) masks.set(mask(q, SMT_FREE), p);
      }
    },

    insert(v) {
      const q = queueOf(v);
      const credit = cv.credit(v);
      let at = list.first(q);
      while (at !== NONE && cv.credit(at) >= credit) at = list.next(at);
      list.insertBefore(q, v, at);
    },

    join(v) {
      const q = queueOf(v);
      if (cv.queue(v) === q + 1) return;
      members.append(q, v);
      cv.setQueue(v, q + 1);
      if (cv.weight(v) > cq.maxWeight(q)) cq.setMaxWeight(q, cv.weight(v));
      updateLoad(q);
      updateVcpuLoad(v);
      // What is expected of it counts from now on, for balancing only.
      cq.setBAvgload(q, cq.bAvgload(q) + cv.avgload(v));
    },

    leave(v) {
      const q = cv.queue(v) - 1;
      if (q < 0) return;
      uncount(v);
      members.remove(q, v);
      cv.setQueue(v, 0);
      if (cv.weight(v) === cq.maxWeight(q)) cq.setMaxWeight(q, heaviest(q));
      updateLoad(q);
      updateVcpuLoad(v);
      cq.setBAvgload(q, Math.max(0, cq.bAvgload(q) - cv.avgload(v)));
    },

    weightChanged(v, weight) {
      cv.setWeight(v, weight);
      // It is less than a weight, whichever that was.
      cv.setResidual(v, Math.min(cv.residual(v), weight - 1));
      const q = cv.queue(v) - 1;
      if (q >= 0) cq.setMaxWeight(q, heaviest(q));
    },

    count(v) {
      if (cv.isCounted(v) !== 0) return;
      const q = cv.queue(v) - 1;
      updateLoad(q);
      updateVcpuLoad(v);
      cv.setIsCounted(v, 1);
      runq.addNrRunnable(q, 1);
    },
    uncount,
    updateLoad,
    updateVcpuLoad,

    setFree(p) {
      const q = queues.queueOf(p);
      masks.clear(mask(q, TICKLED), p);
      masks.set(mask(q, FREE), p);
      if (hasSmt) setCore(q, p);
    },
    clearFree,
    setTickled(p) {
      masks.set(mask(queues.queueOf(p), TICKLED), p);
      clearFree(p);
    },
  };
}
