/** The hypervisor's records. Who may write a field is said at its group; "turn" = the holder of the turn. */
import { HISTOGRAM_BYTES } from '../shared/histogram.js';
import { type Region, rawRegion, tableRegion } from '../shared/image.js';
import { oscillatorRegion } from '../shared/oscillator.js';
import { FIRST_RESERVED_GDT_PAGE } from '../shared/public/arch-x86.js';
import { NR_VIRQS } from '../shared/public/xen.js';
import { stopMachineRegion } from '../shared/stop-machine.js';
import { struct } from '../shared/struct.js';
import { grantRegions } from './grants/records.js';
import { irqRegions } from './irq-records.js';
import { COPIES_BYTES, FOREIGN, FOREIGN_FRAMES, PAGE } from './mm/records.js';

/**
 * Where a runner of turns stands: one record a worker in free mode; in ordered mode one for all, or one for each worker that takes
 * turns of its own groups side by side with others. Written by the turn, read by anyone for progress. Whole-machine sums are
 * those over all records.
 */
export const MACHINE = struct(
  'machine',
  {
    /** Simulation time of the turn in progress, ns; in free mode it may move on within the turn (causality). */
    now: 'f64',
    /** Time of the last turn that was not time-keeping alone, ns: an idle machine's end. */
    worked: 'f64',
    /** What the turn in progress waited for locks and held them, ns (lock-time.ts). */
    stall: 'f64',
    /** Scheduler events so far: runstate changes and timer pops. */
    events: 'f64',
    turns: 'f64',
    /** What a guest read from its clock last, ns: handed to the observer of time here, as an argument would be boxed. */
    clockRead: 'f64',
    /** The pCPU whose turn it is. */
    turnOf: 'i32',
  },
  64,
);

/**
 * How far a runner has got; alone on its line, which others look at. Its own, read by all without a lock: an aligned double is
 * stored and loaded whole on every host that Node runs on.
 */
export const FLOOR = struct(
  'floor',
  {
    /**
     * It takes no turn before this any more, ns, unless somebody sends to it. In ordered mode monotone, and the same for all runners
     * when none of them takes turns.
     */
    floor: 'f64',
    /** Free mode: Infinity while it has nothing to do but keep time, and nothing it sent is under way; else less. */
    workFloor: 'f64',
    /** How far its clocks were ahead of the least floor at most, when that was looked at, ns. */
    apart: 'f64',
  },
  64,
);

/** pauseFlags bits, as in Xen's sched.h. */
export const VPF_blocked = 1;
export const VPF_down = 2;
export const VPF_migrating = 8;
/** Paused from outside, by the toolstack. */
export const VPF_paused = 1 << 14;
/** Parked by the scheduler for being over its cap. */
export const VPF_parked = 1 << 15;
/** The domain was shut down or crashed. */
export const VPF_shutdown = 1 << 16;
/** The domain is paused by domain 0, or was not let go for the first time yet. */
export const VPF_domain_paused = 1 << 17;
/** The domain is being destroyed: nothing will ever clear this. */
export const VPF_dying = 1 << 18;

