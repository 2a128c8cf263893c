/**
 * Reads rt-app's workload files (as `workgen` accepts them) into a {@link Workload}.
 *
 * Source: rt-app 1.0's doc/tutorial.txt and its examples. Keys that rt-app silently ignores are refused
 * here: a mistyped event would otherwise change the workload without a word.
 */
import { ConfigError } from './config-error.js';
import { checkEvents, durationNs, eventName, eventOf, INT_MAX, settleTimerModes } from './rt-app-events.js';
import { globalOf } from './rt-app-global.js';
import { integerOf, type JsonMember, type JsonValue, membersOf, once, parseRtAppJson } from './rt-app-json.js';
import { isOfOldBody, isOldBody, isOldKey, type OldResources, oldEvents, oldResources } from './rt-app-old.js';
import { cpusOf, IDLE_KEYS, idleAttributes, SCHEDULING_KEYS, schedulingOf } from './rt-app-scheduling.js';
import type {
  TaskPolicy,
  TaskScheduling,
  Workload,
  WorkloadEvent,
  WorkloadPhase,
  WorkloadTask,
  WorkloadWarning,
} from './workload.js';

const MAX_INSTANCES = 10_000;

const PHASE_KEYS = new Set(['loop', 'cpus', ...SCHEDULING_KEYS, ...IDLE_KEYS]);
const TASK_KEYS = new Set([...PHASE_KEYS, 'phases', 'instance', 'delay']);

/** The members of a task or phase, sorted into events (in order) and single values. */
interface Body {
  readonly values: ReadonlyMap<string, JsonValue>;
  readonly events: readonly WorkloadEvent[];
}

/** `-1` = for ever. */
function loopOf(value: JsonValue): number {
  const loop = integerOf(value, 'loop', -1, INT_MAX);
  if (loop === 0) throw new ConfigError('"loop" is 0; it must be -1 (for ever) or positive', value.at);
  return loop;
}

function bodyOf(
  value: JsonValue,
  key: string,
  task: string,
  allowed: ReadonlySet<string>,
  resources: () => OldResources,
): Body {
  const members = membersOf(value, key);
  const values = new Map<string, JsonValue>();
  const isOld = isOldBody(members);
  const events: WorkloadEvent[] = isOld ? oldEvents(members, resources(), value.at) : [];
  for (const member of members) {
    const { key, at } = member;
    if (TASK_KEYS.has(key)) {
      if (!allowed.has(key)) throw new ConfigError(`"${key}" is of a task, not of a phase`, at);
      once(values, member);
      continue;
    }
    // Whole keys, looked up before the prefixes: `lock_order` is no `lock`.
    if (isOld && isOfOldBody(key)) continue;
    if (isOldKey(key)) throw new ConfigError(`"${key}" is of rt-app's old grammar, which needs "exec"`, at);
    const name = eventName(key);
    if (!name) throw new ConfigError(`unknown event or key "${key}"`, at);
    if (isOld) throw new ConfigError(`event "${key}" beside keys of rt-app's old grammar`, at);
    events.push(eventOf(name, member, task));
  }
  return { values, events };
}

/** Of phases only what they set: a task keeps its scheduling from one phase to the next. */
class TaskReader {
  readonly warnings: WorkloadWarning[] = [];
  readonly #defaultPolicy: TaskPolicy;
  readonly #resources: () => OldResources;
  #scheduling: TaskScheduling;

  constructor(defaultPolicy: TaskPolicy, resources: () => OldResources) {
    this.#defaultPolicy = defaultPolicy;
    this.#resources = resources;
    this.#scheduling = { policy: defaultPolicy, priority: 0 };
  }

  read({ key: name, value, at }: JsonMember): WorkloadTask {
    if (name === '') throw new ConfigError('a task needs a name', at);
    const { values, events } = bodyOf(value, name, name, TASK_KEYS, this.#resources);
    const phasesValue = values.get('phases');
    const stray = events[0];
    if (phasesValue && stray) throw new ConfigError('an event beside "phases" would never run', stray.at);

    const start = schedulingOf(
      values.has('policy')
        ? values
        : new Map([...values, ['policy', { kind: 'string', at, value: this.#defaultPolicy }]]),
      this.#scheduling,
      at,
    );
    this.#scheduling = start;
    this.warnings.push(...idleAttributes(values, start.policy));
    // Events given without phases are one phase; the tutorial calls it phase1.
    const phases = phasesValue
      ? membersOf(phasesValue, 'phases').map((member) => this.#phase(member, name))
      : [{ name: 'phase1', loop: 1, events }];
    if (phases.length === 0) throw new ConfigError(`task "${name}" has no phases`, at);
    if (!phasesValue && !stray) throw new ConfigError(`task "${name}" has no events`, at);

    const [instance, delay, loop, cpus] = ['instance', 'delay', 'loop', 'cpus'].map((key) => values.get(key));
    return {
      name,
      at,
      instance: instance ? integerOf(instance, 'instance', 0, MAX_INSTANCES) : 1,
      delayNs: delay ? durationNs(delay, 'delay') : 0,
      loop: loop ? loopOf(loop) : -1,
      ...start,
      ...(cpus && { cpus: cpusOf(cpus) }),
      phases,
    };
  }

  #phase({ key, value, at }: JsonMember, task: string): WorkloadPhase {
    const { values, events } = bodyOf(value, key, task, PHASE_KEYS, this.#resources);
    if (events.length === 0) throw new ConfigError(`phase "${key}" of task "${task}" has no events`, at);
    const sets = SCHEDULING_KEYS.some((name) => values.has(name));
    if (sets) this.#scheduling = schedulingOf(values, this.#scheduling, at);
    this.warnings.push(...idleAttributes(values, this.#scheduling.policy));
    const loop = values.get('loop');
    const cpus = values.get('cpus');
    return {
      name: key,
      loop: loop ? loopOf(loop) : 1,
      ...(cpus && { cpus: cpusOf(cpus) }),
      ...(sets && { scheduling: this.#scheduling }),
      events,
    };
  }
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
  // rt-app makes resources when they are first named; only the old grammar looks into the section.
  const section = sections.get('resources');
  if (section) membersOf(section, 'resources');
  const resources = (): OldResources => oldResources(section);
  const tasksValue = sections.get('tasks');
  if (!tasksValue) throw new ConfigError('there is no "tasks" object', root.at);
  const { defaultPolicy, warnings, ...global } = globalOf(sections.get('global'));

  const named = new Map<string, JsonValue>();
  const allWarnings = [...warnings];
  const tasks = membersOf(tasksValue, 'tasks').map((member) => {
    once(named, member);
    const reader = new TaskReader(defaultPolicy, resources);
    const task = reader.read(member);
    allWarnings.push(...reader.warnings);
    return task;
  });
  if (tasks.length === 0) throw new ConfigError('"tasks" is empty', tasksValue.at);
  checkEvents(tasks);
  return {
    file,
    ...global,
    ...(allWarnings.length > 0 && { warnings: allWarnings }),
    tasks: settleTimerModes(tasks),
  };
}
