/** Records of interrupt lines and of domains' pirqs (irq.ts). All of it under the IRQ lock, but for what is said to be anybody's. */
import { HISTOGRAM_BYTES } from '../shared/histogram.js';
import { type Region, rawRegion, tableRegion } from '../shared/image.js';
import { struct } from '../shared/struct.js';

/** Domains that can share a line (Xen's IRQ_MAX_GUESTS). */
export const IRQ_MAX_GUESTS = 7;

/** How a line tells that something happened: by a pulse, or by being asserted until its devices have been served. */
export const TRIGGER = { edge: 0, level: 1 } as const;

/** Why a line is masked besides being in flight, a bit each. */
export const MASK_unbound = 1;
export const MASK_throttled = 2;

export const IRQ_LINE = struct(
  'irq-line',
  {
    /** When the count of the rate limit began, ns. */
    quantumStart: 'f64',
    /** When an interrupt that a domain has not acknowledged is taken for acknowledged, ns. */
    eoiDeadline: 'f64',
    trigger: 'i32',
    masks: 'i32',
    /** Level: devices that assert it. */
    asserted: 'i32',
    /** pCPU + 1 to which its message is under way, 0 = none. */
    sentTo: 'i32',
    /** Where it goes while nobody has it; in the classic profile, always. */
    affinity: 'i32',
    /** 1 when the domains that have it agreed to share. */
    shareable: 'i32',
    nrGuests: 'i32',
    /** Level: domains that have not acknowledged it. */
    inFlight: 'i32',
    /** 1 while the timer to `eoiDeadline`, or an earlier one, is set. */
    eoiTimer: 'i32',
    rateCount: 'i32',
    // Counts.
    raised: 'i32',
    delivered: 'i32',
    handled: 'i32',
    unhandled: 'i32',
    throttled: 'i32',
    /** Edges that met one under way, and events that met one pending. */
    merged: 'i32',
    /** Acknowledgements that a domain did not make in time. */
    forced: 'i32',
    guest: ['i32', IRQ_MAX_GUESTS],
  },
  64,
);

/** One for each domain and number; the number is that of a pirq or, where it says so, of a line. */
export const PIRQ = struct('pirq', {
  /** Line + 1 that the pirq stands for, 0 = none. */
  irq: 'i32',
  /** Pirq + 1 that the domain has for this line. */
  pirq: 'i32',
  /** Whether the domain may have this line. */
  isPermitted: 'i32',
  /** The port it is bound to, 0 = none. */
  port: 'i32',
  /** 1 from its event to the domain's acknowledgement, on a level line. */
  isMasked: 'i32',
});

export const irqRegions = (domains: number, irqs: number): Region[] => [
  tableRegion(IRQ_LINE, irqs),
  tableRegion(PIRQ, domains * irqs),
  rawRegion('irq-latency', HISTOGRAM_BYTES, irqs),
];