/** One per VCPU, and one per pCPU's idle VCPU behind them. Written by the turn under the run-queue lock of its pCPU. */
export const VCPU = struct(
  'vcpu',
  {
    stateEntryTime: 'f64',
    /** ns in running, runnable, blocked, offline. */
    runstateTime: ['f64', 4],
    /** Periodic timer, ns; 0 = stopped. */
    periodicPeriod: 'f64',
    periodicLastEvent: 'f64',
    /** When it was woken and has not run since; -1 = not waiting for a wake-up. */
    wokenAt: 'f64',
    /** Since when it exists, ns: its runstates sum to the time since. */
    createdAt: 'f64',
    /** NOBODY: the record is free. Changes under the domctl lock. */
    domain: 'i32',
    /** vcpu_id within the domain. */
    id: 'i32',
    runstate: 'i32',
    pauseFlags: 'i32',
    isInitialised: 'i32',
    /** One of NMI, or both: whether one waits for it, and whether it is in the handler of the last. Atomics. */
    nmi: 'i32',
    inMulticall: 'i32',
    /** Where it starts, a guest address. */
    entryPoint: 'i32',
    /** Port polled: 0 none, -1 several (as Xen's poll_evtchn). */
    pollPort: 'i32',
    /** Image address of its vcpu_info. */
    infoAddr: 'i32',
    /** Of domains with page tables of their own: machine frames of the top-level tables of its kernel and of its applications; 0 = none. */
    guestTable: 'i32',
    guestTableUser: 'i32',
    /** Those of its global descriptor table, and how many entries it said it has; those of pages of its local one that are known; 0 = none. */
    gdtFrames: ['i32', FIRST_RESERVED_GDT_PAGE],
    gdtEntries: 'i32',
    ldtFrames: ['i32', 16],
    /** States whose time changed since it was last published, a bit each. */
    runstateDirty: 'i32',
    /** Image address of the registered runstate area, 0 = none. */
    runstateAddr: 'i32',
    /** Image address of the registered secondary time area, 0 = none. */
    timeAddr: 'i32',
    /** 1 when the vcpu_info was moved by VCPUOP_register_vcpu_info: it can be moved once. */
    infoMoved: 'i32',
    /** Low halves suffice: code addresses are inside the domain. 0 = not registered. */
    eventCallback: 'i32',
    failsafeCallback: 'i32',
    syscallCallback: 'i32',
    switches: 'i32',
    migrations: 'i32',
    lastPcpu: 'i32',
    /** Free mode: when an event was last made pending, low 32 bits of ns (event-channel.ts). Atomics. */
    eventSentAt: 'i32',
    // Behind what every switch touches; VIRQ_TIMER is the first.
    virqPort: ['i32', NR_VIRQS],
  },
  64,
);

/** VCPU.nmi. Of machine code only. */
export const NMI = { pending: 1, masked: 2 } as const;

/** In a VCPU's `domain`: it is nobody's. */
export const NOBODY = -1;

/** Whether a domain's record is in use. */
export const DOMAIN_STATE = {
  free: 0,
  alive: 1,
  /** Destroyed, but a VCPU may still be on its pCPU. */
  dying: 2,
} as const;

/** Memory: heap lock. What commands of domain 0 change besides: domctl lock. The rest: the domain's own turns. */
export const DOMAIN = struct(
  'domain',
  {
    /** Frames accounted to it, and how many may be (Xen's tot_pages and max_pages). Few of them are backed. */
    totPages: 'f64',
    maxPages: 'f64',
    /** One of DOMAIN_STATE. */
    state: 'i32',
    /** Its domid, by which others name it. Its record's number is the same as long as there are enough of them. */
    id: 'i32',
    /** Frames that are set aside for it in the image; `nrFrames` of them have been given to it. */
    backedFrames: 'i32',
    /** How many VCPUs createdomain said it will have; `maxVcpus` is how many it has. */
    vcpuLimit: 'i32',
    /** How many times domain 0 paused it; a new domain begins with 1. */
    pauseCount: 'i32',
    /** xen_domain_handle_t: what its toolstack calls it. */
    handle: ['i32', 4],
    width: 'i32',
    firstVcpu: 'i32',
    maxVcpus: 'i32',
    /** Image address of the domain's frame 0, and how many frames it has. */
    frames: 'i32',
    nrFrames: 'i32',
    /** 1: machine code, which has page tables of its own; its frames are memory behind the shared info page, and those of its grant table. */
    isPaged: 'i32',
    /** What it has asked for by vm_assist, a bit for each type: two words. */
    vmAssist: ['i32', 2],
    /** Grows with each flush of all TLBs of the domain; from 1 on. Page lock. */
    flushEpoch: 'i32',
    /** Image address of the shared info page. */
    sharedInfo: 'i32',
    weight: 'i32',
    cap: 'i32',
    /** The SEDF scheduler's parameters, times in ns: a slice of each period, or a weight; whether it gets extra time. */
    sedfPeriod: 'f64',
    sedfSlice: 'f64',
    sedfLatency: 'f64',
    sedfExtra: 'i32',
    sedfWeight: 'i32',
    isShutDown: 'i32',
    shutdownCode: 'i32',
    /** One of CRASH, 0 = did not crash. */
    crashReason: 'i32',
    /** VCPUs that poll event channels. */
    pollers: 'i32',
    /** Bytes ever written to its console. */
    consoleBytes: 'i32',
    /** Number of its cpupool; its VCPUs follow when they are off their pCPUs. Changes while all pCPUs stand still. */
    pool: 'i32',
  },
  64,
);

