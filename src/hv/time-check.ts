/**
 * The observer of time: compares what guests read, and when they are told something, with simulation time, which no part
 * of the hypervisor may look at for its clocks. It changes nothing; without it the machine runs the same turns.
 *
 * Each kind of violation keeps how often, how large and where first. `read` runs at every clock read of a guest and is kept
 * short; what need not be looked at every time is looked at every `SAMPLE`th.
 */
import { cyclesPerNsOf, fromHalves } from '../shared/clock.js';
import { HISTOGRAM_BYTES, recordSample } from '../shared/histogram.js';
import { type Image, type Region, rawRegion, tableRegion } from '../shared/image.js';
import { OSCILLATOR, type Oscillators, oscillators } from '../shared/oscillator.js';
import { offsetsOf } from '../shared/public/layout.js';
import { RUNSTATE_running } from '../shared/public/vcpu.js';
import { shared_info, vcpu_info } from '../shared/public/xen-layout.js';
import { struct } from '../shared/struct.js';
import type { HvContext } from './context.js';
import { CPU_TIME, EPOCH_NS, MACHINE, TIMER, WALL_CLOCK } from './records.js';

/** Everything that can be wrong with time, in the order in which it is reported. */
export const TIME_CHECKS = [
  'boot-skew',
  'torn-read',
  'stale-page',
  'backward-step',
  'clock-error',
  'counter-skew',
  'frequency',
  'calibration-late',
  'wall-clock',
  'runstate-sum',
  'virtual-time',
  'timer-early',
  'timer-late',
  'timer-lost',
  'ticker-doubled',
  'ticker-late',
  'ipi-late',
] as const;
export type TimeCheckName = (typeof TIME_CHECKS)[number];

const KIND = Object.fromEntries(TIME_CHECKS.map((name, n) => [name, n])) as Readonly<Record<TimeCheckName, number>>;

/**
 * One a kind of check, for every runner: how much was looked at, the worst within bounds, and what broke them. Written by the
 * turn.
 */
export const TIME_CHECK = struct('time-check', {
  /** What was looked at, and what of it was wrong. */
  observations: 'f64',
  violations: 'f64',
  /** Largest deviation seen, right or wrong; the unit is the kind's. */
  worst: 'f64',
  worstAt: 'f64',
  /** The first violation: size, simulation time, pCPU, VCPU. */
  firstSize: 'f64',
  firstAt: 'f64',
  firstPcpu: 'i32',
  firstVcpu: 'i32',
});

/** What the observer remembers of a VCPU, from one event to the next. */
const SEEN_VCPU = struct('time-seen', {
  /** System time its single-shot timer was set to and has not fired; Infinity = none. */
  expected: 'f64',
  tickerAt: 'f64',
  /** Virtual time when it was last switched out. */
  virtual: 'f64',
  /** Of its page, when that was last looked at and right: version, pCPU and calibration in one. */
  pageState: 'i32',
});

/** Of a pCPU: the last clock read there, and when the IPIs under way to it were sent. */
const SEEN_PCPU = struct('time-seen-pcpu', { clock: 'f64', resched: 'f64', event: 'f64' }, 64);

/** Free mode: the last clock read of a domain with several VCPUs. Under the lock of its kernel. */
const SEEN_DOMAIN = struct('time-seen-domain', { clock: 'f64' });

/**
 * Highest clock read of a runner, by age: at least L ago, in the slot of L before the latest one, in the latest one. Alone on its
 * line: the others look at it.
 */
const FRONT = struct(
  'time-front',
  {
    settled: 'f64',
    previous: 'f64',
    current: 'f64',
    /** Ordered mode: where the slot of `current` ends, ns. Free mode: the number of the slot, in units of L. */
    slotEnd: 'f64',
    slot: 'f64',
    /** Reads that were sampled, and reads since. */
    samples: 'f64',
    since: 'i32',
  },
  64,
);

type CheckedShape = {
  readonly pcpus: number;
  readonly vcpus: number;
  readonly domains: number;
  readonly runners: number;
};

export const timeCheckRegions = (shape: CheckedShape): Region[] => [
  tableRegion(TIME_CHECK, TIME_CHECKS.length * shape.runners),
  tableRegion(SEEN_VCPU, shape.vcpus),
  tableRegion(SEEN_PCPU, shape.pcpus),
  tableRegion(SEEN_DOMAIN, shape.domains),
  tableRegion(FRONT, shape.runners),
  rawRegion('time-error', HISTOGRAM_BYTES, shape.runners),
];

