/** The control channel of a worker: what the main thread can ask of it over comlink, served at safe points. */
import { ANY, type CpupoolSpec } from '../hv/cpupool.js';
import type { SedfSpec } from '../hv/domain.js';
import { NOBODY } from '../hv/records.js';
import type { PoolParams } from '../hv/sched/interface.js';
import type { Image } from '../shared/image.js';
import { XEN_EBUSY } from '../shared/public/errno.js';
import { SHUTDOWN_poweroff } from '../shared/public/sched.js';
import { VIRQ_CONSOLE } from '../shared/public/xen.js';
import { TRACE } from '../shared/trace-ring.js';
import { CONTROL, OUTCOME, RUN } from './control-records.js';
import { BACK_END } from './model/back-end-records.js';
import { TOOL_POST } from './model/privcmd-records.js';
import type { ProcessorCore } from './processor.js';
import type { SafePoint } from './safe-point.js';

/** Numbers of the commands in the trace. */
const COMMAND = {
  pause: 1,
  resume: 2,
  step: 3,
  runUntil: 4,
  stop: 5,
  pin: 6,
  pauseVcpu: 7,
  unpauseVcpu: 8,
  setCredit: 9,
  shutdown: 10,
  setSedf: 11,
  giveJob: 12,
  offline: 13,
  online: 14,
  destroy: 15,
  setRatelimit: 16,
  cpupool: 17,
  typed: 18,
} as const;

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
  /** Looks around: another worker may have ended a pause. */
  wake(): Promise<void>;
  /** All take effect between two turns; each answers with the simulation time at which it did. */
  pause(): Promise<number>;
  resume(): Promise<number>;
  /** Takes `turns` turns of the whole machine, then pauses. */
  step(turns: number): Promise<number>;
  /** Runs to the first turn at or after `ns`, then pauses. */
  runUntil(ns: number): Promise<number>;
  stop(): Promise<number>;
  /** Hard and soft affinity of a VCPU from now on, pCPU numbers; undefined = as it is. At least one of `hard` is on line. */
  pin(
    domain: number,
    vcpu: number,
    hard: readonly number[] | undefined,
    soft: readonly number[] | undefined,
  ): Promise<number>;
  /** Takes a VCPU off its pCPU until `unpauseVcpu`, whatever it was doing. */
  pauseVcpu(domain: number, vcpu: number): Promise<number>;
  unpauseVcpu(domain: number, vcpu: number): Promise<number>;
  /** Credit weight and cap of a domain from now on. */
  setCredit(domain: number, weight: number, cap: number): Promise<number>;
  /** What a domain is under the SEDF scheduler from now on. */
  setSedf(domain: number, spec: SedfSpec): Promise<number>;
  /** What the scheduler as a whole is from now on. */
  setRatelimit(ns: number): Promise<number>;
  /** What cpupool.ts says of each: 0 or more, or -errno. */
  cpupoolCreate(spec: CpupoolSpec): Promise<number>;
  cpupoolDestroy(id: number): Promise<number>;
  cpupoolAddCpu(id: number, p: number): Promise<number>;
  cpupoolRemoveCpu(id: number, p: number): Promise<number>;
  cpupoolMoveDomain(domain: number, id: number): Promise<number>;
  cpupoolAdjust(id: number, params: PoolParams): Promise<number>;
  /** Powers a domain off. */
  shutdown(domain: number): Promise<number>;
  /** Tells domain 0's tools that job 0 is to be done. */
  giveJob(): Promise<number>;
  /** Tells domain 0 that something was typed at the console of back end b (back-end-records.ts). */
  typed(b: number): Promise<number>;
  /** Takes a pCPU other than 0 off line, or brings one back. What is so already stays so. */
  offline(pcpu: number): Promise<number>;
  online(pcpu: number): Promise<number>;
  /** Destroys a domain, of which nothing is left once its VCPUs are off their pCPUs. */
  destroy(domain: number): Promise<number>;
  inspect(pcpu: number): Promise<PcpuView>;
}

/** Where simulation time stands: no turn before this will be taken any more. Boot lies before time 0. */
export function lowestFloor({ hv }: ProcessorCore): number {
  const { floors, shape } = hv.context;
  let lowest = Infinity;
  for (let w = 0; w < shape.runners; w++) lowest = Math.min(lowest, floors.floor(w));
  return lowest;
}

/** What pCPU p is doing; between two turns only. */
export function viewOf(core: ProcessorCore, p: number): PcpuView {
  const { hv, keys, turns } = core;
  const { pcpu, vcpu, queues, isIdle } = hv.context;
  const v = pcpu.current(p);
  return {
    pcpu: p,
    nowNs: lowestFloor(core),
    ...(isIdle(v) ? {} : { current: { domain: vcpu.domain(v), vcpu: vcpu.id(v) } }),
    nextTurnNs: hv.context.isOrdered ? keys.key(p) : turns.keyOf(p),
    runnable: queues.runq.nrRunnable(queues.queueOf(p)),
    switches: pcpu.switches(p),
  };
}

