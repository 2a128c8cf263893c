/**
 * Runs tasks' programs: one event after the other, phases, loops, and rt-app's per-phase log. An event that takes time
 * leaves `computing` set and `remaining` on the task, and comes back here when that is used up.
 */
import type { Hypervisor } from '../../hv/hypervisor.js';
import type { ModelMemory } from './memory.js';
import { JOB, type Privcmd } from './privcmd.js';
import { LIVE_JOB } from './privcmd-records.js';
import { COMPUTING, LOG_FIELDS, OP, TASK_STATE } from './records.js';
import type { Requests } from './requests.js';
import { STEP, type Step } from './step.js';
import type { Sync } from './sync.js';
import type { TaskScheduler } from './task-scheduler.js';

/** rt-app's runtime event looks at the clock between pieces of work of this length, ns. */
const RUNTIME_PIECE_NS = 32_000;

export interface Programs {
  /** Starts a task: first phase of the first round. @param nowNs guest clock */
  start(t: number, nowNs: number): void;
  /** Runs the next event of t on v. `gone`: t sleeps, waits or has ended, and is no longer current. */
  step(v: number, t: number, nowNs: number): Step;
  /** Work left of the event in progress at a (re)start of computing, ns. */
  remaining(t: number, nowNs: number): number;
  /** The task computed for `ns`. */
  charge(t: number, ns: number): void;
  /** Called for a task whose sleep is over. */
  awake(t: number, nowNs: number): void;
}

export interface ProgramActions {
  /** Puts the task to sleep until `deadline` (in the task's record). */
  sleep(v: number, t: number): void;
  exit(v: number, t: number): void;
  /** Starts a task like those of fork resource r. */
  fork(v: number, r: number, nowNs: number): void;
  /** Sets the wall clock from the reference, as an NTP client does. @param nowNs guest clock */
  setTime(v: number, t: number, nowNs: number): void;
  readonly tools: Privcmd;
  /** Waits for an interrupt of a device; whether there was one that the task has not seen. */
  waitForIrq(t: number, device: number, seen: number): boolean;
  /** Has a disk do something and waits for it. */
  submitIo(t: number, device: number): void;
}