export interface TimeCheck {
  /** The guest on VCPU v, whose pCPU's turn it is, read its clock; what it read stands in `machine.clockRead`. */
  read(v: number): void;
  /** The VCPU set its single-shot timer (Infinity = stopped it) to this system time. */
  timerSet(v: number, systemNs: number): void;
  /** Timer t fired on pCPU p. */
  timerFired(t: number, p: number): void;
  /** v was made at run time, in a record that may have been another's. */
  created(v: number): void;
  /** The periodic timer of v fired. */
  ticked(v: number, p: number): void;
  switchedOut(v: number): void;
  switchedIn(v: number, p: number): void;
  /** A runstate of v ends after `ns`. */
  runstateEnded(v: number, ns: number): void;
  /** @param sentAt ns */
  ipiSent(q: number, isEvent: boolean, sentAt: number): void;
  ipiArrived(q: number, isEvent: boolean): void;
  /** Boot is over: the counters should be in step. At simulation time 0. */
  booted(): void;
}

/** Reads between two looks at what changes slowly, or is there for long. */
const SAMPLE = 32;
/** What the scale of a page may be off, ppm: after a boot of 50 ms, and after a whole epoch. */
const BOOT_PPM = 0.1;
const EPOCH_PPM = 0.06;
/** What a guest may be wrong about UTC, ns, and from when on that is asked: the NTP client needs its time. */
const WALL_BOUND_NS = 1e6;

/**
 * How late the machine may be in free mode, ns: a pCPU is brought forward past what is due by a window at most, and in the turn
 * that serves it by another; and by L for each time the lock of a guest's kernel was handed on meanwhile.
 */
export const lateBound = (windowNs: number | undefined, L: number): number =>
  windowNs === undefined ? 0 : 2 * windowNs + 16 * L;

const TIME = offsetsOf(vcpu_info, 64).time >> 2;
/** Words of wc_sec, and wc_nsec behind it, in the shared info page. */
const WC_32 = offsetsOf(shared_info, 32).wc_sec >> 2;
const WC_64 = offsetsOf(shared_info, 64).wc_sec >> 2;

