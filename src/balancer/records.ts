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
    /** The part of its pool that it is in. With `idlers`. */
    group: 'i32',
    /** Where the last VCPU went that was sent to this pCPU's neighbours. A hint that nobody guards. */
    idleBias: 'i32',
    /** The cpupool that the pCPU is in; -1 = none. Changes while all pCPUs stand still. */
    pool: 'i32',
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
  /** The cpupool whose scheduler has the VCPU. Its domain may be on its way to another. */
  pool: 'i32',
});

/**
 * Masks of the machine, by number; each on cache lines of its own, as many pCPUs change them. `online` is written at boot, idlers
 * and overloaded by atomic bit operations: one pair for pCPUs that serve the same VCPUs (a group), of which there is one for
 * each cpupool as a whole and one for each part of it that has nothing to do with the others (hv/separation.ts), and one for pCPUs in
 * no pool; behind each pair is, in the place of a mask, whom its thieves robbed last in each socket. Then one for each pCPU, for its
 * own sums, and one for each cpupool, which says what is in it.
 */
export const ONLINE_MASK = 0;
export interface BalancerShape {
  readonly pcpus: number;
  readonly vcpus: number;
  /** Parts that pCPUs may be in. */
  readonly groups: number;
  /** Cpupools that there can be. */
  readonly pools: number;
}
/** All pCPUs of a pool; part 1 + g is separation's group g. */
export const WHOLE = 0;
/** Number of the masks of a part of a pool. */
const maskGroup = ({ groups }: BalancerShape, pool: number, part: number): number => pool * (1 + groups) + part;
/** In the place of a pool, for pCPUs that are in none. */
export const noPool = ({ pools }: BalancerShape): number => pools;
export const idlersMask = (shape: BalancerShape, pool: number, part: number): number =>
  1 + 3 * maskGroup(shape, pool, part);
export const scratchMask = (shape: BalancerShape, pcpu: number): number =>
  idlersMask(shape, noPool(shape), WHOLE) + 3 + pcpu;
/** pCPUs of a pool, on line or not. Changes while all pCPUs stand still. */
export const poolMask = (shape: BalancerShape, pool: number): number => scratchMask(shape, shape.pcpus) + pool;
/** Places for last victims; sockets beyond these share them. */
export const VICTIMS = 16;
/**
 * Masks of VCPUs are numbered from here: hard, soft, hard, … Written under the run-queue lock of the VCPU's pCPU. They hold pCPUs on
 * line and of the VCPU's pool only, and the soft one only what the hard one allows: where a VCPU may be at all is decided by
 * hv/affinity.ts.
 */
export const VCPU_MASKS = 1 << 20;
/** Words of a mask of the machine. */
export const machineMaskWords = (pcpus: number): number => Math.ceil(wordsFor(pcpus) / 16) * 16;

/** pCPUs that the VCPU may use: never empty. */
export const hardMask = (vcpu: number): number => VCPU_MASKS + 2 * vcpu;
/** Those of them that it prefers, while `hasSoftAffinity`. */
export const softMask = (vcpu: number): number => VCPU_MASKS + 2 * vcpu + 1;

export const balancerRegions = (shape: BalancerShape): Region[] => [
  tableRegion(RUNQ, shape.pcpus),
  tableRegion(RUNQ_ENTRY, shape.vcpus + shape.pcpus),
  rawRegion('machine-masks', machineMaskWords(shape.pcpus) * 4, poolMask(shape, shape.pools)),
  rawRegion('cpu-masks', wordsFor(shape.pcpus) * 4, 2 * (shape.vcpus + shape.pcpus)),
  // What was asked for, of which the masks above are what can be had: hard, soft, hard, …
  rawRegion('affinities', wordsFor(shape.pcpus) * 4, 2 * shape.vcpus),
];