/**
 * Written by the turn; in ordered mode a remote sender lowers the two arrival times. In free mode only the pCPU's own worker
 * touches it (others send mail, mail.ts), except for `current`, which changes under the run-queue lock.
 */
export const PCPU = struct(
  'pcpu',
  {
    /** End of the current timeslice, Infinity = none. */
    sliceEnd: 'f64',
    tickAt: 'f64',
    /** Next step of time-keeping. */
    calibrateAt: 'f64',
    /** Earliest deadline in its timer queue. */
    timerAt: 'f64',
    /** Next deadline of the running VCPU's periodic timer. */
    periodicAt: 'f64',
    /** Next action of the running guest. */
    guestAt: 'f64',
    /** Arrival of the reschedule and event-check IPIs; Infinity = none under way. */
    reschedIpiAt: 'f64',
    eventIpiAt: 'f64',
    /** Free mode: how far its clock has got. */
    turnedAt: 'f64',
    /** Time a VCPU ran here, ns, up to the last switch. */
    busy: 'f64',
    /** What do_schedule answers: VCPU and timeslice (ns). */
    nextSlice: 'f64',
    next: 'i32',
    current: 'i32',
    softirq: 'i32',
    worker: 'i32',
    switches: 'i32',
    steals: 'i32',
    timers: 'i32',
    lastTickled: 'i32',
    /** Free mode: 1 while it waits in a rendezvous and takes no turn. */
    isHeld: 'i32',
    /** Free mode: 1 when somebody else changed the periodic timer of the VCPU that runs here. */
    retime: 'i32',
  },
  64,
);

/** Period of the calibration, ns (Xen's EPOCH). */
export const EPOCH_NS = 1e9;

/** A pCPU's clock (time.ts): written by its own turn; the answer by the master's. */
export const CPU_TIME = struct(
  'cpu-time',
  {
    /** The pair system time is extrapolated from, and the scale; `cyclesPerNs` is its inverse. */
    tsc: 'f64',
    system: 'f64',
    cyclesPerNs: 'f64',
    /** The last calibration: counter and platform clock (ns), when it was, and how far the clock was off, ns. */
    pairTsc: 'f64',
    pairMaster: 'f64',
    calibratedAt: 'f64',
    lastError: 'f64',
    maxError: 'f64',
    /** An exchange with the master: own counter when asked, the master's answer, arrival of the message under way. */
    asked: 'f64',
    answer: 'f64',
    at: 'f64',
    /** How much the counter was set at boot, cycles. */
    corrected: 'f64',
    mul: 'i32',
    shift: 'i32',
    job: 'i32',
    step: 'i32',
    rounds: 'i32',
    warpReads: 'i32',
    calibrations: 'i32',
    /** Free mode: the last rendezvous it was called to, and the last it has come to. */
    called: 'i32',
    joined: 'i32',
  },
  64,
);

/** What the hypervisor knows of time as a whole; one record, written by the master's turn and by XENPF_settime. */
export const WALL_CLOCK = struct('wall-clock', {
  /** UTC at system time 0. */
  seconds: 'f64',
  /** The next rendezvous, simulation time. */
  epochAt: 'f64',
  /** The boot's warp check: highest counter read so far, largest step back, cycles. */
  lastTsc: 'f64',
  warp: 'f64',
  nanoseconds: 'i32',
  tscStable: 'i32',
  /** Times it was set: by the boot, then by domain 0. */
  sets: 'i32',
  /** 1 when boot is over and the domains run. */
  started: 'i32',
});