/** @param systemTime system time as a pCPU extrapolates it now, ns: what the hypervisor, which is checked, has to say */
export function timeCheck(hv: HvContext, systemTime: (p: number) => number): TimeCheck {
  const { image, vcpu, domain, params, shape, version, me, isOrdered, now, machine } = hv;
  const { i32 } = image;
  const check = image.table(TIME_CHECK);
  const seen = image.table(SEEN_VCPU);
  const seenPcpu = image.table(SEEN_PCPU);
  const front = image.table(FRONT);
  const cpu = image.table(CPU_TIME);
  const CLOCK_ERROR = KIND['clock-error'];
  const wall = image.table(WALL_CLOCK);
  const timer = image.table(TIMER);
  const oscillator = image.table(OSCILLATOR);
  const counters: Oscillators = oscillators(image);
  const MY_ERRORS = (image.region('time-error').base >> 2) + me * (HISTOGRAM_BYTES / 4);
  const pages = image.region('cpu-time-pages').base >> 2;
  const PLATFORM = shape.pcpus;
  const L = params.latencyNs;
  /** How far another pCPU's clock may be ahead when this one looks at it. */
  const WINDOW = params.free?.windowNs ?? 0;
  const LATE = lateBound(params.free?.windowNs, L);
  /** Whether a tick that was late leaves the next one where it was. */
  const ONE_RASTER = params.profile === 'classic';
  const seenDomain = image.table(SEEN_DOMAIN);
  /** Where this runner's findings begin. */
  const MINE = me * TIME_CHECKS.length;
  const TIMER_EARLY = MINE + KIND['timer-early'];
  const TIMER_LATE = MINE + KIND['timer-late'];
  const VIRTUAL_TIME = MINE + KIND['virtual-time'];
  const IPI_LATE = MINE + KIND['ipi-late'];
  const calibrated = params.timing.calibration !== 'off';
  const LATE_NS = EPOCH_NS + Math.max(10e6, 16 * L) + LATE;

  function judge(name: number, p: number, v: number, size: number, bound: number): void {
    check.addObservations(MINE + name, 1);
    found(MINE + name, p, v, size, bound);
  }

  /** Notes a deviation. What happens a million times a second asks first whether it is any news: doubles in calls are boxed. */
  function found(kind: number, p: number, v: number, size: number, bound: number): void {
    if (size > check.worst(kind)) {
      check.setWorst(kind, size);
      check.setWorstAt(kind, now());
    }
    if (size <= bound) return;
    if (check.violations(kind) === 0) {
      check.setFirstSize(kind, size);
      check.setFirstAt(kind, now());
      check.setFirstPcpu(kind, p);
      check.setFirstVcpu(kind, v);
    }
    check.addViolations(kind, 1);
  }

  /**
   * Ordered mode: a slot of L begins with this read. What was read before the last one began lies at least L back; and all that was,
   * if that one ended L ago.
   */
  function beginSlot(): void {
    const t = now();
    if (front.previous(me) > front.settled(me)) front.setSettled(me, front.previous(me));
    if (t < front.slotEnd(me) + L) front.setPrevious(me, front.current(me));
    else if (front.current(me) > front.settled(me)) front.setSettled(me, front.current(me));
    front.setCurrent(me, 0);
    front.setSlotEnd(me, t + L);
  }

  /** Free mode: the time of this read lies in another slot of L than the latest. */
  function turnSlot(): void {
    const slot = Math.floor(now() / L);
    const last = front.slot(me);
    if (slot > last) {
      if (front.previous(me) > front.settled(me)) front.setSettled(me, front.previous(me));
      if (slot === last + 1) front.setPrevious(me, front.current(me));
      else {
        if (front.current(me) > front.settled(me)) front.setSettled(me, front.current(me));
        front.setPrevious(me, 0);
      }
      front.setCurrent(me, 0);
      front.setSlot(me, slot);
    }
  }

  /**
   * Free mode. Racing pairs: VCPUs of a domain read under its kernel's lock, and from pCPU to pCPU that takes L, so nobody may
   * read less than the last one. And other workers: what they read in slots that ended before this one.
   */
  function compareFreely(v: number, ns: number, least: number): number {
    const slot = Math.floor(now() / L);
    const last = front.slot(me);
    if (slot > last) turnSlot();
    let before = least;
    if (slot >= last) {
      if (front.settled(me) > before) before = front.settled(me);
      if (ns > front.current(me)) front.setCurrent(me, ns);
    }
    const d = vcpu.domain(v);
    if (domain.maxVcpus(d) > 1) {
      if (seenDomain.clock(d) > before) before = seenDomain.clock(d);
      seenDomain.setClock(d, ns);
    }
    // A pCPU of this worker had been brought forward by something it learned; this read is older than the latest.
    if (slot < last) {
      if (slot === last - 1) {
        if (ns > front.previous(me)) front.setPrevious(me, ns);
      } else if (ns > front.settled(me)) front.setSettled(me, ns);
      return before;
    }
    if (front.since(me) !== 0) return before;
    for (let w = 0; w < shape.runners; w++) {
      if (w === me) continue;
      // Its slot is written last, so what is settled may be of the slot that is seen, but of no later one.
      const settled = front.settled(w);
      if (front.slot(w) + 2 <= slot && settled > before) before = settled;
    }
    return before;
  }

  /**
   * Reads the time page of a sibling as a reader on another CPU does, while its own pCPU may be writing it, and asks of some pCPU
   * whether counter, time and scale are of one calibration of it.
   */
  function readElsewhere(v: number, p: number): void {
    const d = vcpu.domain(v);
    const n = domain.maxVcpus(d);
    if (n === 1) return;
    const other = domain.firstVcpu(d) + ((vcpu.id(v) + 1) % n);
    const w = (vcpu.infoAddr(other) >> 2) + TIME;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const seenVersion = version.readVersion(w);
      const tsc = fromHalves(i32[w + 2]!, i32[w + 3]!);
      const system = fromHalves(i32[w + 4]!, i32[w + 5]!);
      const mul = i32[w + 6]! >>> 0;
      const shift = (i32[w + 7]! << 24) >> 24;
      if (!version.isConsistent(w, seenVersion)) continue;
      // One that has never run has none.
      judge(KIND['torn-read'], p, other, mul === 0 || isOfOneCalibration(tsc, system, mul, shift) ? 0 : 1, 0);
      return;
    }
  }

  function isOfOneCalibration(tsc: number, system: number, mul: number, shift: number): boolean {
    const cyclesPerNs = cyclesPerNsOf({ mul, shift });
    for (let q = 0; q < shape.pcpus; q++) {
      const true_ = oscillator.rate(q) / oscillator.rate(PLATFORM);
      if (Math.abs(cyclesPerNs / true_ - 1) * 1e6 > BOOT_PPM) continue;
      if (Math.abs(counters.read(PLATFORM, counters.timeOf(q, tsc, 0)) - system) <= L) return true;
    }
    return false;
  }

  /** UTC at system time 0 by the domain's page, less the boot time, ns. */
  function wallOf(d: number): number {
    const page = domain.sharedInfo(d) >> 2;
    const at = domain.width(d) === 64 ? WC_64 : WC_32;
    for (;;) {
      const seenVersion = version.readVersion(page + at - 1);
      const base = ((i32[page + at]! >>> 0) - params.bootTimeS) * 1e9 + i32[page + at + 1]!;
      if (version.isConsistent(page + at - 1, seenVersion)) return base;
    }
  }

  /** How far the guest's clock is from that of another pCPU, which the hypervisor, too, says by its own pairs. */
  function lookAtSkew(v: number, p: number, n: number): void {
    const other = shape.pcpus === 1 ? p : (p + 1 + (n % (shape.pcpus - 1))) % shape.pcpus;
    judge(KIND['counter-skew'], p, v, Math.abs(machine.clockRead(me) - systemTime(other)), L + WINDOW);
  }

  function lookAtCalibration(v: number, p: number): void {
    const t = now();
    const rate = t < oscillator.stepAt(p) ? oscillator.rate(p) : oscillator.stepRate(p);
    const ppm = Math.abs((cpu.cyclesPerNs(p) / rate) * oscillator.rate(PLATFORM) - 1) * 1e6;
    judge(KIND.frequency, p, v, ppm, cpu.calibrations(p) > 2 ? EPOCH_PPM : BOOT_PPM);
    if (calibrated) judge(KIND['calibration-late'], p, v, Math.max(0, t - cpu.calibratedAt(p) - LATE_NS), 0);
  }

  function lookAtRunstates(v: number, p: number): void {
    const t = now();
    let sum = t - vcpu.stateEntryTime(v);
    for (let k = 0; k < 4; k++) sum += vcpu.runstateTime(v, k);
    judge(KIND['runstate-sum'], p, v, Math.abs(sum - t), 0);
  }

  /** UTC by the guest's own page, against UTC at simulation time t; without the seconds a double could not hold. */
  function lookAtWallClock(v: number, p: number): void {
    if (wall.sets(0) <= 1) return;
    const off = wallOf(vcpu.domain(v)) + machine.clockRead(me) - now();
    judge(KIND['wall-clock'], p, v, Math.abs(off), WALL_BOUND_NS);
  }

  function lookForLostTimer(v: number, p: number): void {
    const expected = seen.expected(v);
    const overdue = counters.read(PLATFORM, now()) - expected - L - LATE;
    // A pCPU that takes it out of its queue first notes that it fired: looked at in this order it is one or the other.
    if (overdue > 0 && timer.position(2 * v) === 0 && seen.expected(v) === expected) {
      judge(KIND['timer-lost'], p, v, overdue, 0);
      seen.setExpected(v, Infinity);
    }
  }

  /** How far the guest's clock is off, in whole ns. */
  function measure(v: number, p: number): void {
    const size = Math.abs(machine.clockRead(me) - counters.read(PLATFORM, now()));
    judge(CLOCK_ERROR, p, v, size, L);
    recordSample(i32, MY_ERRORS, size);
  }

  /** One thing after the other, each now and then: together they would cost as much as all that is compared at every read. */
  function look(v: number, p: number): void {
    const n = front.samples(me);
    front.setSamples(me, n + 1);
    switch (n % 6) {
      case 0:
        lookAtSkew(v, p, n / 6);
        break;
      case 1:
        lookAtCalibration(v, p);
        break;
      case 2:
        lookAtRunstates(v, p);
        break;
      case 3:
        lookAtWallClock(v, p);
        break;
      case 4:
        lookForLostTimer(v, p);
        break;
      default:
        // In ordered mode nobody writes meanwhile.
        if (!isOrdered) readElsewhere(v, p);
    }
  }

  return {
    /**
     * On purpose in one piece: V8 takes what is small into the guest's kernel, where it then displaces what is needed at every
     * turn (measured: a third of the observer's cost).
     */
    read(v) {
      const p = machine.turnOf(me);
      const ns = machine.clockRead(me);

      // The page must be what its pCPU says, whole. The counter is written first: with the right one and wrong others it was
      // torn, with another it is of another time or another pCPU.
      const w = (vcpu.infoAddr(v) >> 2) + TIME;
      const state = i32[w]! ^ Math.imul(cpu.calibrations(p) * 1024 + p + 1, 0x9e3779b1);
      // Else looked at before, and neither it nor what it must be has changed since.
      if (seen.pageState(v) !== state) {
        const own = pages + (p << 3);
        const tsc = i32[w + 2] === i32[own + 2] && i32[w + 3] === i32[own + 3];
        const system = i32[w + 4] === i32[own + 4] && i32[w + 5] === i32[own + 5];
        const scale = i32[w + 6] === i32[own + 6] && i32[w + 7] === i32[own + 7];
        const isOdd = (i32[w]! & 1) !== 0;
        if (tsc && system && scale && !isOdd) seen.setPageState(v, state);
        else judge(isOdd || tsc ? KIND['torn-read'] : KIND['stale-page'], p, v, 1, 0);
      }

      // Whoever reads at least L after another must not read less; nor may anybody read less than was read before on the same pCPU. One
      // that is moved in no time (woken by another pCPU a nanosecond after it blocked) may, by what two pCPUs' clocks differ.
      let before = seenPcpu.clock(p);
      seenPcpu.setClock(p, ns);
      if (isOrdered) {
        if (now() >= front.slotEnd(me)) beginSlot();
        if (front.settled(me) > before) before = front.settled(me);
        if (ns > front.current(me)) front.setCurrent(me, ns);
      } else before = compareFreely(v, ns, before);
      if (before > ns) judge(KIND['backward-step'], p, v, before - ns, 0);

      const since = front.since(me) + 1;
      const isSampled = since === SAMPLE;
      front.setSince(me, isSampled ? 0 : since);
      // Every read is compared, with the platform clock before it is rounded down; of those that are right a part is measured.
      const error = ns - (oscillator.start(PLATFORM) + now() * oscillator.rate(PLATFORM));
      const isSuspect = error > L - 1 || error < -L;
      if (isSuspect || isSampled) measure(v, p);
      if (isSampled) look(v, p);
    },
    timerSet: (v, systemNs) => seen.setExpected(v, systemNs),
    created(v) {
      seen.setExpected(v, Infinity);
      seen.setTickerAt(v, 0);
      seen.setVirtual(v, 0);
      seen.setPageState(v, 0);
    },
    timerFired(t, p) {
      const v = t >> 1;
      if ((t & 1) === 0) seen.setExpected(v, Infinity);
      const late = counters.read(PLATFORM, now()) - timer.asked(t);
      check.addObservations(TIMER_EARLY, 1);
      check.addObservations(TIMER_LATE, 1);
      if (late < 0) {
        if (-late > check.worst(TIMER_EARLY) || -late > L) found(TIMER_EARLY, p, v, -late, L);
      } else if (late > check.worst(TIMER_LATE) || late > L + LATE) {
        // One that was set for a time that had passed is late from when it was set.
        const since = counters.read(PLATFORM, now()) - counters.read(PLATFORM, timer.setAt(t));
        found(TIMER_LATE, p, v, late < since ? late : since, L + LATE);
      }
    },
    ticked(v, p) {
      const t = now();
      const last = seen.tickerAt(v);
      const period = vcpu.periodicPeriod(v);
      if (last > 0) {
        judge(KIND['ticker-doubled'], p, v, Math.max(0, last + period - t), ONE_RASTER ? LATE : 0);
        // Only a VCPU that ran all the while could have been ticked in time.
        if (vcpu.stateEntryTime(v) <= last) judge(KIND['ticker-late'], p, v, Math.max(0, t - last - period), LATE);
      }
      seen.setTickerAt(v, t);
    },
    switchedOut: (v) => seen.setVirtual(v, vcpu.runstateTime(v, RUNSTATE_running)),
    switchedIn(v, p) {
      check.addObservations(VIRTUAL_TIME, 1);
      const gained = vcpu.runstateTime(v, RUNSTATE_running) - seen.virtual(v);
      if (gained !== 0) found(VIRTUAL_TIME, p, v, Math.abs(gained), 0);
    },
    runstateEnded(v, ns) {
      if (ns < 0) judge(KIND['runstate-sum'], machine.turnOf(me), v, -ns, 0);
    },
    ipiSent(q, isEvent, sentAt) {
      if (isEvent) seenPcpu.setEvent(q, sentAt);
      else seenPcpu.setResched(q, sentAt);
    },
    ipiArrived(q, isEvent) {
      check.addObservations(IPI_LATE, 1);
      const late = now() - (isEvent ? seenPcpu.event(q) : seenPcpu.resched(q)) - L;
      // Pulled or pushed by what was due on q at the same instant: a turn charges a nanosecond.
      if (late > check.worst(IPI_LATE) || late > 1 + LATE) found(IPI_LATE, machine.turnOf(me), -1, late, 1 + LATE);
    },
    booted() {
      let least = Infinity;
      let most = -Infinity;
      for (let p = 0; p < shape.pcpus; p++) {
        least = Math.min(least, counters.read(p, 0));
        most = Math.max(most, counters.read(p, 0));
      }
      judge(KIND['boot-skew'], 0, -1, (most - least) / (params.cycleHz / 1e9), L);
    },
  };
}

