/**
 * A machine of free mode on the test's own thread: what its workers do at the same time is done one thing after the other, in
 * the order that the test says. A worker's thing may also be done in the middle of another's (`interrupt`): at every place at
 * which its thread could be put off and the other's go on.
 */

import { IPI } from '../../src/hv/smp.js';
import { buildMachine } from '../../src/machine/build.js';
import type { MachineConfig } from '../../src/machine/config.js';
import { CONTROL, RUN } from '../../src/pcpu/control-records.js';
import type { Mail } from '../../src/pcpu/mail.js';
import { type GuestHypercalls, guestHypercalls } from '../../src/pcpu/model/hypercalls.js';
import { type ModelMemory, modelMemory } from '../../src/pcpu/model/memory.js';
import { type ProcessorCore, processorCore } from '../../src/pcpu/processor.js';
import type { Simulation } from '../support/in-process.js';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export interface FreeMachine {
  readonly built: Simulation['built'];
  /** What each worker has made of the image. */
  readonly cores: readonly ProcessorCore[];
  /** The records, as anyone may look at them between two turns. */
  readonly context: ProcessorCore['hv']['context'];
  readonly mem: ModelMemory;
  workerOf(p: number): number;
  /** How far pCPU p has got. */
  clock(p: number): number;
  /** Worker w takes up what was sent to it. */
  takeMail(w: number): void;
  /** Worker w takes the turn it has next, whatever was sent to it; returns whose it was. */
  turn(w: number): number;
  /** Worker w alone goes on up to `ns`, and the others stand still. */
  runWorker(w: number, ns: number): void;
  /** All go on up to `ns`, turn by turn in the order of time. */
  run(ns: number): void;
  /** Does something in a turn of pCPU p at `ns`, as its VCPU or its hypervisor would; what comes of it is in its next turn. */
  act<T>(p: number, ns: number, act: (core: ProcessorCore, calls: GuestHypercalls) => T): T;
}

const NOBODY = -1;

/** @param isSeparate whether the workers may be separate, so that nothing of what they do is atomic (separation.ts) */
export function freeMachine(config: MachineConfig, isSeparate = false): FreeMachine {
  const built = buildMachine({ ...config, mode: 'free' }, 1);
  const { image, shape, params } = built;
  const { context } = built.core.hv;
  const { pcpu } = context;
  const cores = Array.from({ length: shape.workers }, (_, w) => processorCore(image, shape, params, w));
  // By a worker: boot took its turns as ordered mode does.
  if (!isSeparate) cores[0]!.hv.separation.together();
  const calls = cores.map(({ hv }) => guestHypercalls(modelMemory(image, hv)));
  // Who waits for a lock that another holds in mid-turn would wait for ever: he is told so.
  image.table(CONTROL).setState(0, RUN.aborted);

  /** The worker whose boxes are being emptied: who posts to it meanwhile waits, with nothing more to do, until they are. */
  let emptied = NOBODY;
  const waiting: (() => void)[] = [];
  for (const { mail } of cores) {
    const { post } = mail;
    (mail as Mutable<Mail>).post = (q, kind, at, sentAt) => {
      if (pcpu.worker(q) !== emptied) return post(q, kind, at, sentAt);
      waiting.push(() => post(q, kind, at, sentAt));
      return true;
    };
  }

  function takeMail(w: number): void {
    const { mail, hv } = cores[w]!;
    hv.smp.enterTurn(NOBODY);
    emptied = w;
    mail.take((q, kind, at, sentAt) => {
      if (kind === IPI.key) hv.timers.serveRequests(q);
      hv.smp.deliver(q, kind, at, sentAt);
    });
    emptied = NOBODY;
    for (const post of waiting.splice(0)) post();
    mail.acknowledge();
  }

  function turn(w: number): number {
    const { keys, turns } = cores[w]!;
    const p = keys.root();
    turns.take(p);
    return p;
  }

  const nextOf = (w: number): number => cores[w]!.keys.key(cores[w]!.keys.root());

  function runWorker(w: number, ns: number): void {
    for (;;) {
      if (cores[w]!.mail.hasMail()) takeMail(w);
      if (nextOf(w) >= ns) return;
      turn(w);
    }
  }

  return {
    built,
    cores,
    context,
    mem: modelMemory(image, built.core.hv),
    workerOf: pcpu.worker,
    clock: pcpu.turnedAt,
    takeMail,
    turn,
    runWorker,
    run(ns) {
      for (;;) {
        let first = 0;
        for (let w = 0; w < cores.length; w++) {
          if (cores[w]!.mail.hasMail()) takeMail(w);
        }
        for (let w = 1; w < cores.length; w++) if (nextOf(w) < nextOf(first)) first = w;
        if (nextOf(first) >= ns) return;
        turn(first);
      }
    },
    act(p, ns, act) {
      const w = pcpu.worker(p);
      if (ns < pcpu.turnedAt(p)) throw new Error(`pCPU ${p} has got to ${pcpu.turnedAt(p)} ns: it cannot act at ${ns}`);
      pcpu.setTurnedAt(p, ns);
      return cores[w]!.turns.interact(p, () => act(cores[w]!, calls[w]!));
    },
  };
}

