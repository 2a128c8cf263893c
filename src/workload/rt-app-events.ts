/**
 * The events of rt-app's grammar, and those of ours that it does not have: semaphores, and requests between domains.
 *
 * Source: rt-app's doc/tutorial.txt, of 1.0 and of later versions (fork).
 */
import { ConfigError, type Place } from './config-error.js';
import { fieldsOf, integerOf, type JsonMember, type JsonValue, nameOf, textOf } from './rt-app-json.js';
import type { WorkloadEvent, WorkloadTask } from './workload.js';

/** rt-app keeps its numbers in a C int. */
export const INT_MAX = 2 ** 31 - 1;
const NS_PER_US = 1000;
/** Of a request or an answer. */
const MAX_MESSAGE_BYTES = 2 ** 30;
/** A service whose name nobody cares about. */
const DEFAULT_SERVICE = 'service';

/**
 * Events are known by prefix, so that `run1` and `sleep-b` can keep keys unique. A longer name stands before its prefix; `memrun`
 * is `mem`, as any other key that begins so.
 */
const EVENTS = [
  ...(['runtime', 'run', 'sleep', 'timer', 'lock', 'unlock', 'wait', 'signal'] as const),
  ...(['broad', 'sync', 'barrier', 'suspend', 'resume', 'yield', 'mem', 'iorun', 'fork'] as const),
  ...(['sem_post', 'sem_wait', 'request', 'serve', 'respond'] as const),
  // For devices of the machine; behind `iorun`.
  ...(['irq', 'io'] as const),
];
type EventName = (typeof EVENTS)[number];

export const eventName = (key: string): EventName | undefined => EVENTS.find((event) => key.startsWith(event));

export function durationNs(value: JsonValue, key: string): number {
  return integerOf(value, key, 0, INT_MAX) * NS_PER_US;
}

const bytesOf = (value: JsonValue | undefined): number =>
  value === undefined ? 0 : integerOf(value, 'bytes', 0, MAX_MESSAGE_BYTES);

export function eventOf(name: EventName, { key, value, at }: JsonMember, task: string): WorkloadEvent {
  switch (name) {
    case 'run':
    case 'runtime':
    case 'sleep':
      return { kind: name, at, ns: durationNs(value, key) };
    case 'mem':
    case 'iorun':
      return { kind: name, at, bytes: integerOf(value, key, 0, INT_MAX) };
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
    case 'sem_post':
    case 'sem_wait':
      return { kind: name, at, ref: nameOf(value, key) };
    case 'fork':
      return { kind: name, at, task: nameOf(value, key) };
    case 'suspend':
      // Left empty it means the task itself: workgen fills in the task's name.
      return { kind: name, at, ref: value.kind === 'nothing' ? task : textOf(value, key) || task };
    case 'yield':
      if (value.kind !== 'nothing') textOf(value, key);
      return { kind: name, at };
    case 'request': {
      const { field, optional } = fieldsOf(value, key, ['to'], ['ref', 'bytes']);
      return { kind: name, at, domain: nameOf(field('to'), 'to'), ...messageOf(optional) };
    }
    case 'irq':
      return { kind: name, at, device: nameOf(value, key) };
    case 'io':
      if (value.kind !== 'object') return { kind: name, at, device: nameOf(value, key) };
      return { kind: name, at, device: nameOf(fieldsOf(value, key, ['device']).field('device'), 'device') };
    case 'serve':
      return { kind: name, at, service: serviceOf(value, key) };
    case 'respond':
      if (value.kind !== 'object') return { kind: name, at, service: serviceOf(value, key), bytes: 0 };
      return { kind: name, at, ...messageOf(fieldsOf(value, key, [], ['ref', 'bytes']).optional) };
  }
}

function messageOf(optional: (name: string) => JsonValue | undefined): { service: string; bytes: number } {
  const ref = optional('ref');
  return { service: ref === undefined ? DEFAULT_SERVICE : nameOf(ref, 'ref'), bytes: bytesOf(optional('bytes')) };
}

/** `serve` alone, or with the name of a service. */
const serviceOf = (value: JsonValue, key: string): string =>
  value.kind === 'nothing' ? DEFAULT_SERVICE : textOf(value, key) || DEFAULT_SERVICE;

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
export function settleTimerModes(tasks: readonly WorkloadTask[]): readonly WorkloadTask[] {
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

/** What only shows when all tasks are known: forks of nobody, barriers of forked tasks, requests that nobody could answer. */
export function checkEvents(tasks: readonly WorkloadTask[]): void {
  const events = (task: WorkloadTask): WorkloadEvent[] => task.phases.flatMap((phase) => phase.events);
  const forked = new Set<string>();
  for (const event of tasks.flatMap(events)) {
    if (event.kind !== 'fork') continue;
    if (!tasks.some(({ name }) => name === event.task))
      throw new ConfigError(`"fork" of "${event.task}", but there is no such task`, event.at);
    forked.add(event.task);
  }
  for (const task of tasks) {
    const own = events(task);
    const barrier = own.find(({ kind }) => kind === 'barrier');
    if (barrier && forked.has(task.name))
      throw new ConfigError(
        'a forked task cannot meet others at a barrier: nobody knows how many there will be',
        barrier.at,
      );
    for (const event of own) {
      const counterpart = event.kind === 'serve' ? 'respond' : event.kind === 'respond' ? 'serve' : undefined;
      if (counterpart === undefined || !('service' in event)) continue;
      if (!own.some((other) => other.kind === counterpart && other.service === event.service))
        throw new ConfigError(`"${event.kind}" of "${event.service}" without a "${counterpart}" in the task`, event.at);
    }
  }
  if (tasks.every(({ instance }) => instance === 0))
    throw new ConfigError('no task ever starts: all have "instance" 0', tasks[0]?.at);
}