const PER_READ: readonly TimeCheckName[] = ['torn-read', 'stale-page', 'backward-step', 'clock-error', 'timer-lost'];

/** Times a reader tries again before it takes a page for one that is never whole. */
const ATTEMPTS = 1000;

/** Once, when the image is laid. */
export function initialiseTimeCheck(image: Image, shape: { vcpus: number }): void {
  const seen = image.table(SEEN_VCPU);
  for (let v = 0; v < shape.vcpus; v++) seen.setExpected(v, Infinity);
}

export interface TimeFinding {
  readonly check: TimeCheckName;
  readonly observations: number;
  readonly violations: number;
  readonly worst: number;
  readonly worstAtNs: number;
  readonly first?: { readonly size: number; readonly atNs: number; readonly pcpu: number; readonly vcpu: number };
}

/** What was found by all runners, and every timer that should have fired by `endNs` and did not. After the run. */
export function timeFindings(
  image: Image,
  shape: CheckedShape,
  endNs: number,
  { latencyNs, windowNs }: { readonly latencyNs: number; readonly windowNs: number | undefined },
): TimeFinding[] {
  const check = image.table(TIME_CHECK);
  const seen = image.table(SEEN_VCPU);
  const front = image.table(FRONT);
  const timer = image.table(TIMER);
  const now = image.table(MACHINE).now(0);
  const lost = KIND['timer-lost'];
  for (let v = 0; v < shape.vcpus; v++) {
    const overdue = endNs - seen.expected(v) - 1e6 - latencyNs - lateBound(windowNs, latencyNs);
    // One that was set for the past at the very end is still to fire.
    const isToFire = timer.position(2 * v) !== 0 && timer.setAt(2 * v) > now - 1e6;
    if (overdue <= 0 || isToFire) continue;
    if (check.violations(lost) === 0) {
      check.setFirstSize(lost, overdue);
      check.setFirstAt(lost, endNs);
      check.setFirstPcpu(lost, -1);
      check.setFirstVcpu(lost, v);
    }
    check.addViolations(lost, 1);
    check.setWorst(lost, Math.max(check.worst(lost), overdue));
  }
  const runners = Array.from({ length: shape.runners }, (_, w) => w);
  const sum = (of: (w: number) => number): number => runners.reduce((total, w) => total + of(w), 0);
  const reads = sum((w) => front.samples(w) * SAMPLE + front.since(w));
  return TIME_CHECKS.map((name, kind) => {
    const record = (w: number): number => w * TIME_CHECKS.length + kind;
    const worst = runners.map(record).reduce((a, b) => (check.worst(b) > check.worst(a) ? b : a));
    const violated = runners.map(record).filter((k) => check.violations(k) > 0);
    const first = violated.reduce((a, b) => (check.firstAt(b) < check.firstAt(a) ? b : a), violated[0] ?? -1);
    return {
      check: name,
      // These are looked at in every read, and counted only when they are wrong.
      observations: PER_READ.includes(name) ? reads : sum((w) => check.observations(record(w))),
      violations: sum((w) => check.violations(record(w))),
      worst: check.worst(worst),
      worstAtNs: check.worstAt(worst),
      ...(first < 0
        ? {}
        : {
            first: {
              size: check.firstSize(first),
              atNs: check.firstAt(first),
              pcpu: check.firstPcpu(first),
              vcpu: check.firstVcpu(first),
            },
          }),
    };
  });
}
