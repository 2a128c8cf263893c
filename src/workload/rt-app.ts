/**
 * Reads rt-app's workload files (as `workgen` accepts them) into a {@link Workload}.
 *
 * Source: rt-app 1.0's doc/tutorial.txt and its examples. Keys that rt-app silently ignores are refused
 * here: a mistyped event would otherwise change the workload without a word.
 */
import { ConfigError, type Place } from './config-error.js';
import {
  fieldsOf,
  flagOf,
  integerOf,
  itemsOf,
  type JsonMember,
  type JsonValue,
  membersOf,
  nameOf,
  once,
  parseRtAppJson,
  textOf,
} from './rt-app-json.js';
import type { TaskPolicy, Workload, WorkloadEvent, WorkloadPhase, WorkloadTask } from './workload.js';

/** rt-app keeps its numbers in a C int. */
const INT_MAX = 2 ** 31 - 1;
const NS_PER_US = 1000;
const NS_PER_S = 1e9;
const MAX_DURATION_S = Math.floor(Number.MAX_SAFE_INTEGER / NS_PER_S);
const MAX_INSTANCES = 10_000;

/** Events are known by prefix, so that `run1` and `sleep-b` can keep keys unique. A longer name stands before its prefix. */
const EVENTS = [
  ...(['runtime', 'run', 'sleep', 'timer', 'lock', 'unlock', 'wait', 'signal'] as const),
  ...(['broad', 'sync', 'barrier', 'suspend', 'resume', 'yield'] as const),
  // Not rt-app's: for devices of the machine.
  ...(['irq', 'io'] as const),
];
const LATER_EVENTS = ['memrun', 'mem', 'iorun', 'sem_post', 'sem_wait', 'fork'];
type EventName = (typeof EVENTS)[number];

/** Whole keys, looked up before the prefixes: `lock_order` is no `lock`. */
const OLD_TASK_KEYS = new Set(['exec', 'period', 'deadline', 'lock_order', 'resources']);
const LATER_TASK_KEYS = new Set([
  ...['dl-runtime', 'dl-period', 'dl-deadline', 'util_min', 'util_max', 'taskgroup', 'nodes_membind'],
]);
const PLAIN_KEYS = new Set(['phases', 'loop', 'instance', 'delay', 'cpus', 'policy', 'priority']);
const PHASE_KEYS = new Set(['loop', 'cpus']);

const POLICIES: readonly TaskPolicy[] = ['SCHED_OTHER', 'SCHED_FIFO', 'SCHED_RR'];
const LATER_POLICIES = ['SCHED_DEADLINE', 'SCHED_IDLE', 'SCHED_BATCH'];

/** The members of a task or phase, sorted into events (in order) and single values. */
interface Body {
  readonly values: ReadonlyMap<string, JsonValue>;
  readonly events: readonly WorkloadEvent[];
}

function unsupported(what: string, at: Place, why = ''): ConfigError {
  return new ConfigError(`${what} is not supported yet${why}`, at);
}

function durationNs(value: JsonValue, key: string): number {
  return integerOf(value, key, 0, INT_MAX) * NS_PER_US;
}

/** `-1` = for ever. */
function loopOf(value: JsonValue): number {
  const loop = integerOf(value, 'loop', -1, INT_MAX);
  if (loop === 0) throw new ConfigError('"loop" is 0; it must be -1 (for ever) or positive', value.at);
  return loop;
}

function cpusOf(value: JsonValue): readonly number[] {
  const cpus = itemsOf(value, 'cpus').map((item) => integerOf(item, 'cpus', 0, INT_MAX));
  if (cpus.length === 0) throw new ConfigError('"cpus" is empty', value.at);
  return [...new Set(cpus)].sort((a, b) => a - b);
}

function policyOf(value: JsonValue, key: string): TaskPolicy {
  const text = textOf(value, key);
  const policy = POLICIES.find((known) => known === text);
  if (policy) return policy;
  if (LATER_POLICIES.includes(text)) throw unsupported(`policy "${text}"`, value.at);
  throw new ConfigError(`unknown policy "${text}"`, value.at);
}

function eventOf(name: EventName, { key, value, at }: JsonMember, task: string): WorkloadEvent {
  switch (name) {
    case 'run':
    case 'runtime':
    case 'sleep':
      return { kind: name, at, ns: durationNs(value, key) };
    case 'lock':
    case 'unlock':
      return { kind: name, at, mutex: nameOf(value, key) };
    case 'signal':
    case 'broad':
      return { kind: name, at, cond: nameOf(value, key) };
    case 'wait':
    case 'sync': {
      const { field } = fieldsOf(value, key, ['ref', 'mutex']);
      return { kind: name, at, cond: nameOf(field('ref'), 'ref'), mutex: nameOf(field('mutex'), 'mutex') };
    }
    case 'timer':
      return timerOf(key, value, at);
    case 'barrier':
    case 'resume':
      return { kind: name, at, ref: nameOf(value, key) };
    case 'suspend':
      // Left empty it means the task itself: workgen fills in the task's name.
      return { kind: name, at, ref: value.kind === 'nothing' ? task : textOf(value, key) || task };
    case 'irq':
      return { kind: name, at, device: nameOf(value, key) };
    case 'io': {
      if (value.kind !== 'object') return { kind: name, at, device: nameOf(value, key) };
      return { kind: name, at, device: nameOf(fieldsOf(value, key, ['device']).field('device'), 'device') };
    }
    case 'yield':
      if (value.kind !== 'nothing') textOf(value, key);
      return { kind: name, at };
  }
}