export function workerControl(image: Image, core: ProcessorCore, safe: SafePoint): WorkerControl {
  const control = image.table(CONTROL);
  const { separation, sched, domains, destruction, hotplug, cpupools, events, time, context } = core.hv;
  const GIVEN = (image.region('tool-post').base + TOOL_POST.offsets.given) >> 2;
  const { trace, domain } = context;

  /**
   * The controller is one more participant: its commands are ordered between two turns, stamped with the time there, and
   * logged. They are no part of the hash, as they change when the machine runs, not what it does. Finished machines
   * stay finished.
   */
  function command(name: keyof typeof COMMAND, act: () => void): Promise<number> {
    return safe.queue(() => {
      trace.note(TRACE.control, COMMAND[name], 0);
      if (safe.isOver()) return lowestFloor(core);
      // Not while another worker has the machine stopped: this one does not rest now.
      if (context.isOrdered) act();
      else {
        core.stop.begin();
        try {
          act();
        } finally {
          core.stop.rest();
        }
      }
      return lowestFloor(core);
    });
  }

  /** A machine that is over has nothing that could be moved. */
  function poolCommand(act: () => number, onPcpu = core.pcpus[0]!): Promise<number> {
    return safe.queue(() => {
      trace.note(TRACE.control, COMMAND.cpupool, 0);
      return safe.isOver() ? -XEN_EBUSY : core.turns.interact(onPcpu, act);
    });
  }

  return {
    ready: () => true,
    wake: () => safe.queue(() => {}),
    pause: () => command('pause', () => safe.setState(RUN.paused)),
    resume: () => command('resume', () => safe.setState(RUN.running)),
    step: (turns) =>
      command('step', () => {
        control.setStepsLeft(0, turns);
        safe.setState(RUN.running);
      }),
    runUntil: (ns) =>
      command('runUntil', () => {
        control.setPauseAt(0, ns);
        safe.setState(RUN.running);
      }),
    stop: () =>
      command('stop', () => {
        control.setOutcome(0, OUTCOME.stopped);
        safe.setState(RUN.finished);
      }),
    pin: (d, vcpu, hard, soft) =>
      command('pin', () => {
        const v = domain.firstVcpu(d) + vcpu;
        core.turns.interact(core.pcpus[0]!, () => {
          if (hard !== undefined) separation.allow(v, hard);
          sched.setAffinity(v, hard, soft);
        });
      }),
    pauseVcpu: (d, vcpu) =>
      command('pauseVcpu', () => {
        const v = domain.firstVcpu(d) + vcpu;
        core.turns.interact(core.pcpus[0]!, () => sched.pause(v));
      }),
    unpauseVcpu: (d, vcpu) =>
      command('unpauseVcpu', () => {
        const v = domain.firstVcpu(d) + vcpu;
        core.turns.interact(core.pcpus[0]!, () => sched.unpause(v));
      }),
    setCredit: (d, weight, cap) =>
      command('setCredit', () =>
        core.turns.interact(core.pcpus[0]!, () => {
          domain.setWeight(d, weight);
          domain.setCap(d, cap);
          sched.ops.adjust(d);
        }),
      ),
    setSedf: (d, spec) =>
      command('setSedf', () =>
        core.turns.interact(core.pcpus[0]!, () => {
          domains.setSedf(d, spec);
          sched.ops.adjust(d);
        }),
      ),
    setRatelimit: (ns) =>
      command('setRatelimit', () =>
        core.turns.interact(core.pcpus[0]!, () => {
          const { settings } = sched.ops;
          settings?.set(settings.tsliceNs(), ns, settings.migrationDelayNs());
        }),
      ),
    cpupoolCreate: (spec) => poolCommand(() => cpupools.create(spec, ANY)),
    cpupoolDestroy: (id) => poolCommand(() => cpupools.destroy(id)),
    cpupoolAddCpu: (id, p) => poolCommand(() => cpupools.addCpu(id, p)),
    // In its own name: it is to look for another VCPU at once.
    cpupoolRemoveCpu: (id, p) => poolCommand(() => cpupools.removeCpu(id, p), core.pcpus.includes(p) ? p : undefined),
    cpupoolMoveDomain: (d, id) => poolCommand(() => cpupools.moveDomain(d, id)),
    cpupoolAdjust: (id, params) => poolCommand(() => cpupools.adjust(id, params)),
    shutdown: (d) =>
      command('shutdown', () => core.turns.interact(core.pcpus[0]!, () => domains.shutdown(d, SHUTDOWN_poweroff))),
    giveJob: () =>
      command('giveJob', () =>
        core.turns.interact(core.pcpus[0]!, () => {
          Atomics.add(image.i32, GIVEN, 1);
          // What is typed reaches domain 0 as bytes of the console.
          events.sendVirq(domain.firstVcpu(0), VIRQ_CONSOLE);
        }),
      ),
    typed: (b) =>
      command('typed', () =>
        core.turns.interact(core.pcpus[0]!, () => {
          const port = image.table(BACK_END).consolePort(b);
          if (port !== 0) events.setPending(0, port);
        }),
      ),
    offline: (p) =>
      command('offline', () =>
        core.turns.interact(core.pcpus[0]!, () => {
          separation.together();
          if (hotplug.isOnline(p) && !time.isComing(p)) hotplug.offline(p);
        }),
      ),
    online: (p) =>
      command('online', () =>
        core.turns.interact(core.pcpus[0]!, () => {
          separation.together();
          if (!hotplug.isOnline(p) && !time.isComing(p)) hotplug.online(p);
        }),
      ),
    destroy: (d) =>
      command('destroy', () =>
        core.turns.interact(core.pcpus[0]!, () => {
          separation.together();
          const record = domains.find(d);
          if (record !== NOBODY) destruction.destroy(record);
        }),
      ),
    inspect: (p) => safe.queue(() => viewOf(core, p)),
  };
}