/** The rendezvous of free mode; one record. */
export const RENDEZVOUS = struct(
  'rendezvous',
  {
    /** The time of the last pCPU to come, at which all calibrate. Rendezvous lock. */
    at: 'f64',
    /** pCPUs that have come. Rendezvous lock. */
    entered: 'i32',
    /** pCPUs that were called: those on line. Written by the master before it calls. */
    expected: 'i32',
    /** How many were called, and how many were through. Atomics. */
    called: 'i32',
    released: 'i32',
  },
  64,
);

/** Free mode: whether the workers are separate (separation.ts); one record. Changes while all workers but one are stopped. */
export const SEPARATION = struct('separation', { isSeparate: 'i32' }, 64);

/** The host as its toolstack sees it; one record. */
export const HOST = struct(
  'host',
  {
    /** Frames of machine memory, and those that nobody has. Heap lock. */
    totalPages: 'f64',
    freePages: 'f64',
    /** Frames of the image from this one on nobody has ever had: they are zero. Heap lock. */
    usedFrames: 'i32',
    /** The domid that was given last. Domctl lock. */
    lastDomid: 'i32',
    /** Bytes ever written to the hypervisor's console ring, and up to where it was cleared. Console lock. */
    consoleEnd: 'i32',
    consoleClear: 'i32',
  },
  64,
);

/** What the outside holds back; one record. Atomics. */
export const HELD_BACK = struct(
  'held-back',
  { /** VCPUs with VPF_paused, and one more where domain 0's tools listen. */ vcpus: 'i32' },
  64,
);

/**
 * Cpupools: sets of pCPUs, each with a scheduler of its own (cpupool.ts). What pCPUs are in one is a mask (`queues.pool`). All
 * fields change while all pCPUs stand still.
 */
export const CPUPOOL = struct(
  'cpupool',
  {
    tsliceNs: 'f64',
    ratelimitNs: 'f64',
    migrationDelayNs: 'f64',
    /** 1 while there is such a pool. */
    isUsed: 'i32',
    /** Its scheduler, as a place in HvParams.policies. */
    policy: 'i32',
    /** Its first pCPU, on which accounting runs; -1 = it has none. */
    master: 'i32',
    pcpus: 'i32',
    /** Grows with each pool of this number: who made something for the last one makes it anew. */
    generation: 'i32',
  },
  64,
);

/** Bytes of a cpupool's name, with the zero behind it. */
export const CPUPOOL_NAME_BYTES = 64;

/** Event channels: `EVTCHNSTAT_*` state, the VCPU told of it, and what it is bound to. Table lock and event lock. */
export const EVTCHN = struct('evtchn', {
  state: 'i32',
  notifyVcpu: 'i32',
  /** Interdomain: remote domain; unbound: domain allowed to bind; virq: VIRQ number; pirq: its number. */
  remote: 'i32',
  remotePort: 'i32',
});

/** Two timers a VCPU: 2v single shot, 2v + 1 poll; then the host's own. Armed in the queue of the pCPU that set them, as in Xen. */
export const TIMER = struct('timer', {
  /** When it fires, simulation time, and the system time that was asked for. */
  deadline: 'f64',
  asked: 'f64',
  position: 'i32',
  queue: 'i32',
  /** Calibrations of its pCPU when it was set: after another the time has to be looked at again. */
  scale: 'i32',
  /** When it was set, simulation time, ns: for the observer of time. */
  setAt: 'f64',
  /** Free mode: the system time its VCPU wants it set to (Infinity = stopped), while `requested` (Atomics) is not 0. */
  wish: 'f64',
  requested: 'i32',
  nextRequest: 'i32',
});

/** Free mode: timers of a pCPU's queue that other workers want something of, the last + 1, linked by `nextRequest`. Atomics. */
export const TIMER_REQUESTS = struct('timer-requests', { first: 'i32' }, 64);

/** The registers a hypercall travels in: number, then up to six arguments as 64-bit halves. */
export const REGS = struct('hypercall-regs', { nr: 'i32', lo: ['i32', 6], hi: ['i32', 6] });

/** Bytes of console output kept for each domain, a power of 2: of machines with kernels that have a console ring, and of others. */
const CONSOLE_BYTES = { kernels: 1 << 16, workloads: 1 << 12 } as const;
/** Bytes of the hypervisor's own console ring (Xen's conring_size). */
export const XEN_CONSOLE_BYTES = 16_384;