function timerOf(key: string, value: JsonValue, at: Place): WorkloadEvent {
  const { field, optional } = fieldsOf(value, key, ['ref', 'period'], ['mode']);
  const ref = nameOf(field('ref'), 'ref');
  const given = optional('mode');
  const mode = given ? textOf(given, 'mode') : 'relative';
  if (mode !== 'relative' && mode !== 'absolute')
    throw new ConfigError(`"mode" must be "relative" or "absolute", not "${mode}"`, given?.at);
  return {
    kind: 'timer',
    at,
    ref,
    unique: ref.startsWith('unique'),
    periodNs: durationNs(field('period'), 'period'),
    mode,
  };
}

/** rt-app's mode belongs to the timer, not to its uses: one `absolute` makes every use of that timer absolute. */
function settleTimerModes(tasks: readonly WorkloadTask[]): readonly WorkloadTask[] {
  const name = (event: WorkloadEvent & { kind: 'timer' }, task: number): string =>
    event.unique ? `${task}/${event.ref}` : `/${event.ref}`;
  const absolute = new Set<string>();
  tasks.forEach((task, index) => {
    for (const event of task.phases.flatMap((phase) => phase.events))
      if (event.kind === 'timer' && event.mode === 'absolute') absolute.add(name(event, index));
  });
  if (absolute.size === 0) return tasks;
  return tasks.map((task, index) => {
    const settle = (event: WorkloadEvent): WorkloadEvent =>
      event.kind === 'timer' && absolute.has(name(event, index)) ? { ...event, mode: 'absolute' } : event;
    return { ...task, phases: task.phases.map((phase) => ({ ...phase, events: phase.events.map(settle) })) };
  });
}

function bodyOf(members: readonly JsonMember[], task: string, allowed: ReadonlySet<string>): Body {
  const values = new Map<string, JsonValue>();
  const events: WorkloadEvent[] = [];
  for (const member of members) {
    const { key, at } = member;
    if (PLAIN_KEYS.has(key)) {
      if (!allowed.has(key)) throw unsupported(`"${key}" in a phase`, at);
      once(values, member);
      continue;
    }
    if (OLD_TASK_KEYS.has(key)) throw unsupported(`key "${key}"`, at, " (it is of rt-app's old grammar)");
    if (LATER_TASK_KEYS.has(key)) throw unsupported(`key "${key}"`, at);
    const later = LATER_EVENTS.find((name) => key.startsWith(name));
    if (later) throw unsupported(`event "${later}"`, at);
    const name = EVENTS.find((event) => key.startsWith(event));
    if (!name) throw new ConfigError(`unknown event or key "${key}"`, at);
    events.push(eventOf(name, member, task));
  }
  return { values, events };
}

function phaseOf({ key, value, at }: JsonMember, task: string): WorkloadPhase {
  const { values, events } = bodyOf(membersOf(value, key), task, PHASE_KEYS);
  if (events.length === 0) throw new ConfigError(`phase "${key}" of task "${task}" has no events`, at);
  const loop = values.get('loop');
  const cpus = values.get('cpus');
  return { name: key, loop: loop ? loopOf(loop) : 1, ...(cpus && { cpus: cpusOf(cpus) }), events };
}

/** Nice values for SCHED_OTHER, real-time priorities otherwise; the defaults are rt-app's. */
function priorityOf(value: JsonValue | undefined, policy: TaskPolicy): number {
  if (policy === 'SCHED_OTHER') return value ? integerOf(value, 'priority', -20, 19) : 0;
  return value ? integerOf(value, 'priority', 1, 99) : 10;
}

