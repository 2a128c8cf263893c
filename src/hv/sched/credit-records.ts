/** The four state records of the credit scheduler. */
import { type Region, tableRegion } from '../../shared/image.js';
import { struct } from '../../shared/struct.js';
import type { PolicyShape } from './interface.js';

/** Priorities; greater runs first. */
export const PRI_BOOST = 0;
export const PRI_UNDER = -1;
export const PRI_OVER = -2;
export const PRI_IDLE = -64;

/** Credits a millisecond of running costs, and earns in all. */
export const CREDITS_PER_MS = 10;

/**
 * Guarded by the run-queue lock of the VCPU's pCPU; the active link by the private lock. `credit` is burnt under the one and
 * given under the other, so it changes by atomic additions; `isParked` and `pri` are set under either, and a sort that finds a
 * priority of a moment ago is one epoch late, as in Xen.
 */
export const CREDIT_VCPU = struct('credit-vcpu', {
  /** Since when the running VCPU has not been debited, ns. */
  startTime: 'f64',
  /** Remainder of the last debit, in ns x credits/ms. */
  residual: 'f64',
  /** When a tick found it running, while it waits to be put on the active list (credit-found.ts). With the next two. */
  foundAt: 'f64',
  credit: 'i32',
  isMigrating: 'i32',
  isParked: 'i32',
  /** 1 when hard affinity is a single pCPU. */
  isPinned: 'i32',
  next: 'i32',
  prev: 'i32',
  linked: 'i32',
  /** The pCPU of that tick + 1, 0 = it does not wait; and who waits behind it, + 1. Its runner's turn, or nobody's. */
  foundOn: 'i32',
  nextFound: 'i32',
});

/** One per runner: the first VCPU that its ticks have found, + 1. Its own turn, or nobody's. */
export const CREDIT_FOUND = struct('credit-found', { first: 'i32' }, 64);

/** Private lock. */
export const CREDIT_DOMAIN = struct('credit-domain', {
  activeVcpus: 'i32',
  /** Active VCPUs of the domain. */
  first: 'i32',
  last: 'i32',
  next: 'i32',
  prev: 'i32',
  linked: 'i32',
});

/** Private lock; one for each cpupool. */
export const CREDIT_GLOBAL = struct('credit-global', {
  nextAccounting: 'f64',
  /** What domain 0 may change at run time, ns; and the tick that follows from the timeslice. Read without the lock, as in Xen. */
  tsliceNs: 'f64',
  ratelimitNs: 'f64',
  migrationDelayNs: 'f64',
  tickNs: 'f64',
  /** Active domains. */
  first: 'i32',
  last: 'i32',
  /** Sum of the weights of active VCPUs, or domains (credit-rules.ts). */
  weight: 'i32',
  /** Sum of credits after the last accounting. */
  balance: 'i32',
  sortEpoch: 'i32',
});

export const creditRegions = (shape: PolicyShape): Region[] => [
  tableRegion(CREDIT_VCPU, shape.vcpus + shape.pcpus),
  tableRegion(CREDIT_DOMAIN, shape.domains),
  tableRegion(CREDIT_GLOBAL, shape.pools),
  tableRegion(CREDIT_FOUND, shape.runners),
];
