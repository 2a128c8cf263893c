/**
 * What a trace record can be, in one table: number, name, and what its words mean. Interactions (TRACE) are the machine's history and are
 * hashed. Notes (NOTE) say why something was decided; they are kept with the others and not hashed. A note that Xen
 * has, too, has Xen's number (trace.h), others have one of ours.
 */
import * as T from './public/trace.js';

/** Kinds of interaction. The numbers enter the hash. */
export const TRACE = {
  turn: 1,
  runstate: 2,
  switch: 3,
  wake: 4,
  timer: 5,
  hypercall: 6,
  upcall: 7,
  tickle: 8,
  steal: 9,
  migrate: 10,
  accounting: 11,
  send: 12,
  domain: 13,
  park: 14,
  control: 15,
  irq: 16,
  cpupool: 17,
} as const;
export type TraceKind = (typeof TRACE)[keyof typeof TRACE];

export const NOTE = {
  domAdd: T.TRC_SCHED_DOM_ADD,
  domRem: T.TRC_SCHED_DOM_REM,
  sleep: T.TRC_SCHED_SLEEP,
  yield: T.TRC_SCHED_YIELD,
  block: T.TRC_SCHED_BLOCK,
  acctStart: T.TRC_CSCHED_ACCOUNT_START,
  acctStop: T.TRC_CSCHED_ACCOUNT_STOP,
  stolen: T.TRC_CSCHED_STOLEN_UNIT,
  picked: T.TRC_CSCHED_PICKED_CPU,
  tickled: T.TRC_CSCHED_TICKLE,
  boost: T.TRC_CSCHED_BOOST_START,
  unboost: T.TRC_CSCHED_BOOST_END,
  schedule: T.TRC_CSCHED_SCHEDULE,
  ratelimit: T.TRC_CSCHED_RATELIMIT,
  stealCheck: T.TRC_CSCHED_STEAL_CHECK,
  moves: 64,
  refill: 65,
} as const;
export type NoteKind = (typeof NOTE)[keyof typeof NOTE];

/** Why a VCPU is on the pCPU that was picked; `soft` is added where soft affinity decided. */
export const PICKED = { stays: 0, idle: 1, neighbours: 2, allowed: 3 } as const;
export const BY_SOFT = 8;
/** Whom a tickle told, and by which rule. */
export const TICKLED = { nobody: 0, pinned: 1, ownIdle: 2, ownBusy: 3, idler: 4, pushed: 5, each: 6 } as const;
/** What came of a look at a peer. */
export const CHECKED = { idle: 0, locked: 1, nothing: 2, found: 3 } as const;
/** Why a VCPU has to leave its pCPU. */
export const MOVES = { kicked: 1, better: 2, affinity: 3, pool: 4 } as const;

type Words = Readonly<Record<string, number>>;
const wordOf =
  (words: Words) =>
  (n: number): string => {
    const found = Object.entries(words).find(([, value]) => value === (n & ~BY_SOFT))?.[0] ?? String(n);
    return (n & BY_SOFT) !== 0 ? `${found}, soft` : found;
  };
const stateText = (n: number): string => {
  const names = ['running', 'runnable', 'blocked', 'offline'];
  return `${names[n >> 4] ?? n >> 4}>${names[n & 15] ?? n & 15}`;
};

/** A word of a record: its name, and how it reads where it is no plain number. */
export type TraceField = string | readonly [name: string, text: (n: number) => string];

export interface TraceFormat {
  readonly name: string;
  readonly fields: readonly TraceField[];
}

/** VCPUs count over all domains; pCPU = on whose behalf is the ring's. */
export const TRACE_FORMATS: Readonly<Record<number, TraceFormat>> = {
  [TRACE.turn]: { name: 'turn', fields: [] },
  [TRACE.runstate]: { name: 'runstate', fields: ['v', ['state', stateText]] },
  [TRACE.switch]: { name: 'switch', fields: ['from', 'to'] },
  [TRACE.wake]: { name: 'wake', fields: ['v', 'pcpu'] },
  [TRACE.timer]: { name: 'timer', fields: ['v', ['kind', wordOf({ single: 0, poll: 1, periodic: 2 })]] },
  [TRACE.hypercall]: { name: 'hypercall', fields: ['v', 'nr'] },
  [TRACE.upcall]: { name: 'upcall', fields: ['v', 'b'] },
  [TRACE.tickle]: { name: 'tickle', fields: ['pcpu', 'v'] },
  [TRACE.steal]: { name: 'steal', fields: ['pcpu', 'v'] },
  [TRACE.migrate]: { name: 'migrate', fields: ['v', 'to'] },
  [TRACE.accounting]: { name: 'accounting', fields: ['weight', 'balance'] },
  [TRACE.send]: { name: 'send', fields: ['a', 'b'] },
  [TRACE.domain]: { name: 'domain', fields: ['d', 'code'] },
  [TRACE.park]: { name: 'park', fields: ['v', 'parked'] },
  [TRACE.control]: { name: 'control', fields: ['command', 'b'] },
  [TRACE.irq]: { name: 'irq', fields: ['line', 'what'] },
  [TRACE.cpupool]: { name: 'cpupool', fields: ['pool', 'what'] },
  [NOTE.domAdd]: { name: 'dom_add', fields: ['d', 'pool'] },
  [NOTE.domRem]: { name: 'dom_rem', fields: ['d', 'pool'] },
  [NOTE.sleep]: { name: 'sleep', fields: ['v', 'flag'] },
  [NOTE.yield]: { name: 'yield', fields: ['v'] },
  [NOTE.block]: { name: 'block', fields: ['v'] },
  [NOTE.acctStart]: { name: 'csched:acct_start', fields: ['v', 'd', 'active'] },
  [NOTE.acctStop]: { name: 'csched:acct_stop', fields: ['v', 'd', 'active'] },
  [NOTE.stolen]: { name: 'csched:stolen', fields: ['from', 'v', ['step', wordOf({ soft: 0, hard: 1 })]] },
  [NOTE.picked]: { name: 'csched:picked', fields: ['v', 'pcpu', ['why', wordOf(PICKED)]] },
  [NOTE.tickled]: { name: 'csched:tickle', fields: ['pcpu', 'v', ['rule', wordOf(TICKLED)]] },
  [NOTE.boost]: { name: 'csched:boost', fields: ['v'] },
  [NOTE.unboost]: { name: 'csched:unboost', fields: ['v'] },
  [NOTE.schedule]: { name: 'csched:schedule', fields: ['from', 'to', 'stolen'] },
  [NOTE.ratelimit]: { name: 'csched:ratelimit', fields: ['v', 'ran_ns'] },
  [NOTE.stealCheck]: { name: 'csched:steal_check', fields: ['peer', ['result', wordOf(CHECKED)]] },
  [NOTE.moves]: { name: 'moves', fields: ['v', 'from', ['why', wordOf(MOVES)]] },
  [NOTE.refill]: { name: 'refill', fields: ['v', 'last', 'ns'] },
};

/** A record as text: `name field=value …`. */
export function traceText(kind: number, words: readonly number[]): string {
  const format = TRACE_FORMATS[kind];
  if (format === undefined) return `0x${kind.toString(16)} ${words.join(' ')}`;
  const parts = format.fields.map((field, n) => {
    const [name, text] = typeof field === 'string' ? [field, String] : field;
    return `${name}=${text(words[n] ?? 0)}`;
  });
  return [format.name, ...parts].join(' ');
}
