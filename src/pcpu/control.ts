/** The control channel of a worker: what the main thread can ask of it over comlink, served at safe points. */
import type { Image } from '../shared/image.js';
import { TRACE } from '../shared/trace-ring.js';
import { CONTROL, OUTCOME, RUN } from './control-records.js';
import type { ProcessorCore } from './processor.js';
import type { RunLoop } from './run-loop.js';

/** Numbers of the commands in the trace. */
const COMMAND = { pause: 1, resume: 2, step: 3, runUntil: 4, stop: 5 } as const;

export interface PcpuView {
  readonly pcpu: number;
  readonly nowNs: number;
  /** VCPU that runs: domain and number in it; absent = idle. */
  readonly current?: { readonly domain: number; readonly vcpu: number };
  readonly nextTurnNs: number;
  readonly runnable: number;
  readonly switches: number;
}

export interface WorkerControl {
  ready(): true;
  /** All take effect between two turns; each answers with the simulation time at which it did. */
  pause(): Promise<number>;
  resume(): Promise<number>;
  /** Takes `turns` turns of the whole machine, then pauses. */
  step(turns: number): Promise<number>;
  /** Runs to the first turn at or after `ns`, then pauses. */
  runUntil(ns: number): Promise<number>;
  stop(): Promise<number>;
  inspect(pcpu: number): Promise<PcpuView>;
}

/** What pCPU p is doing; between two turns only. */
export function viewOf({ hv, keys }: ProcessorCore, p: number): PcpuView {
  const { machine, pcpu, vcpu, queues, isIdle } = hv.context;
  const v = pcpu.current(p);
  return {
    pcpu: p,
    nowNs: machine.floor(0),
    ...(isIdle(v) ? {} : { current: { domain: vcpu.domain(v), vcpu: vcpu.id(v) } }),
    nextTurnNs: keys.key(p),
    runnable: queues.runq.nrRunnable(p),
    switches: pcpu.switches(p),
  };
}

export function workerControl(image: Image, core: ProcessorCore, loop: RunLoop): WorkerControl {
  const control = image.table(CONTROL);
  const STATE = (image.region('control').base + CONTROL.offsets.state) >> 2;
  const { machine, trace } = core.hv.context;

  const enter = (state: number): void => {
    Atomics.store(image.i32, STATE, state);
  };

  /**
   * The controller is one more participant: its commands are ordered between two turns, stamped with the time there, and
   * logged. They are no part of the hash, as they change when the machine runs, not what it does. Finished machines
   * stay finished.
   */
  function command(name: keyof typeof COMMAND, act: () => void): Promise<number> {
    return loop.withToken(() => {
      trace.note(TRACE.control, COMMAND[name], 0);
      if (Atomics.load(image.i32, STATE) !== RUN.finished) act();
      return machine.floor(0);
    });
  }

  return {
    ready: () => true,
    pause: () => command('pause', () => enter(RUN.paused)),
    resume: () => command('resume', () => enter(RUN.running)),
    step: (turns) =>
      command('step', () => {
        control.setStepsLeft(0, turns);
        enter(RUN.running);
      }),
    runUntil: (ns) =>
      command('runUntil', () => {
        control.setPauseAt(0, ns);
        enter(RUN.running);
      }),
    stop: () =>
      command('stop', () => {
        control.setOutcome(0, OUTCOME.stopped);
        enter(RUN.finished);
      }),
    inspect: (p) => loop.withToken(() => viewOf(core, p)),
  };
}