function taskOf({ key: name, value, at }: JsonMember, defaultPolicy: TaskPolicy): WorkloadTask {
  if (name === '') throw new ConfigError('a task needs a name', at);
  const { values, events } = bodyOf(membersOf(value, name), name, PLAIN_KEYS);
  const phasesValue = values.get('phases');
  const stray = events[0];
  if (phasesValue && stray) throw new ConfigError('an event beside "phases" would never run', stray.at);

  // Events given without phases are one phase; the tutorial calls it phase1.
  const phases = phasesValue
    ? membersOf(phasesValue, 'phases').map((member) => phaseOf(member, name))
    : [{ name: 'phase1', loop: 1, events }];
  if (phases.length === 0) throw new ConfigError(`task "${name}" has no phases`, at);
  if (!phasesValue && !stray) throw new ConfigError(`task "${name}" has no events`, at);

  const policyValue = values.get('policy');
  const policy = policyValue ? policyOf(policyValue, 'policy') : defaultPolicy;
  const [instance, delay, loop, cpus] = ['instance', 'delay', 'loop', 'cpus'].map((key) => values.get(key));
  return {
    name,
    at,
    instance: instance ? integerOf(instance, 'instance', 1, MAX_INSTANCES) : 1,
    delayNs: delay ? durationNs(delay, 'delay') : 0,
    loop: loop ? loopOf(loop) : -1,
    policy,
    priority: priorityOf(values.get('priority'), policy),
    ...(cpus && { cpus: cpusOf(cpus) }),
    phases,
  };
}

type Global = Pick<Workload, 'durationNs' | 'logBasename' | 'cumulativeSlack'> & { readonly defaultPolicy: TaskPolicy };

const USED_GLOBALS = new Set(['duration', 'default_policy', 'log_basename', 'cumulative_slack']);
const anInt = (value: JsonValue, key: string): number => integerOf(value, key, 0, INT_MAX);

/** Keys without meaning for a simulated machine (logs on disk, calibration, I/O): only their type is checked. */
const IGNORED_GLOBALS: ReadonlyMap<string, (value: JsonValue, key: string) => unknown> = new Map([
  ['pi_enabled', refusePriorityInheritance],
  ['calibration', checkCalibration],
  ['log_size', (value, key) => value.kind === 'string' || anInt(value, key)],
  ['ftrace', (value, key) => value.kind === 'string' || flagOf(value, key)],
  ['lock_pages', flagOf],
  ['gnuplot', flagOf],
  ['logdir', textOf],
  ['io_device', textOf],
  ['frag', anInt],
  ['mem_buffer_size', anInt],
]);

function globalOf(section: JsonValue | undefined): Global {
  const given = new Map<string, JsonValue>();
  for (const member of section ? membersOf(section, 'global') : []) {
    once(given, member);
    const check = IGNORED_GLOBALS.get(member.key);
    if (!check && !USED_GLOBALS.has(member.key))
      throw new ConfigError(`unknown key "${member.key}" in "global"`, member.at);
    check?.(member.value, member.key);
  }
  const [duration, policy, basename, slack] = [...USED_GLOBALS].map((key) => given.get(key));
  const durationNs = duration && globalDurationNs(duration);
  return {
    ...(durationNs !== undefined && { durationNs }),
    defaultPolicy: policy ? policyOf(policy, 'default_policy') : 'SCHED_OTHER',
    logBasename: basename ? nameOf(basename, 'log_basename') : 'rt-app',
    cumulativeSlack: slack ? flagOf(slack, 'cumulative_slack') : false,
  };
}

/** `undefined` = no limit. */
function globalDurationNs(value: JsonValue): number | undefined {
  const seconds = integerOf(value, 'duration', -1, MAX_DURATION_S);
  if (seconds === 0) throw new ConfigError('"duration" is 0; it must be -1 (none) or positive', value.at);
  return seconds > 0 ? seconds * NS_PER_S : undefined;
}

function refusePriorityInheritance(value: JsonValue, key: string): void {
  if (flagOf(value, key)) throw unsupported('"pi_enabled": true', value.at);
}

function checkCalibration(value: JsonValue, key: string): void {
  if (value.kind !== 'string') integerOf(value, key, 1, INT_MAX);
  else if (!/^CPU\d+$/.test(value.value))
    throw new ConfigError('"calibration" must be "CPU" and a number, or ns per loop', value.at);
}

/** @throws ConfigError with the place of the first fault */
export function parseRtApp(text: string, file: string): Workload {
  const root = parseRtAppJson(text, file);
  if (root.kind !== 'object') throw new ConfigError('a workload file must hold an object', root.at);
  const sections = new Map<string, JsonValue>();
  for (const member of root.members) {
    if (!['tasks', 'global', 'resources'].includes(member.key))
      throw new ConfigError(`unknown key "${member.key}"`, member.at);
    once(sections, member);
  }
  // rt-app makes resources when they are first named; the section is a leftover that changes nothing.
  const resources = sections.get('resources');
  if (resources) membersOf(resources, 'resources');
  const tasksValue = sections.get('tasks');
  if (!tasksValue) throw new ConfigError('there is no "tasks" object', root.at);
  const { defaultPolicy, ...global } = globalOf(sections.get('global'));

  const named = new Map<string, JsonValue>();
  const tasks = membersOf(tasksValue, 'tasks').map((member) => {
    once(named, member);
    return taskOf(member, defaultPolicy);
  });
  if (tasks.length === 0) throw new ConfigError('"tasks" is empty', tasksValue.at);
  return { file, ...global, tasks: settleTimerModes(tasks) };
}
