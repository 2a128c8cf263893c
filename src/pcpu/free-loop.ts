/**
 * Free mode (docs/free-mode.md): every worker takes the turns of its own pCPUs, in order of time among themselves, at the same
 * time as the others. Simulation clocks run apart by at most a window; what one pCPU learns of another brings its clock
 * forward (locks, mail and events carry the time they come from), so nothing is seen before it happened.
 *
 * The window is kept by floors. A worker's floor says: no turn of mine before this, unless somebody sends me something. It is
 * held back by what the worker sent and the receiver has not taken up yet, and so the least of all floors is below everything
 * that is still to come. A worker takes a turn only up to a window above it.
 */
import { IPI } from '../hv/smp.js';
import type { Doorbells } from '../shared/doorbell.js';
import type { Image } from '../shared/image.js';
import { MachineEnded } from '../shared/spinlock.js';
import { CONTROL, OUTCOME, RUN } from './control-records.js';
import type { RunParams } from './machine-shape.js';
import type { RunLoop } from './ordered-loop.js';
import type { ProcessorCore } from './processor.js';
import { NAP_MS, type SafePoint, WATCH_MS } from './safe-point.js';

/** Turns between two safe points. */
const BATCH = 1024;
/** Turns after which those who wait for this worker to get on are told. */
const NUDGE_TURNS = 16;
/** Longest sleep while others are behind, host ms: a nudge that came a moment too early costs no more. */
const DOZE_MS = 1;
/**
 * Looks at the last worker's floor before one that is a window ahead sleeps, where every worker has a core: some 200 us. To be woken
 * takes 50 us, in which the other in turn gets a window ahead and sleeps; so whoever sleeps early makes both sleep most of the time.
 */
const LOOKS = 3_000;
/** Between two looks: a line that is looked at all the time is slow to write for whom it belongs to. */
const PAUSE = 16;
/** Looks at a floor that does not move before one goes on with less than half a window. */
const PATIENCE = 20;

const NOBODY = -1;

const WHY = { goOn: 0, ahead: 1, done: 2 } as const;
type Why = (typeof WHY)[keyof typeof WHY];

