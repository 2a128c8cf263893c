/** The stand-in devices' records. */
import { type Region, tableRegion } from '../shared/image.js';
import { struct } from '../shared/struct.js';

export const DEVICE_KIND = { timer: 0, nic: 1, disk: 2 } as const;

/** When the next thing happens: after equal times, after exponential ones, or several at once after exponential ones. */
export const ARRIVALS = { periodic: 0, poisson: 1, burst: 2 } as const;

export const DEVICE = struct(
  'device',
  {
    // Constants of a run.
    /** Between two ticks, or two packets on average; what a request takes on average. ns */
    periodNs: 'f64',
    stopNs: 'f64',
    /** Time the driver's handler takes for each interrupt, and for each item it finds, ns. */
    handlerNs: 'f64',
    itemNs: 'f64',
    // Under the IRQ lock.
    /** Simulation time of the next arrival or completion, ns. */
    nextAt: 'f64',
    /** When it first wanted to be served, since it last was, ns; -1 = it does not want to. */
    raisedAt: 'f64',
    kind: 'i32',
    arrivals: 'i32',
    burst: 'i32',
    ring: 'i32',
    irq: 'i32',
    /** The pCPU whose turns it takes. */
    home: 'i32',
    /** State of its random numbers. IRQ lock, as all up to `spurious`. */
    random: 'i32',
    /** Ticks, packets or finished requests that the driver has not taken. */
    ready: 'i32',
    /** Requests that a disk has not finished. */
    queued: 'i32',
    isAsserting: 'i32',
    arrived: 'i32',
    dropped: 'i32',
    taken: 'i32',
    /** Interrupts on which the driver found it wanting nothing. */
    spurious: 'i32',
    // The driver's, in the guest kernel (pcpu/model/drivers.ts): under the kernel's lock.
    /** Device + 1 that the same VCPU serves next. */
    next: 'i32',
    /** VCPU of the machine that serves it, -1 = none. */
    vcpu: 'i32',
    pirq: 'i32',
    port: 'i32',
    needsEoi: 'i32',
    isInHandler: 'i32',
    /** What the handler found. */
    found: 'i32',
    /** Interrupts handled. */
    seen: 'i32',
    /** Resource + 1 of the guest kernel on which tasks wait, 0 = none. */
    waiters: 'i32',
  },
  64,
);

export const deviceRegions = (devices: number): Region[] => [tableRegion(DEVICE, devices)];