export interface HvShape {
  readonly pcpus: number;
  /** VCPUs of all domains, idle ones not counted. */
  readonly vcpus: number;
  readonly domains: number;
  /** Ports each domain has; at most EVTCHN_2L_NR_CHANNELS of its width are usable. */
  readonly evtchns: number;
  /** How many take turns at the same time: all workers in free mode; in ordered mode 1, or several with groups of their own. */
  readonly runners: number;
  /** Frames of machine memory that are backed in the image. */
  readonly frames: number;
  /** How many of them, the first ones, are the hypervisor's own (mm/m2p.ts); 0 where no domain has page tables. */
  readonly xenFrames: number;
  /** How many of them a domain gets that is made at run time. */
  readonly framesPerDomain: number;
  /**
   * The same of a domain of machine code, by its record's number: its memory, and what belongs to that; 0 = a workload's. They lie at the
   * end, in this order, and are nobody else's: it needs them side by side, whoever has come and gone before it.
   */
  readonly kernelFrames: readonly number[];
  /** Interrupt lines, as many as pirqs a domain can have; 0 on a host without devices. */
  readonly irqs: number;
  readonly devices: number;
  /** Groups of pCPUs that may have nothing to do with each other; as many as runners in free mode, where workers may be such groups. */
  readonly groups: number;
  /** Cpupools that there can be, 1 to MAX_CPUPOOLS. */
  readonly pools: number;
}

/** Timers of the host itself: three for each line, one for each device. They follow those of the VCPUs. */
export const HOST_TIMERS_PER_IRQ = 3;
export const timersOf = ({ vcpus, irqs, devices }: HvShape): number => 2 * vcpus + HOST_TIMERS_PER_IRQ * irqs + devices;

export const hvRegions = (shape: HvShape): Region[] => [
  tableRegion(MACHINE, shape.runners),
  tableRegion(FLOOR, shape.runners),
  tableRegion(PCPU, shape.pcpus),
  oscillatorRegion(shape.pcpus),
  tableRegion(CPU_TIME, shape.pcpus),
  rawRegion('cpu-time-pages', 32, shape.pcpus),
  tableRegion(WALL_CLOCK, 1),
  tableRegion(RENDEZVOUS, 1),
  tableRegion(HOST, 1),
  tableRegion(HELD_BACK, 1),
  tableRegion(SEPARATION, 1),
  tableRegion(CPUPOOL, shape.pools),
  rawRegion('cpupool-name', CPUPOOL_NAME_BYTES, shape.pools),
  stopMachineRegion(shape.runners),
  rawRegion('quiet-word', 64, 1),
  tableRegion(DOMAIN, shape.domains),
  tableRegion(VCPU, shape.vcpus + shape.pcpus),
  tableRegion(REGS, shape.vcpus),
  tableRegion(TIMER, timersOf(shape)),
  tableRegion(TIMER_REQUESTS, shape.pcpus),
  rawRegion('timer-queues', 4 * Math.max(2, timersOf(shape)), shape.pcpus),
  tableRegion(EVTCHN, shape.domains * shape.evtchns),
  ...irqRegions(shape.domains, shape.irqs),
  rawRegion('wake-latency', HISTOGRAM_BYTES, shape.domains),
  rawRegion('console', shape.xenFrames > 0 ? CONSOLE_BYTES.kernels : CONSOLE_BYTES.workloads, shape.domains),
  rawRegion('xen-console', XEN_CONSOLE_BYTES, 1),
  rawRegion('frame-owners', 4, Math.max(1, shape.frames)),
  tableRegion(PAGE, Math.max(1, shape.frames)),
  tableRegion(FOREIGN, FOREIGN_FRAMES),
  ...grantRegions(shape.xenFrames > 0 ? shape.domains : 0, Math.max(1, shape.frames)),
  // Each runner's own.
  rawRegion('guest-copies', COPIES_BYTES, shape.runners),
  rawRegion('dummy-vcpu-info', 64, 1),
];