export function programs(
  mem: ModelMemory,
  hv: Hypervisor,
  tasks: TaskScheduler,
  sync: Sync,
  requests: Requests,
  actions: ProgramActions,
  logLines: number,
): Programs {
  const { task, taskSched, phase, event, resource, kd } = mem;
  const { f64 } = hv.context.image;
  const region = hv.context.image.region('task-log').base >> 3;

  function writeLog(t: number, nowNs: number): void {
    if (logLines === 0) return;
    const w = (region + Math.imul(Math.imul(t, logLines) + (task.logged(t) % logLines), LOG_FIELDS)) | 0;
    const start = task.phaseStart(t);
    f64[w] = taskSched.index(t);
    f64[w + 1] = task.perf(t);
    f64[w + 2] = task.duration(t) / 1000;
    f64[w + 3] = (nowNs - start) / 1000;
    f64[w + 4] = start / 1000;
    f64[w + 5] = nowNs / 1000;
    f64[w + 6] = (start - kd.start(task.domain(t))) / 1000;
    f64[w + 7] = task.slack(t) / 1000;
    f64[w + 8] = task.configuredDuration(t) / 1000;
    f64[w + 9] = task.configuredPeriod(t) / 1000;
    f64[w + 10] = task.wakeLatency(t) / 1000;
    task.addLogged(t, 1);
  }

  function beginIteration(t: number, nowNs: number): void {
    task.setEvent(t, 0);
    task.setPhaseStart(t, nowNs);
    task.setPerf(t, 0);
    task.setDuration(t, 0);
    task.setSlack(t, 0);
    task.setConfiguredDuration(t, 0);
    task.setConfiguredPeriod(t, 0);
    task.setWakeLatency(t, 0);
  }

  function beginPhase(t: number, n: number, nowNs: number): void {
    const ph = task.firstPhase(t) + n;
    task.setPhase(t, n);
    if (phase.setsClass(ph) !== 0) tasks.setClass(t, ph, nowNs);
    task.setPhaseRoundsLeft(t, phase.loop(ph));
    beginIteration(t, nowNs);
  }

  /** Goes past the end of a phase; false when the program is over. */
  function nextIteration(t: number, nowNs: number): boolean {
    writeLog(t, nowNs);
    task.addLoops(t, 1);
    const rounds = task.phaseRoundsLeft(t);
    if (rounds !== 1) {
      if (rounds > 0) task.setPhaseRoundsLeft(t, rounds - 1);
      beginIteration(t, nowNs);
      return true;
    }
    let next = task.phase(t) + 1;
    if (next === task.phases(t)) {
      const left = task.roundsLeft(t);
      if (left === 1) return false;
      if (left > 0) task.setRoundsLeft(t, left - 1);
      next = 0;
    }
    beginPhase(t, next, nowNs);
    return true;
  }

  function timerEvent(v: number, t: number, e: number, nowNs: number): Step {
    const r = event.resource(e);
    const first = resource.nextExpiry(r) < 0;
    const next = (first ? task.startedAt(t) : resource.nextExpiry(r)) + event.ns(e);
    task.addConfiguredPeriod(t, event.ns(e));
    const slack = next - nowNs;
    task.setSlack(t, task.cumulativeSlack(t) !== 0 ? task.slack(t) + slack : slack);
    if (nowNs < next) {
      resource.setNextExpiry(r, next);
      task.setDeadline(t, next);
      task.setInTimer(t, 1);
      actions.sleep(v, t);
      return STEP.gone;
    }
    // Missed: a relative timer starts anew from here, an absolute one keeps its raster and tries to catch up.
    resource.setNextExpiry(r, event.absolute(e) !== 0 ? next : nowNs);
    task.setWakeLatency(t, 0);
    return STEP.goOn;
  }

  /** Goes on with job j of domain 0's tools. The task stays at its event until the job is done. */
  function toolStep(v: number, t: number, j: number, nowNs: number): Step {
    const next = actions.tools.step(v, j, nowNs);
    if (next === JOB.done) return STEP.goOn;
    task.setEvent(t, task.event(t) - 1);
    if (next === JOB.call) return STEP.goOn;
    // Nothing of it is in rt-app's log.
    return compute(t, COMPUTING.memory, actions.tools.costNs(j), nowNs);
  }

  /** Serves the outside for ever. */
  function serveStep(v: number, t: number, point: number, nowNs: number): Step {
    const n = task.event(t);
    if (!actions.tools.isGiven()) {
      task.setEvent(t, n - 1);
      sync.suspend(t, point);
      return STEP.gone;
    }
    const step = toolStep(v, t, LIVE_JOB, nowNs);
    if (task.event(t) === n) {
      actions.tools.answer();
      task.setEvent(t, n - 1);
    }
    return step;
  }

  /** rt-app counts in whole loops, for each piece of work by itself. */
  const loopsIn = (t: number, ns: number): number => Math.floor(ns / kd.nsPerLoop(task.domain(t)));

  function compute(t: number, kind: number, ns: number, nowNs: number): Step {
    task.setComputing(t, kind);
    task.setComputeStart(t, nowNs);
    task.setWorkBefore(t, task.work(t));
    task.setRemaining(t, ns);
    return STEP.compute;
  }

  /** The computing of an event is over. */
  function computed(t: number, nowNs: number): void {
    const kind = task.computing(t);
    task.setComputing(t, COMPUTING.no);
    if (kind === COMPUTING.memory) return;
    task.addDuration(t, nowNs - task.computeStart(t));
    const work = task.work(t) - task.workBefore(t);
    const piece = RUNTIME_PIECE_NS;
    task.addPerf(t, kind === COMPUTING.run ? loopsIn(t, work) : Math.round(work / piece) * loopsIn(t, piece));
  }

  function begin(v: number, t: number, e: number, nowNs: number): Step {
    switch (event.op(e)) {
      case OP.run:
        task.addConfiguredDuration(t, event.ns(e));
        return event.ns(e) === 0 ? STEP.goOn : compute(t, COMPUTING.run, event.ns(e), nowNs);
      case OP.runtime:
        task.addConfiguredDuration(t, event.ns(e));
        task.setRuntimeEnd(t, nowNs + event.ns(e));
        return compute(t, COMPUTING.runtime, 0, nowNs);
      case OP.mem:
        return event.ns(e) === 0 ? STEP.goOn : compute(t, COMPUTING.memory, event.ns(e), nowNs);
      case OP.ioSleep:
        if (event.ns(e) === 0) return STEP.goOn;
        task.setDeadline(t, nowNs + event.ns(e));
        actions.sleep(v, t);
        return STEP.gone;
      case OP.sleep:
        task.setDeadline(t, nowNs + event.ns(e));
        actions.sleep(v, t);
        return STEP.gone;
      case OP.timer:
        return timerEvent(v, t, e, nowNs);
      case OP.lock:
        return sync.lock(v, t, event.resource(e)) ? STEP.goOn : STEP.gone;
      case OP.unlock:
        sync.unlock(v, t, event.resource(e));
        return STEP.goOn;
      case OP.sync:
        sync.signal(v, event.resource(e));
        sync.wait(v, t, event.resource(e), event.mutex(e));
        return STEP.gone;
      case OP.wait:
        sync.wait(v, t, event.resource(e), event.mutex(e));
        return STEP.gone;
      case OP.signal:
        sync.signal(v, event.resource(e));
        return STEP.goOn;
      case OP.broad:
      case OP.resume:
        sync.broadcast(v, event.resource(e));
        return STEP.goOn;
      case OP.barrier:
        return sync.barrier(v, t, event.resource(e)) ? STEP.goOn : STEP.gone;
      case OP.suspend:
        sync.suspend(t, event.resource(e));
        return STEP.gone;
      case OP.until:
        task.setDeadline(t, kd.start(task.domain(t)) + event.ns(e));
        if (task.deadline(t) <= nowNs) return STEP.goOn;
        actions.sleep(v, t);
        return STEP.gone;
      case OP.tool:
        return toolStep(v, t, event.resource(e), nowNs);
      case OP.toolstack:
        return serveStep(v, t, event.resource(e), nowNs);
      case OP.sem_post:
        sync.post(v, event.resource(e));
        return STEP.goOn;
      case OP.sem_wait:
        return sync.down(t, event.resource(e)) ? STEP.goOn : STEP.gone;
      case OP.fork:
        actions.fork(v, event.resource(e), nowNs);
        return STEP.goOn;
      case OP.request:
      case OP.serve:
      case OP.respond:
        return requests.begin(v, t, e, nowNs);
      case OP.irq:
        return actions.waitForIrq(t, event.resource(e), event.mutex(e)) ? STEP.goOn : STEP.gone;
      case OP.io:
        actions.submitIo(t, event.resource(e));
        return STEP.gone;
      case OP.ntp:
        actions.setTime(v, t, nowNs);
        return STEP.goOn;
      default:
        return STEP.yielded;
    }
  }

  return {
    start(t, nowNs) {
      task.setRoundsLeft(t, task.loop(t));
      task.setStartedAt(t, nowNs);
      beginPhase(t, 0, nowNs);
    },
    step(v, t, nowNs) {
      if (task.computing(t) !== COMPUTING.no) computed(t, nowNs);
      const ph = task.firstPhase(t) + task.phase(t);
      const n = task.event(t);
      if (task.stage(t) !== 0) return requests.goOn(v, t, phase.firstEvent(ph) + n - 1, nowNs);
      if (n === phase.events(ph)) {
        if (!nextIteration(t, nowNs)) {
          task.setState(t, TASK_STATE.exited);
          actions.exit(v, t);
          return STEP.gone;
        }
        return tasks.isAllowed(t, v) ? STEP.goOn : STEP.moved;
      }
      // Past it before it acts: a task that waits resumes behind the event, its condition already met.
      task.setEvent(t, n + 1);
      return begin(v, t, phase.firstEvent(ph) + n, nowNs);
    },
    remaining(t, nowNs) {
      if (task.computing(t) !== COMPUTING.runtime) return task.remaining(t);
      const piece = task.remaining(t) % RUNTIME_PIECE_NS;
      const left = Math.max(0, task.runtimeEnd(t) - nowNs - piece);
      const ns = piece + Math.ceil(left / RUNTIME_PIECE_NS) * RUNTIME_PIECE_NS;
      task.setRemaining(t, ns);
      return ns;
    },
    charge(t, ns) {
      if (task.computing(t) === COMPUTING.no) return;
      task.setRemaining(t, Math.max(0, task.remaining(t) - ns));
      task.addWork(t, ns);
    },
    awake(t, nowNs) {
      if (task.inTimer(t) === 0) return;
      task.setInTimer(t, 0);
      task.addWakeLatency(t, Math.max(0, nowNs - task.deadline(t)));
    },
  };
}
