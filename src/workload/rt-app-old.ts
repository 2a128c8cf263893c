/**
 * The grammar of rt-app before there were events (`exec`, `period`, `lock_order`, `resources`), which examples still use, lowered
 * to events. In every period a task works through `lock_order`, computes the rest of `exec`, and sleeps to the end of the
 * period, unless `"sleep": false`.
 *
 * Source: Debian's taskset.json and examples/merge; rt-app 0.2's behaviour. rt-app 1.0 itself refuses such files.
 */
import { ConfigError, type Place } from './config-error.js';
import { durationNs } from './rt-app-events.js';
import {
  fieldsOf,
  flagOf,
  itemsOf,
  type JsonMember,
  type JsonValue,
  membersOf,
  nameOf,
  once,
  textOf,
} from './rt-app-json.js';
import type { WorkloadEvent } from './workload.js';

const OLD_KEYS: ReadonlySet<string> = new Set(['exec', 'period', 'deadline', 'lock_order', 'resources']);
/** `sleep` is an event, too: it is of the old grammar where one of these stands beside it. */
const MARKS: ReadonlySet<string> = new Set(['exec', 'lock_order']);

const TYPES = ['mutex', 'wait', 'signal', 'broadcast', 'sync', 'run'] as const;
interface OldResource {
  readonly type: (typeof TYPES)[number];
  /** Of signal, broadcast and sync: the wait resource they are for. */
  readonly target: string;
}
export type OldResources = ReadonlyMap<string, OldResource>;

export const isOldKey = (key: string): boolean => OLD_KEYS.has(key);
export const isOldBody = (members: readonly JsonMember[]): boolean => members.some(({ key }) => MARKS.has(key));
/** Keys that an old body takes from the members of a task or phase. */
export const isOfOldBody = (key: string): boolean => OLD_KEYS.has(key) || key === 'sleep';

/** The `resources` section. In the present grammar resources need no declaration, and it is a leftover. */
export function oldResources(section: JsonValue | undefined): OldResources {
  const resources = new Map<string, OldResource>();
  for (const { key, value } of section ? membersOf(section, 'resources') : []) {
    const { field, optional } = fieldsOf(value, key, ['type'], ['target']);
    const text = textOf(field('type'), 'type');
    const type = TYPES.find((known) => known === text);
    if (!type)
      throw new ConfigError(`unknown type "${text}" of a resource; known: ${TYPES.join(', ')}`, field('type').at);
    const needsTarget = type === 'signal' || type === 'broadcast' || type === 'sync';
    const target = needsTarget
      ? nameOf(field('target'), 'target')
      : optional('target') && textOf(optional('target')!, 'target');
    resources.set(key, { type, target: target ?? '' });
  }
  return resources;
}

interface Use {
  readonly ns: number;
  /** Mutexes held meanwhile, in the order in which they are locked. */
  readonly access: readonly string[];
}

function usesOf(section: JsonValue | undefined): ReadonlyMap<string, Use> {
  const uses = new Map<string, Use>();
  for (const { key, value } of section ? membersOf(section, 'resources') : []) {
    const { optional } = fieldsOf(value, key, [], ['duration', 'access']);
    const duration = optional('duration');
    const access = optional('access');
    uses.set(key, {
      ns: duration ? durationNs(duration, 'duration') : 0,
      access: access ? itemsOf(access, 'access').map((item) => nameOf(item, 'access')) : [],
    });
  }
  return uses;
}

/** What is done with a resource while its `access` is locked. */
function actOf(name: string, { type, target }: OldResource, { ns, access }: Use, at: Place): WorkloadEvent[] {
  const run: WorkloadEvent[] = ns > 0 ? [{ kind: 'run', at, ns }] : [];
  const mutex = access.at(-1);
  switch (type) {
    case 'mutex':
      return [{ kind: 'lock', at, mutex: name }, ...run, { kind: 'unlock', at, mutex: name }];
    case 'signal':
      return [{ kind: 'signal', at, cond: target }, ...run];
    case 'broadcast':
      return [{ kind: 'broad', at, cond: target }, ...run];
    case 'wait':
    case 'sync':
      if (mutex === undefined) throw new ConfigError(`"${name}" needs a mutex in "access" to wait with`, at);
      return [{ kind: type, at, cond: type === 'wait' ? name : target, mutex }, ...run];
    case 'run':
      return run;
  }
}

/** @param at the task or phase */
export function oldEvents(members: readonly JsonMember[], resources: OldResources, at: Place): WorkloadEvent[] {
  const values = new Map<string, JsonValue>();
  for (const member of members) if (isOfOldBody(member.key)) once(values, member);
  const [exec, period, deadline, order, uses, sleep] = [
    ...['exec', 'period', 'deadline', 'lock_order', 'resources', 'sleep'],
  ].map((key) => values.get(key));
  if (!exec || !period) throw new ConfigError('a task of the old grammar needs "exec" and "period"', at);
  const [execNs, periodNs] = [durationNs(exec, 'exec'), durationNs(period, 'period')];
  if (execNs > periodNs) throw new ConfigError('"exec" exceeds "period"', exec.at);
  const deadlineNs = deadline ? durationNs(deadline, 'deadline') : periodNs;
  if (deadline && (deadlineNs < execNs || deadlineNs > periodNs))
    throw new ConfigError('"deadline" must be from "exec" to "period"', deadline.at);

  const used = usesOf(uses);
  const events: WorkloadEvent[] = [];
  let usedNs = 0;
  for (const item of order ? itemsOf(order, 'lock_order') : []) {
    const name = nameOf(item, 'lock_order');
    const resource = resources.get(name);
    if (!resource) throw new ConfigError(`"${name}" is not among the "resources" of the file`, item.at);
    const use = used.get(name) ?? { ns: 0, access: [] };
    usedNs += use.ns;
    events.push(
      ...use.access.map((mutex): WorkloadEvent => ({ kind: 'lock', at: item.at, mutex })),
      ...actOf(name, resource, use, item.at),
      ...use.access.toReversed().map((mutex): WorkloadEvent => ({ kind: 'unlock', at: item.at, mutex })),
    );
  }
  events.push({ kind: 'run', at: exec.at, ns: Math.max(0, execNs - usedNs) });
  const sleeps = sleep === undefined || flagOf(sleep, 'sleep');
  if (sleeps) events.push({ kind: 'timer', at: period.at, ref: 'unique', unique: true, periodNs, mode: 'absolute' });
  return events;
}