export function freeLoop(
  image: Image,
  core: ProcessorCore,
  bells: Doorbells,
  self: number,
  params: RunParams,
  safe: SafePoint,
): RunLoop {
  const { keys, turns, hv, mail, stop, pcpus } = core;
  const { machine, floors, pcpu, isIdle } = hv.context;
  const control = image.table(CONTROL);
  const LOWERED = (image.region('control').base + CONTROL.offsets.lowered) >> 2;
  const workers = image.region('worker').count;
  const { horizonNs } = params;
  const windowNs = params.hv.free?.windowNs ?? 0;
  /** With more workers than cores a look at others' floors only keeps them from moving. */
  const looks = params.spins > 0 ? LOOKS : 1;

  /** The worker that was found to be the last. */
  let last = 0;

  /** The least over all workers, at one moment: a floor that was lowered meanwhile may have been missed. */
  function least(of: (w: number) => number): number {
    for (;;) {
      const before = Atomics.load(image.i32, LOWERED);
      let lowest = Infinity;
      for (let w = 0; w < workers; w++) {
        const floor = of(w);
        if (floor >= lowest) continue;
        lowest = floor;
        last = w;
      }
      if (Atomics.load(image.i32, LOWERED) === before) return lowest;
    }
  }

  /** pCPUs that are held in a rendezvous hold back the others, too. */
  function earliestHeld(): number {
    let earliest = Infinity;
    if (!hv.time.isMeeting()) return earliest;
    for (const p of pcpus) if (pcpu.isHeld(p) !== 0) earliest = Math.min(earliest, pcpu.turnedAt(p));
    return earliest;
  }

  function publish(next: number, workFloor: number): void {
    // Nearly always: nothing is under way, nobody is held, and this worker has been at work before.
    if (
      !hv.time.isMeeting() &&
      !mail.isUnseen() &&
      next >= floors.floor(self) &&
      workFloor === floors.workFloor(self)
    ) {
      floors.setFloor(self, next);
      return;
    }
    const unseen = mail.earliestUnseen();
    const floor = Math.min(next, unseen, earliestHeld());
    const work = Math.min(workFloor, unseen);
    const isLower = floor < floors.floor(self) || work < floors.workFloor(self);
    floors.setFloor(self, floor);
    floors.setWorkFloor(self, work);
    if (isLower) Atomics.add(image.i32, LOWERED, 1);
  }

  /** First what was sent, then the floor, then word to the senders: in this order nothing is ever above all floors. */
  function takeMail(): void {
    // No pCPU's turn: all of them may get an earlier key.
    hv.smp.enterTurn(NOBODY);
    mail.take((q, kind, at, sentAt) => {
      if (kind === IPI.key) hv.timers.serveRequests(q);
      hv.smp.deliver(q, kind, at, sentAt);
    });
    publish(keys.key(keys.root()), -Infinity);
    mail.acknowledge();
  }

  /** Nothing to do here but to keep time. */
  function isQuiet(): boolean {
    if (!hv.time.hasStarted() || hv.sched.isHeldBack()) return false;
    for (const p of pcpus) {
      if (!isIdle(pcpu.current(p)) || pcpu.softirq(p) !== 0) return false;
      if (Math.min(pcpu.timerAt(p), pcpu.sliceEnd(p), pcpu.reschedIpiAt(p), pcpu.eventIpiAt(p)) < Infinity)
        return false;
    }
    // Accounting goes on while somebody may be parked who will be let go.
    const { accounts, ops } = hv.sched;
    for (const p of pcpus) if (accounts(p) && ops.nextAccounting(p) < Infinity) return false;
    return !mail.hasMail();
  }

  /**
   * Coming to a rendezvous and leaving it is allowed beyond the limit: those who are held there hold back everybody, and one that
   * had got to the limit when it was called could never come.
   */
  function mayMeet(t: number): boolean {
    return hv.time.isMeeting() && pcpu.calibrateAt(keys.root()) <= t;
  }

  function nudgeOthers(): void {
    for (let w = 0; w < workers; w++) if (w !== self) bells.nudge(w);
  }

  /** How far this worker may go right now, when it took its last turn, and the end of its batch. Doubles in variables would be boxed. */
  const LIMIT = 0;
  const TOOK_AT = 1;
  const UNTIL = 2;
  const own = new Float64Array(3).fill(-Infinity);

  /** Why the turn at `t` is not to be taken yet, as far as others are concerned. */
  function holdsBack(t: number, until: number): Why {
    publish(t, isQuiet() ? Infinity : -Infinity);
    if (least(floors.workFloor) === Infinity) {
      safe.finish(OUTCOME.idle);
      return WHY.done;
    }
    const lowest = least(floors.floor);
    if (lowest >= horizonNs) {
      safe.finish(OUTCOME.horizon);
      return WHY.done;
    }
    const limit = lowest + windowNs;
    const apart = machine.now(self) - lowest;
    if (apart > floors.apart(self) && lowest > 0) floors.setApart(self, apart);
    own[LIMIT] = limit;
    if (t < until) return t <= limit || mayMeet(t) ? WHY.goOn : WHY.ahead;
    if (until < horizonNs && lowest >= until) pauseHere(until);
    return WHY.ahead;
  }

  /** All have got to where the machine is to pause. */
  function pauseHere(until: number): void {
    control.setPauseAt(0, Infinity);
    // There the machine stands, though nothing may happen for long: a command that comes now comes then.
    publish(until, -Infinity);
    if (safe.state() === RUN.running) safe.setState(RUN.paused);
  }

  /** Turns of the batch, and what guests went on by without. */
  let taken = 0;

  /** Takes turns; returns when it cannot for now, or it is time for a safe point. */
  function batch(until: number): Why {
    own[UNTIL] = until;
    stop.begin();
    for (taken = 0; taken < BATCH; taken++) {
      if (stop.isAsked()) stop.giveWay();
      if (mail.hasMail()) takeMail();
      const p = keys.root();
      const t = keys.key(p);
      // A gap, too, is a reason to look around: perhaps it never ends.
      if (t > own[LIMIT]! || t >= until || t - own[TOOK_AT]! > windowNs) {
        const why = holdsBack(t, until);
        if (why !== WHY.goOn) return why;
      }
      if (safe.hasFault) {
        machine.setNow(self, t);
        machine.setTurnOf(self, p);
        safe.fail(p, t);
      }
      publish(t, -Infinity);
      own[TOOK_AT] = t;
      turns.take(p);
      if (taken % NUDGE_TURNS === NUDGE_TURNS - 1) {
        nudgeOthers();
        if (bells.isRung(self)) return WHY.goOn;
      }
    }
    return WHY.goOn;
  }

  /** In a turn, whose guest has been run up to `from`: as if the next turn came there, and were the same pCPU's. */
  function mayGoOn(from: number, to: number): boolean {
    if (mail.hasMail() || stop.isAsked() || bells.isRung(self)) return false;
    // What the turn has put off is of its own time; and a batch is no longer for guests that need no turns.
    if (hv.deferred.isWanted() || ++taken >= BATCH) return false;
    // The pCPU that runs is still at the root.
    if (keys.second() < to || to >= own[UNTIL]!) return false;
    if (to > own[LIMIT]!) own[LIMIT] = least(floors.floor) + windowNs;
    if (to > own[LIMIT]!) return false;
    publish(from, -Infinity);
    own[TOOK_AT] = from;
    return true;
  }
  if (core.x86 !== undefined) core.x86.mayGoOn = mayGoOn;

  /** Until others have caught up, something is sent here, or it is time for a safe point. */
  function waitForOthers(until: number): void {
    nudgeOthers();
    const isStuck = (): boolean => {
      if (mail.hasMail() || safe.state() !== RUN.running) return false;
      return holdsBack(keys.key(keys.root()), until) === WHY.ahead;
    };
    if (!isStuck()) return;
    const who = last;
    // Not only as far as is just enough: then it would be a window ahead again after its next turn, and so on, and both would go at
    // the pace at which a floor gets from core to core. But if the other does not move, just enough must do: it may wait for us.
    const comfortable = keys.key(keys.root()) - windowNs / 2;
    let seen = floors.floor(who);
    for (let n = 0, since = 0; n < looks && !mail.hasMail(); n++, since++) {
      for (let k = 0; k < PAUSE; k++) if (bells.isRung(self)) return;
      const floor = floors.floor(who);
      if (floor >= comfortable || safe.state() !== RUN.running) return;
      if (floor !== seen) {
        seen = floor;
        since = 0;
      } else if (since > PATIENCE && floor >= comfortable - windowNs / 2) return;
    }
    bells.doze(self, DOZE_MS, isStuck);
  }

  async function work(): Promise<void> {
    await safe.serveCommands();
    if (safe.isOver()) return;
    if (safe.state() === RUN.paused) {
      await safe.park();
      return;
    }
    const ahead = safe.aheadMs(Math.min(keys.key(keys.root()), horizonNs), floors.floor(self));
    if (ahead > 0) {
      publish(keys.key(keys.root()), isQuiet() ? Infinity : -Infinity);
      await safe.rest(Math.min(ahead, NAP_MS));
      stop.begin();
      if (mail.hasMail()) takeMail();
      stop.rest();
      return;
    }
    const until = Math.min(horizonNs, control.pauseAt(0));
    const why = batch(until);
    stop.rest();
    if (why === WHY.ahead) waitForOthers(until);
  }

  // A command may send: this worker is at work from now on, at a time not before that of all floors together.
  safe.onCommands = () => publish(Math.min(keys.key(keys.root()), least(floors.floor)), -Infinity);

  return {
    async run() {
      try {
        while (!safe.isOver()) {
          safe.pass();
          if (bells.isRung(self)) await safe.serveMessages();
          if (bells.hasToken(self)) await work();
          else if (safe.hasCommands()) await safe.serveCommands();
          else bells.await(self, 0, WATCH_MS);
        }
      } catch (error) {
        // Somebody else's fault: who is at fault says so.
        if (!(error instanceof MachineEnded)) throw error;
      }
      nudgeOthers();
      await safe.serveMessages();
      await safe.serveCommands();
    },
  };
}
