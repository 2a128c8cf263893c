/**
 * How tasks and phases say that they want to be scheduled: policy, priority, SCHED_DEADLINE's parameters, CPUs; and the attributes
 * of Linux that mean nothing here.
 *
 * Source: rt-app's doc/tutorial.txt; sched(7) for what Linux accepts.
 */
import { ConfigError, type Place } from './config-error.js';
import { durationNs, INT_MAX } from './rt-app-events.js';
import { integerOf, itemsOf, type JsonValue, textOf } from './rt-app-json.js';
import type { DeadlineParameters, TaskPolicy, TaskScheduling, WorkloadWarning } from './workload.js';

const POLICIES: readonly TaskPolicy[] = ['SCHED_OTHER', 'SCHED_IDLE', 'SCHED_FIFO', 'SCHED_RR', 'SCHED_DEADLINE'];
/** Linux refuses shorter runtimes, ns. */
const MIN_DL_RUNTIME_NS = 1024;
const MAX_UTIL = 1024;

const DEADLINE_KEYS = ['dl-runtime', 'dl-period', 'dl-deadline'];
export const SCHEDULING_KEYS = ['policy', 'priority', ...DEADLINE_KEYS];
export const IDLE_KEYS = ['util_min', 'util_max', 'taskgroup', 'nodes_membind'];

export function policyOf(value: JsonValue, key: string): TaskPolicy {
  const text = textOf(value, key);
  const policy = POLICIES.find((known) => known === text);
  if (!policy) throw new ConfigError(`unknown policy "${text}"; known: ${POLICIES.join(', ')}`, value.at);
  return policy;
}

/** Nice values for the classes that share, real-time priorities otherwise; the defaults are rt-app's. */
function priorityOf(value: JsonValue | undefined, policy: TaskPolicy): number {
  if (policy === 'SCHED_FIFO' || policy === 'SCHED_RR') return value ? integerOf(value, 'priority', 1, 99) : 10;
  if (policy === 'SCHED_DEADLINE') return value ? integerOf(value, 'priority', 0, 0) : 0;
  return value ? integerOf(value, 'priority', -20, 19) : 0;
}

function deadlineOf(
  values: ReadonlyMap<string, JsonValue>,
  before: DeadlineParameters | undefined,
  at: Place,
): DeadlineParameters {
  const [runtime, period, deadline] = DEADLINE_KEYS.map((key) => values.get(key));
  if (runtime === undefined && period === undefined && deadline === undefined && before) return before;
  if (runtime === undefined) throw new ConfigError('SCHED_DEADLINE needs "dl-runtime"', at);
  const runtimeNs = durationNs(runtime, 'dl-runtime');
  if (runtimeNs < MIN_DL_RUNTIME_NS)
    throw new ConfigError('"dl-runtime" is too short: Linux gives at least 2 us', runtime.at);
  const periodNs = period ? durationNs(period, 'dl-period') : runtimeNs;
  const deadlineNs = deadline ? durationNs(deadline, 'dl-deadline') : periodNs;
  if (runtimeNs > deadlineNs || deadlineNs > periodNs)
    throw new ConfigError(
      '"dl-runtime" may not exceed "dl-deadline", nor that "dl-period"',
      (deadline ?? period ?? runtime).at,
    );
  return { runtimeNs, deadlineNs, periodNs };
}

/**
 * What a task or a phase says, completed by what was so `before`. As in rt-app, a policy brings its own default priority, and a
 * priority alone leaves the policy as it is.
 */
export function schedulingOf(
  values: ReadonlyMap<string, JsonValue>,
  before: TaskScheduling,
  at: Place,
): TaskScheduling {
  const given = values.get('policy');
  const policy = given ? policyOf(given, 'policy') : before.policy;
  const stray = DEADLINE_KEYS.map((key) => values.get(key)).find((value) => value !== undefined);
  if (stray && policy !== 'SCHED_DEADLINE')
    throw new ConfigError(`this is for SCHED_DEADLINE, and the policy is ${policy}`, stray.at);
  const priority = values.get('priority');
  return {
    policy,
    priority: !given && !priority && policy === before.policy ? before.priority : priorityOf(priority, policy),
    ...(policy === 'SCHED_DEADLINE' && { deadline: deadlineOf(values, before.deadline, at) }),
  };
}

export function cpusOf(value: JsonValue): readonly number[] {
  const cpus = itemsOf(value, 'cpus').map((item) => integerOf(item, 'cpus', 0, INT_MAX));
  if (cpus.length === 0) throw new ConfigError('"cpus" is empty', value.at);
  return [...new Set(cpus)].sort((a, b) => a - b);
}

/** Attributes that are checked, and otherwise only warned about. */
export function idleAttributes(values: ReadonlyMap<string, JsonValue>, policy: TaskPolicy): WorkloadWarning[] {
  const warnings: WorkloadWarning[] = [];
  for (const key of ['util_min', 'util_max']) {
    const value = values.get(key);
    if (value === undefined || integerOf(value, key, -1, MAX_UTIL) === -1) continue;
    warnings.push({ message: `"${key}" has no effect: all CPUs are equal and have one frequency`, at: value.at });
  }
  const nodes = values.get('nodes_membind');
  if (nodes !== undefined) {
    for (const node of itemsOf(nodes, 'nodes_membind')) integerOf(node, 'nodes_membind', 0, INT_MAX);
    warnings.push({ message: '"nodes_membind" has no effect: a domain sees one NUMA node', at: nodes.at });
  }
  const group = values.get('taskgroup');
  if (group === undefined || textOf(group, 'taskgroup') === '') return warnings;
  if (!textOf(group, 'taskgroup').startsWith('/')) throw new ConfigError('"taskgroup" must begin with "/"', group.at);
  if (policy !== 'SCHED_OTHER' && policy !== 'SCHED_IDLE')
    throw new ConfigError(`"taskgroup" is for SCHED_OTHER and SCHED_IDLE, and the policy is ${policy}`, group.at);
  warnings.push({ message: '"taskgroup" has no effect: tasks share by their own weights', at: group.at });
  return warnings;
}
