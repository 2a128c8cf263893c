/**
 * Time-keeping (S10–S15). Every pCPU has a cycle counter of its own and extrapolates system time from it; the
 * hypervisor keeps the counters and the times together by messages between pCPUs, each of which takes L:
 *
 * - at boot pCPU 0 and each other exchange counter readings and the other sets its counter (`synchronise`);
 * - a warp check then decides whether pages carry TSC_STABLE: each pCPU reads in turn, L apart, and nobody may read less
 *   than was read before (Xen's and Linux's check_tsc_warp);
 * - once before the first domain and then every EPOCH each pCPU pairs its counter with the platform clock, which gives its
 *   frequency and its error (`calibration`: rendezvous = told by pCPU 0; local = each by itself).
 *
 * A guest sees a copy of its pCPU's pair and scale in the time page, written with the version-counter protocol at each
 * switch-in and calibration (classic profile: and by the ticker, timer.ts). Boot takes place before simulation time 0, at which the domains start.
 */
import { cyclesPerNsOf, fromHalves, highHalf, lowHalf, scaleDelta, scaleOf } from '../shared/clock.js';
import { type Oscillators, oscillators } from '../shared/oscillator.js';
import { offsetsOf } from '../shared/public/layout.js';
import { XEN_PVCLOCK_TSC_STABLE_BIT } from '../shared/public/xen.js';
import { shared_info, vcpu_info, vcpu_time_info } from '../shared/public/xen-layout.js';
import { type HvContext, RENDEZVOUS_LOCK, WALL_LOCK } from './context.js';
import { CPU_TIME, EPOCH_NS, RENDEZVOUS, WALL_CLOCK } from './records.js';
import type { Smp } from './smp.js';

export interface TimeKeeping {
  /**
   * Writes the time page of VCPU v (and its secondary copy) from its pCPU's. At switch-in, at each calibration and, in the classic
   * profile, at the ticker.
   */
  update(v: number): void;
  /** Writes the wall clock of a domain: UTC at system time 0. */
  updateWallClock(d: number): void;
  /** System time as pCPU p extrapolates it now, ns. */
  systemTime(p: number): number;
  /** System time at pCPU p's last calibration, ns: not much less than now, and cheap. */
  lastPair(p: number): number;
  /** How many calibrations pCPU p has had. */
  calibrations(p: number): number;
  /** Simulation time, not before now, at which system time on pCPU p gets to `systemNs`: what its timer is set to. */
  timerFor(p: number, systemNs: number): number;
  /** Arms the steps of boot, all before time 0. Once, before the first turn. */
  powerOn(): void;
  /** pCPU p's time-keeping is due: a step of boot, a message, an epoch. */
  run(p: number): void;
  /** Whether anything but time-keeping will ever happen again; true in free mode, where nobody can say by himself. */
  isAnythingLeft(): boolean;
  /** Whether the domains were started. */
  hasStarted(): boolean;
  /** Free mode: whether pCPUs are being held in a rendezvous. */
  isMeeting(): boolean;
  /** pCPU p goes off line: it keeps no time. While all others stand still, as for the next. */
  goesOffline(p: number): void;
  /** pCPU p comes back: its clock is set anew, by an exchange with the master where there is one, and then `isInStep` called. */
  comesOnline(p: number): void;
  /** Whether pCPU p is on its way back. */
  isComing(p: number): boolean;
  /** Sets UTC at system time 0, as seconds and nanoseconds since 1970, and tells the domains. */
  setWallClock(seconds: number, nanoseconds: number): void;
}

/** What pCPU p is to do next: fields `job` and `step` of CPU_TIME. */
const JOB = { none: 0, synchronise: 1, warpCheck: 2, calibrate: 3, finishBoot: 4, comeOnline: 5 } as const;
const STEP = { begin: 1, asked: 2, answered: 3 } as const;
/** The pCPU that owns the reference. */
const MASTER = 0;
/** Exchanges of counter readings at boot; each corrects what the one before left (Xen's rendezvous has five rounds). */
const SYNC_ROUNDS = 5;
const WARP_ROUNDS = 3;
/** Between the two calibrations of boot, ns (Xen's calibrate_tsc takes 50 ms, too). */
const BOOT_CALIBRATION_NS = 50e6;
const BOOT_CALIBRATIONS = 2;

