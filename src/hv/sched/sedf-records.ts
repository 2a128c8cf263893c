/** The state records and constants of the SEDF scheduler. Times are system times or spans in ns. */
import { type Region, tableRegion } from '../../shared/image.js';
import { MIN_SEDF_SLICE_NS } from '../../shared/limits.js';
import { struct } from '../../shared/struct.js';

/** Period of domains that have no other, and of all that run by weight, ns. */
export const WEIGHT_PERIOD = 100e6;
/** What the slices by weight leave of that period, ns. */
export const WEIGHT_SAFETY = 5e6;
/** Longest turn of extra time, and the least that must be left before the next period begins, ns. */
export const EXTRA_QUANTUM = 500e3;
/** Shortest slice, ns; a VCPU that runs by weight has at least this, however little there is to share. */
export const MIN_SLICE = MIN_SEDF_SLICE_NS;

/** As what a pCPU's VCPU runs; greater goes first. */
export const RUNS_IDLE = 0;
/** In extra time, by utilisation or extra weight (EXTRA_UTIL_Q). */
export const RUNS_UTIL = 1;
/** In extra time, for what it lost by blocking (EXTRA_PEN_Q). */
export const RUNS_PEN = 2;
/** In its slice. */
export const RUNS_EDF = 3;

/** Guarded by the run-queue lock of the VCPU's pCPU. */
export const SEDF_VCPU = struct('sedf-vcpu', {
  /** What the VCPU is promised: `slice` in each `period`. By weight both follow from the others of its pCPU. */
  period: 'f64',
  slice: 'f64',
  /** End of the current period; it began one period before (Xen's deadl_abs). 0 = has had none. */
  deadline: 'f64',
  /** Used of the slice in the current period. */
  cputime: 'f64',
  /** When the run that is not yet charged began. */
  startedAt: 'f64',
  /** What it lost of a slice by a short block and has not got back in extra time (Xen's short_block_lost_tot). */
  penalty: 'f64',
  /** Place in the penalty queue, least first. */
  penaltyScore: 'f64',
  /** Place in the utilisation queue, least first: the queue's clock at the last turn plus the VCPU's score. */
  extraKey: 'f64',
  /** Whether it gets extra time (EXTRA_AWARE), and by which weight; 0 = by its utilisation. */
  isExtra: 'i32',
  extraWeight: 'i32',
  /** 1 while it is moved to another pCPU: the wake-up at the end does not count as one. */
  isMoving: 'i32',
  /** Links of the run or the wait queue: a VCPU is in one of them at most. */
  next: 'i32',
  prev: 'i32',
  linked: 'i32',
  /** 1 in the wait queue. */
  waits: 'i32',
  penNext: 'i32',
  penPrev: 'i32',
  penLinked: 'i32',
  utilNext: 'i32',
  utilPrev: 'i32',
  utilLinked: 'i32',
});

/** Guarded by the pCPU's run-queue lock, but for `isStale`. */
export const SEDF_PCPU = struct(
  'sedf-pcpu',
  {
    /** Clock of the utilisation queue: key of the VCPU that had the last turn. */
    extraClock: 'f64',
    /** One of RUNS_…: the current VCPU's. */
    runsAs: 'i32',
    /** 1 when VCPUs came, went or got other parameters, so that slices must be computed anew. Atomics. */
    isStale: 'i32',
    runFirst: 'i32',
    runLast: 'i32',
    waitFirst: 'i32',
    waitLast: 'i32',
    penFirst: 'i32',
    penLast: 'i32',
    utilFirst: 'i32',
    utilLast: 'i32',
  },
  64,
);

export const sedfRegions = (shape: { pcpus: number; vcpus: number }): Region[] => [
  tableRegion(SEDF_VCPU, shape.vcpus),
  tableRegion(SEDF_PCPU, shape.pcpus),
];