/** Replaces functions of an object by ones that call `before` and `after`; returns how to undo it. */
function wrap<T extends object>(
  target: T,
  names: readonly (keyof T & string)[],
  before: (name: string, args: readonly unknown[]) => void,
  after: (name: string, args: readonly unknown[], result: unknown) => void,
): () => void {
  const own = target as Mutable<T>;
  const originals = names.map((name) => [name, target[name]] as const);
  for (const [name, original] of originals) {
    const act = original as unknown as (...args: unknown[]) => unknown;
    own[name] = ((...args: unknown[]) => {
      before(name, args);
      const result = act(...args);
      after(name, args, result);
      return result;
    }) as unknown as T[typeof name];
  }
  return () => {
    for (const [name, original] of originals) own[name] = original;
  };
}

export interface Places {
  /** Only those at which it holds no lock: nobody waits there for what it holds. */
  readonly outsideLocks?: boolean;
}

/**
 * Does `act`, which is core's, and at the nth place of it at which others may come in between, `between`, which is another's.
 * Places are before and after all that a worker does with words that others change, with locks and with mail.
 * @returns whether there were so many places
 */
export function interrupt(
  { hv, mail }: ProcessorCore,
  n: number,
  act: () => void,
  between: () => void,
  { outsideLocks = false }: Places = {},
): boolean {
  let place = 0;
  let held = 0;
  const pass = (): void => {
    if (held === 0 && place++ === n) between();
  };
  const { words, machineWords, locks } = hv.context;
  const ATOMIC = ['or', 'and', 'add', 'exchange', 'compareExchange', 'load', 'store', 'exchangeByte'] as const;
  const undo = [
    wrap(words, ATOMIC, pass, pass),
    wrap(machineWords, ATOMIC, pass, pass),
    wrap(hv.events, ['needsDelivery'], pass, pass),
    wrap(mail, ['post'], pass, pass),
    wrap(locks, ['acquire', 'tryAcquire', 'release'], pass, (name, _, result) => {
      if (outsideLocks) held += name === 'release' ? -1 : result === false ? 0 : 1;
      pass();
    }),
  ];
  try {
    act();
  } finally {
    for (const u of undo) u();
  }
  return place > n;
}

/** Counts every stretch of a runstate that ended before it began, on any worker. */
export function watchRunstates({ cores }: FreeMachine): { readonly backwards: string[] } {
  const backwards: string[] = [];
  for (const { hv } of cores) {
    const { vcpu } = hv.context;
    wrap(
      vcpu,
      ['addRunstateTime'],
      (_, [v, state, ns]) => {
        if ((ns as number) < 0) backwards.push(`VCPU ${v}: ${ns} ns in runstate ${state}`);
      },
      () => {},
    );
  }
  return { backwards };
}

export interface Fire {
  readonly v: number;
  readonly at: number;
  readonly worker: number;
}

/** More events than any test has: a turn that sends so many never ends. */
const MOST_FIRES = 1000;

/** Lists the timer events of VCPUs: when, by the clock of the worker that sent them. */
export function watchTimers({ cores }: FreeMachine): Fire[] {
  const fires: Fire[] = [];
  for (const [worker, { hv }] of cores.entries()) {
    wrap(
      hv.events,
      ['sendVirq'],
      (_, [v]) => {
        if (fires.push({ v: v as number, at: hv.context.now(), worker }) > MOST_FIRES) {
          throw new Error(`timer events without an end: VCPU ${v} at ${hv.context.now()} ns`);
        }
      },
      () => {},
    );
  }
  return fires;
}

/** Counts every time that a worker changes or moves a VCPU without the run-queue lock of its pCPU. */
export function watchLocks({ cores }: FreeMachine): { readonly unlocked: string[] } {
  const unlocked: string[] = [];
  for (const { hv } of cores) {
    const { queues, locks, lockOf } = hv.context;
    const check = (name: string, [v]: readonly unknown[]): void => {
      const p = queues.entry.processor(v as number);
      const owner = locks.owner(lockOf(p));
      if (owner !== hv.smp.self()) unlocked.push(`${name} of VCPU ${v}: pCPU ${p}'s lock is pCPU ${owner}'s`);
    };
    wrap(hv.sched.ops, ['wake', 'sleep', 'yield', 'migrate', 'adjustAffinity'], check, () => {});
    wrap(queues, ['insert', 'remove'], check, () => {});
  }
  return { unlocked };
}