const TIME_OFFSET = offsetsOf(vcpu_info, 64).time;
const T = offsetsOf(vcpu_time_info, 64);
const PAGE_WORDS = [
  T.tsc_timestamp >> 2,
  (T.tsc_timestamp >> 2) + 1,
  T.system_time >> 2,
  (T.system_time >> 2) + 1,
  T.tsc_to_system_mul >> 2,
  T.tsc_shift >> 2,
] as const;

/**
 * @param startDomains boot is done
 * @param isInStep the clock of a pCPU that comes back on line is in step
 */
export function timeKeeping(
  hv: HvContext,
  smp: Smp,
  startDomains: () => void,
  isInStep: (p: number) => void,
): TimeKeeping {
  const {
    image,
    vcpu,
    pcpu,
    domain,
    params,
    queues,
    locks,
    lockOf,
    machineWords,
    version,
    raceWindow,
    shape,
    isOrdered,
    now,
    faulty,
  } = hv;
  const { i32 } = image;
  const { latencyNs: L, cycleHz: hz, timing } = params;
  const counters: Oscillators = oscillators(image);
  const PLATFORM = shape.pcpus;
  const cpu = image.table(CPU_TIME);
  const wall = image.table(WALL_CLOCK);
  const rendezvous = image.table(RENDEZVOUS);
  const calledWord = image.column(RENDEZVOUS, 'called').base;
  const releasedWord = image.column(RENDEZVOUS, 'released').base;
  /** Words of pCPU p's own copy of what pages carry. */
  const pages = image.region('cpu-time-pages');
  const pageOf = (p: number): number => ((pages.base >> 2) + (p << 3)) | 0;
  const [TSC_LO, TSC_HI, SYS_LO, SYS_HI, MUL, SHIFT] = PAGE_WORDS;

  // A rounding is everybody's, not one pCPU's.
  const roundsToKhz = timing.inject?.kind === 'khz-rounding';

  /** Takes a new pair (counter, system time) and scale for pCPU p. */
  function setPair(p: number, tsc: number, system: number, frequency: number): void {
    const { mul, shift } = scaleOf(roundsToKhz ? Math.round(frequency / 1000) * 1000 : frequency);
    cpu.setTsc(p, tsc);
    cpu.setSystem(p, system);
    cpu.setMul(p, mul | 0);
    cpu.setShift(p, shift);
    cpu.setCyclesPerNs(p, cyclesPerNsOf({ mul, shift }));
    const w = pageOf(p);
    version.beginUpdate(w);
    i32[w + TSC_LO] = lowHalf(tsc);
    i32[w + TSC_HI] = highHalf(tsc);
    i32[w + SYS_LO] = lowHalf(system);
    i32[w + SYS_HI] = highHalf(system);
    i32[w + MUL] = mul | 0;
    const flags = wall.tscStable(0) !== 0 ? XEN_PVCLOCK_TSC_STABLE_BIT : 0;
    i32[w + SHIFT] = (shift & 0xff) | (flags << 8);
    version.endUpdate(w);
  }

  function systemAt(p: number, tsc: number): number {
    const delta = tsc - cpu.tsc(p);
    return cpu.system(p) + (delta > 0 ? scaleDelta(delta, cpu.mul(p) >>> 0, cpu.shift(p)) : 0);
  }

  const systemTime = (p: number): number => systemAt(p, counters.read(p, now()));

  /** The same of a pCPU whose own turn may be setting its pair right now: from one consistent copy. */
  function systemTimeElsewhere(p: number): number {
    const w = pageOf(p);
    for (;;) {
      const before = version.readVersion(w);
      const delta = counters.read(p, now()) - fromHalves(i32[w + TSC_LO]!, i32[w + TSC_HI]!);
      const system = fromHalves(i32[w + SYS_LO]!, i32[w + SYS_HI]!);
      const [mul, shift] = [i32[w + MUL]! >>> 0, (i32[w + SHIFT]! << 24) >> 24];
      if (version.isConsistent(w, before)) return system + (delta > 0 ? scaleDelta(delta, mul, shift) : 0);
    }
  }

  function writePage(page: number, p: number): void {
    const from = pageOf(p);
    const w = page >> 2;
    version.beginUpdate(w);
    i32[w + TSC_LO] = i32[from + TSC_LO]!;
    i32[w + TSC_HI] = i32[from + TSC_HI]!;
    raceWindow();
    i32[w + SYS_LO] = i32[from + SYS_LO]!;
    i32[w + SYS_HI] = i32[from + SYS_HI]!;
    i32[w + MUL] = i32[from + MUL]!;
    i32[w + SHIFT] = i32[from + SHIFT]!;
    version.endUpdate(w);
  }

  /** A writer that dies half-way, having bumped the version once by two: the page looks whole and is not. */
  function tearPage(page: number, p: number): void {
    const from = pageOf(p);
    const w = page >> 2;
    i32[w] = (i32[w]! + 2) | 0;
    i32[w + TSC_LO] = i32[from + TSC_LO]!;
    i32[w + TSC_HI] = i32[from + TSC_HI]!;
  }

  function update(v: number): void {
    const p = queues.entry.processor(v);
    const page = vcpu.infoAddr(v) + TIME_OFFSET;
    if (faulty('lost-update', p)) return;
    if (faulty('torn-writer', p)) {
      tearPage(page, p);
      return;
    }
    writePage(page, p);
    const copy = vcpu.timeAddr(v);
    if (copy !== 0) writePage(copy, p);
  }

  /**
   * pCPU p learned that its counter read `tsc` when the platform clock read `master`. The distance to the last pair gives
   * its frequency. Under its run-queue lock, so that whoever writes a page of its VCPU finds the pair whole. A clock that is behind jumps; one that is ahead is slowed until the next epoch, so time never steps back.
   */
  function calibrated(p: number, tsc: number, master: number): void {
    locks.acquire(lockOf(p), p);
    takePair(p, tsc, master);
    const v = pcpu.current(p);
    if (!hv.isIdle(v)) update(v);
    locks.release(lockOf(p), p);
    if (now() < 0 && cpu.calibrations(p) === BOOT_CALIBRATIONS) bootSynchronise(p);
  }

  function takePair(p: number, tsc: number, master: number): void {
    const booting = now() < 0;
    const first = cpu.calibrations(p) === 0;
    const before = first ? master : systemTime(p);
    const error = first ? 0 : master - systemAt(p, tsc);
    const measured = ((tsc - cpu.pairTsc(p)) / (master - cpu.pairMaster(p))) * 1e9;
    // A counter that was set meanwhile, even backwards, tells nothing about its frequency.
    const isPlausible = measured > hz / 2 && measured < hz * 2;
    const frequency = !first && isPlausible ? measured : frequencyOf(p);
    const slows = !booting && error < 0;
    const pace = slows ? (frequency * (EPOCH_NS - error)) / EPOCH_NS : frequency;
    setPair(p, tsc, slows ? master - error : master, pace);
    // The new scale over the few µs since `tsc` may round a little lower than the old one.
    const back = before - systemTime(p);
    if (!booting && back > 0) setPair(p, tsc, cpu.system(p) + back, pace);
    cpu.setPairTsc(p, tsc);
    cpu.setPairMaster(p, master);
    cpu.addCalibrations(p, 1);
    cpu.setCalibratedAt(p, now());
    cpu.setLastError(p, booting ? 0 : error);
    if (Math.abs(error) > cpu.maxError(p) && !booting) cpu.setMaxError(p, Math.abs(error));
  }

  /** Nobody has run on pCPU p for a while, and nobody does: its clock need not go on from where it was. */
  function setInStep(p: number, tsc: number, master: number): void {
    locks.acquire(lockOf(p), p);
    const measured = ((tsc - cpu.pairTsc(p)) / (master - cpu.pairMaster(p))) * 1e9;
    setPair(p, tsc, master, measured > hz / 2 && measured < hz * 2 ? measured : frequencyOf(p));
    cpu.setPairTsc(p, tsc);
    cpu.setPairMaster(p, master);
    cpu.addCalibrations(p, 1);
    cpu.setCalibratedAt(p, now());
    cpu.setLastError(p, 0);
    locks.release(lockOf(p), p);
  }

  const wakeAt = smp.timeAt;

  function give(p: number, job: number, at: number): void {
    cpu.setJob(p, job);
    cpu.setStep(p, STEP.begin);
    cpu.setAt(p, at);
    wakeAt(p, at);
  }

  /** Asks the master for its reading; the answer is back 2 L from now. */
  function ask(p: number): void {
    cpu.setAsked(p, counters.read(p, now()));
    cpu.setStep(p, STEP.asked);
    cpu.setAt(p, now() + L);
    wakeAt(MASTER, now() + L);
  }

  /** The master answers every request that has arrived. */
  function answerAll(): void {
    const t = now();
    let next = Infinity;
    for (let p = 1; p < shape.pcpus; p++) {
      if (cpu.step(p) !== STEP.asked) continue;
      if (cpu.at(p) > t) {
        if (cpu.at(p) < next) next = cpu.at(p);
        continue;
      }
      cpu.setAnswer(p, counters.read(cpu.job(p) === JOB.synchronise ? MASTER : PLATFORM, t));
      cpu.setStep(p, STEP.answered);
      cpu.setAt(p, t + L);
      wakeAt(p, t + L);
    }
    if (next < Infinity) wakeAt(MASTER, next);
  }

  /** The master's answer fits the middle of the exchange, if both ways take equally long. */
  function answered(p: number): void {
    const middle = (cpu.asked(p) + counters.read(p, now())) / 2;
    if (cpu.job(p) === JOB.calibrate) {
      cpu.setStep(p, 0);
      calibrated(p, Math.floor(middle), cpu.answer(p));
      return;
    }
    if (cpu.job(p) === JOB.comeOnline) {
      cpu.setStep(p, 0);
      cpu.setJob(p, JOB.none);
      setInStep(p, Math.floor(middle), cpu.answer(p));
      isInStep(p);
      return;
    }
    const delta = Math.round(cpu.answer(p) - middle);
    counters.advance(p, delta);
    cpu.addCorrected(p, delta);
    cpu.addTsc(p, delta);
    cpu.addPairTsc(p, delta);
    cpu.addRounds(p, 1);
    if (cpu.rounds(p) < SYNC_ROUNDS) ask(p);
    else give(p, JOB.warpCheck, warpCheckAt(p, 0));
  }

  function updateWallClock(d: number): void {
    const is64 = domain.width(d) === 64;
    const at = is64 ? offsetsOf(shared_info, 64) : offsetsOf(shared_info, 32);
    const secHi = is64 ? offsetsOf(shared_info, 64).wc_sec_hi : offsetsOf(shared_info, 32)['arch.wc_sec_hi'];
    const page = domain.sharedInfo(d);
    const w = (page + at.wc_version) >> 2;
    const seconds = wall.seconds(0);
    version.beginUpdate(w);
    i32[(page + at.wc_sec) >> 2] = lowHalf(seconds);
    raceWindow();
    i32[(page + at.wc_nsec) >> 2] = wall.nanoseconds(0);
    i32[(page + secHi) >> 2] = highHalf(seconds);
    version.endUpdate(w);
  }

  // --- boot, before time 0: two calibrations, then, so that the counters have no time to drift apart, the rest
  const WARP_PERIOD = shape.pcpus * L;
  const bootWarp = -WARP_ROUNDS * WARP_PERIOD - L;
  const bootSync = bootWarp - 2 * L * (SYNC_ROUNDS + 1);
  const bootCalibration = bootSync - 4 * L - BOOT_CALIBRATION_NS;
  const warpCheckAt = (p: number, round: number): number => bootWarp + round * WARP_PERIOD + p * L;

  /** Under one lock: nobody may read less than anybody read before. */
  function warpCheck(p: number): void {
    const tsc = counters.read(p, now());
    const warp = wall.lastTsc(0) - tsc;
    if (warp > wall.warp(0)) wall.setWarp(0, warp);
    else if (warp < 0) wall.setLastTsc(0, tsc);
    cpu.addWarpReads(p, 1);
    if (cpu.warpReads(p) < WARP_ROUNDS) give(p, JOB.warpCheck, warpCheckAt(p, cpu.warpReads(p)));
    else {
      wall.setTscStable(0, wall.warp(0) === 0 ? 1 : 0);
      give(p, JOB.finishBoot, 0);
    }
  }

  function bootSynchronise(p: number): void {
    if (timing.synchronise && p !== MASTER) give(p, JOB.synchronise, bootSync);
    else give(p, JOB.warpCheck, warpCheckAt(p, 0));
  }

  /**
   * The rendezvous of free mode. The master calls all pCPUs; each comes with its next turn and takes no other until everyone is
   * there. The last one's time is then nobody's future and nobody's past, and all pair their counters with the platform
   * clock at that time. (In ordered mode the call is an exchange of messages with the master, `ask`.)
   */
  function call(): void {
    const nr = machineWords.load(calledWord) + 1;
    let expected = 0;
    for (let q = 0; q < shape.pcpus; q++) {
      if (!queues.isOnline(q)) continue;
      cpu.setCalled(q, nr);
      expected++;
    }
    rendezvous.setExpected(0, expected);
    machineWords.store(calledWord, nr);
    for (let q = 0; q < shape.pcpus; q++) if (q !== MASTER && queues.isOnline(q)) wakeAt(q, now() + L);
    enter(MASTER);
  }

  function enter(p: number): void {
    cpu.setJoined(p, cpu.called(p));
    pcpu.setIsHeld(p, 1);
    // The lock brings this pCPU's clock up to that of everyone who came before.
    locks.acquire(RENDEZVOUS_LOCK, p);
    rendezvous.addEntered(0, 1);
    const isLast = rendezvous.entered(0) === rendezvous.expected(0);
    if (isLast) {
      rendezvous.setEntered(0, 0);
      rendezvous.setAt(0, now());
      machineWords.store(releasedWord, cpu.joined(p));
    }
    locks.release(RENDEZVOUS_LOCK, p);
    if (!isLast) return;
    for (let q = 0; q < shape.pcpus; q++) if (q !== p) wakeAt(q, now());
    leave(p);
  }

  function leave(p: number): void {
    pcpu.setIsHeld(p, 0);
    const at = rendezvous.at(0);
    // One that is late on purpose comes to every fourth only.
    const isMissed = faulty('skipped-calibration', p) || (faulty('late-calibration', p) && cpu.joined(p) % 4 !== 0);
    if (!isMissed) calibrated(p, counters.read(p, at), counters.read(PLATFORM, at));
  }

  /**
   * Whether p has come and may go, or is called and has not come. Or both: with a window as long as an epoch the master may find
   * the next one due as it leaves, and calls again before all have gone.
   */
  function meet(p: number): void {
    if (pcpu.isHeld(p) !== 0 && machineWords.load(releasedWord) === cpu.joined(p)) leave(p);
    if (pcpu.isHeld(p) === 0 && cpu.called(p) !== cpu.joined(p)) enter(p);
  }

  function wakeMasterEpoch(at: number): void {
    wall.setEpochAt(0, at);
    wakeAt(MASTER, at);
  }

  /** An epoch for nobody would keep an idle machine going. */
  function isAnythingLeft(): boolean {
    // Nobody can say while others go on; the run loops find out together.
    if (!isOrdered) return true;
    for (let p = 0; p < shape.pcpus; p++) {
      if (!hv.isIdle(pcpu.current(p)) || pcpu.softirq(p) !== 0) return true;
      if (Math.min(pcpu.timerAt(p), pcpu.sliceEnd(p), pcpu.reschedIpiAt(p), pcpu.eventIpiAt(p)) < Infinity) return true;
    }
    return false;
  }

  /** After the boot's first calibration comes its second; `finishBoot` begins the epochs, which end when all is over. */
  function nextEpoch(t: number): number {
    if (t < 0) return t === bootCalibration ? bootCalibration + BOOT_CALIBRATION_NS : Infinity;
    return isAnythingLeft() ? (Math.floor(t / EPOCH_NS) + 1) * EPOCH_NS : Infinity;
  }

  /** How late a calibration is that is late on purpose, ns. */
  const lateness = (p: number): number => (faulty('late-calibration', p) ? 3 * EPOCH_NS : 0);

  function masterEpoch(): void {
    const t = now();
    if (!isOrdered) {
      wall.setEpochAt(0, nextEpoch(t) + lateness(MASTER));
      call();
      return;
    }
    if (!faulty('skipped-calibration', MASTER))
      calibrated(MASTER, counters.read(MASTER, t), counters.read(PLATFORM, t));
    if (timing.calibration === 'rendezvous') {
      for (let p = 1; p < shape.pcpus; p++) {
        // One that is still at its last job is left to it.
        if (cpu.step(p) !== 0 || !queues.isOnline(p) || faulty('skipped-calibration', p)) continue;
        give(p, JOB.calibrate, t + L + lateness(p));
      }
    }
    // A master that is late is late for all.
    wall.setEpochAt(0, nextEpoch(t) + lateness(MASTER));
  }

  function localEpoch(p: number): void {
    const t = now();
    if (!faulty('skipped-calibration', p)) calibrated(p, counters.read(p, t), counters.read(PLATFORM, t));
    if (cpu.job(p) === JOB.calibrate) give(p, JOB.calibrate, nextEpoch(t) + lateness(p));
  }

  /** Time 0: pages count from here, and the domains may run. */
  function finishBoot(p: number): void {
    cpu.setStep(p, 0);
    cpu.setJob(p, JOB.none);
    const tsc = counters.read(p, 0);
    setPair(p, tsc, Math.max(0, cpu.calibrations(p) === 0 ? 0 : systemAt(p, tsc)), frequencyOf(p));
    if (timing.calibration === 'local') give(p, JOB.calibrate, EPOCH_NS);
    if (p !== MASTER) return;
    if (timing.calibration === 'rendezvous') wakeMasterEpoch(EPOCH_NS);
    wall.setStarted(0, 1);
    startDomains();
  }

  const frequencyOf = (p: number): number => (cpu.calibrations(p) === 0 ? hz : cpu.cyclesPerNs(p) * 1e9);

  /** Whether pCPU p has a step to take: none while the master is asked. */
  const isItsTurn = (p: number): boolean => cpu.step(p) !== 0 && cpu.step(p) !== STEP.asked;

  /** A step that pCPU p was given. */
  function ownStep(p: number): void {
    const job = cpu.job(p);
    if (cpu.step(p) === STEP.answered) answered(p);
    else if (job === JOB.synchronise) ask(p);
    else if (job === JOB.warpCheck) warpCheck(p);
    else if (job === JOB.finishBoot) finishBoot(p);
    else if (job === JOB.calibrate && timing.calibration === 'local') localEpoch(p);
    else if (job === JOB.calibrate || job === JOB.comeOnline) ask(p);
  }

  return {
    update,
    updateWallClock,
    systemTime: isOrdered ? systemTime : (p) => (p === smp.self() ? systemTime(p) : systemTimeElsewhere(p)),
    lastPair: cpu.system,
    calibrations: cpu.calibrations,
    isAnythingLeft,
    hasStarted: () => wall.started(0) !== 0,
    // Plain reads: a call that is seen late is one that came a moment later.
    isMeeting: () => rendezvous.called(0) !== rendezvous.released(0),
    goesOffline(p) {
      if (cpu.job(p) !== JOB.calibrate || timing.calibration !== 'local') return;
      cpu.setJob(p, JOB.none);
      cpu.setStep(p, 0);
    },
    comesOnline(p) {
      if (isOrdered && timing.calibration === 'rendezvous') {
        give(p, JOB.comeOnline, now() + L);
        return;
      }
      if (timing.calibration !== 'off') setInStep(p, counters.read(p, now()), counters.read(PLATFORM, now()));
      isInStep(p);
      if (timing.calibration === 'local') give(p, JOB.calibrate, nextEpoch(now()));
    },
    isComing: (p) => cpu.job(p) === JOB.comeOnline,
    timerFor(p, systemNs) {
      const t = now();
      const cycles = Math.ceil((systemNs - cpu.system(p)) * cpu.cyclesPerNs(p));
      return Math.max(t, counters.timeOf(p, cpu.tsc(p) + cycles, t));
    },
    powerOn() {
      wall.setEpochAt(0, Infinity);
      wall.setLastTsc(0, -Infinity);
      if (timing.calibration === 'rendezvous') wakeMasterEpoch(bootCalibration);
      for (let p = 0; p < shape.pcpus; p++) {
        if (timing.calibration === 'off') bootSynchronise(p);
        else if (timing.calibration === 'local') give(p, JOB.calibrate, bootCalibration);
      }
    },
    run(p) {
      const t = now();
      pcpu.setCalibrateAt(p, Infinity);
      if (isItsTurn(p) && cpu.at(p) <= t) ownStep(p);
      if (!isOrdered) meet(p);
      if (p === MASTER) {
        if (wall.epochAt(0) <= t && pcpu.isHeld(p) === 0) masterEpoch();
        if (isOrdered) answerAll();
        // While it is held it knows when it goes on: when it is released.
        if (wall.epochAt(0) < Infinity && pcpu.isHeld(p) === 0) wakeAt(p, wall.epochAt(0));
      }
      if (isItsTurn(p)) wakeAt(p, cpu.at(p));
    },
    setWallClock(seconds, nanoseconds) {
      locks.acquire(WALL_LOCK, smp.self());
      wall.addSets(0, 1);
      wall.setSeconds(0, seconds);
      wall.setNanoseconds(0, nanoseconds);
      for (let d = 0; d < shape.domains; d++) if (domain.sharedInfo(d) !== 0) updateWallClock(d);
      locks.release(WALL_LOCK, smp.self());
    },
  };
}
