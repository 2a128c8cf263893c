/** Run queues and CPU masks: what the balancer works on. Shared by every policy that queues VCPUs by priority. */
import { wordsFor } from '../shared/bitmap.js';
import { type Region, rawRegion, tableRegion } from '../shared/image.js';
import { struct } from '../shared/struct.js';

/** One per pCPU. Guarded by that pCPU's run-queue lock; `nrRunnable` is also read without it, as a hint. */
export const RUNQ = struct(
  'runq',
  {
    /** When this pCPU last looked for work elsewhere, ns. */
    lastLoadBalance: 'f64',
    first: 'i32',
    last: 'i32',
    /** VCPUs queued here plus the one that runs here. */
    nrRunnable: 'i32',
    /** Epoch of the last re-sort. */
    sortEpoch: 'i32',
    /** Word index of the mask of idlers that this pCPU is in; what belongs to it follows. Changes while all pCPUs stand still. */
    idlers: 'i32',
    /** The pCPU whose list and lock are this one's too: its own number, unless the policy has queues for several pCPUs. Written at boot. */
    queue: 'i32',
    /** The number of its group, as in `idlersMask`. With `idlers`. */
    group: 'i32',
  },
  64,
);

/** One per VCPU, idle VCPUs included. Guarded by the run-queue lock of `processor`. */
export const RUNQ_ENTRY = struct('runq-entry', {
  /** When the VCPU last stopped running, ns: cache-hotness. */
  lastRan: 'f64',
  next: 'i32',
  prev: 'i32',
  linked: 'i32',
  /** Greater runs first. */
  pri: 'i32',
  /** The pCPU whose queue the VCPU belongs to. */
  processor: 'i32',
  /** 1 until its state is saved: nobody may move it. */
  isRunning: 'i32',
  /** 1 when soft affinity is a proper, overlapping restriction of hard affinity. */
  hasSoftAffinity: 'i32',
  /** Yielded at its last turn: not worth stealing. */
  yielded: 'i32',
});

/**
 * Masks of the machine, by number; each on cache lines of its own, as many pCPUs change them. `online` is written at boot, idlers
 * and overloaded by atomic bit operations: one pair for pCPUs that serve the same VCPUs, of which there is one for the whole
 * machine and one for each group of pCPUs that has nothing to do with the others; behind each pair is, in the place of a mask, whom
 * its thieves robbed last. Then one for each pCPU, for its own sums.
 */
export const ONLINE_MASK = 0;
/** Group 0 is the whole machine, 1 + g group g (hv/separation.ts). */
export const idlersMask = (group: number): number => 1 + 3 * group;
export const scratchMask = (groups: number, pcpu: number): number => idlersMask(1 + groups) + pcpu;
/**
 * Masks of VCPUs are numbered from here: hard, soft, hard, … Written under the run-queue lock of the VCPU's pCPU. They hold pCPUs on
 * line only, and the soft one only what the hard one allows: where a VCPU may be at all is decided by hv/affinity.ts.
 */
export const VCPU_MASKS = 4096;
/** Words of a mask of the machine. */
export const machineMaskWords = (pcpus: number): number => Math.ceil(wordsFor(pcpus) / 16) * 16;

export const hardMask = (vcpu: number): number => VCPU_MASKS + 2 * vcpu;
export const softMask = (vcpu: number): number => VCPU_MASKS + 2 * vcpu + 1;

export const balancerRegions = (pcpus: number, vcpus: number, groups: number): Region[] => [
  tableRegion(RUNQ, pcpus),
  tableRegion(RUNQ_ENTRY, vcpus + pcpus),
  rawRegion('machine-masks', machineMaskWords(pcpus) * 4, scratchMask(groups, pcpus)),
  rawRegion('cpu-masks', wordsFor(pcpus) * 4, 2 * (vcpus + pcpus)),
  // What was asked for, of which the masks above are what can be had: hard, soft, hard, …
  rawRegion('affinities', wordsFor(pcpus) * 4, 2 * vcpus),
];
