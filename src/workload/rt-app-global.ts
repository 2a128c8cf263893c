/** The `global` section: what holds for the whole use case. Keys without effect are warned about where they ask for one. */
import { ConfigError } from './config-error.js';
import { INT_MAX } from './rt-app-events.js';
import { flagOf, integerOf, type JsonValue, membersOf, nameOf, once, textOf } from './rt-app-json.js';
import { policyOf } from './rt-app-scheduling.js';
import type { TaskPolicy, Workload, WorkloadWarning } from './workload.js';

const NS_PER_S = 1e9;
const MAX_DURATION_S = Math.floor(Number.MAX_SAFE_INTEGER / NS_PER_S);
/** Categories that later versions of rt-app can write to ftrace. */
const FTRACE_CATEGORIES = ['none', 'main', 'task', 'run', 'loop', 'stats'];

export type Global = Omit<Workload, 'file' | 'tasks' | 'warnings'> & {
  readonly defaultPolicy: TaskPolicy;
  readonly warnings: readonly WorkloadWarning[];
};

/** Fields of the result a key gives. */
type Fields = Partial<Omit<Global, 'warnings'>>;
type Reader = (value: JsonValue, key: string, warn: (message: string) => void) => Fields;

const READERS: ReadonlyMap<string, Reader> = new Map<string, Reader>([
  ['duration', durationOf],
  ['default_policy', (value, key) => ({ defaultPolicy: defaultPolicyOf(value, key) })],
  ['log_basename', (value, key) => ({ logBasename: nameOf(value, key) })],
  ['cumulative_slack', (value, key) => ({ cumulativeSlack: flagOf(value, key) })],
  ['pi_enabled', (value, key) => ({ inheritsPriority: flagOf(value, key) })],
  ['gnuplot', (value, key) => ({ gnuplot: flagOf(value, key) })],
  ['io_device', (value, key) => ({ ioDevice: nameOf(value, key) })],
  ['mem_buffer_size', (value, key) => ({ memBufferBytes: integerOf(value, key, 1, INT_MAX) })],
  ['calibration', calibrationOf],
  ['log_size', logSizeOf],
  ['ftrace', ftraceOf],
  ['lock_pages', lockPagesOf],
  ['logdir', logdirOf],
  // Of AQuoSA, long gone from rt-app; examples still carry it.
  ['frag', fragOf],
]);

export function globalOf(section: JsonValue | undefined): Global {
  const given = new Map<string, JsonValue>();
  const warnings: WorkloadWarning[] = [];
  let fields: Fields = {};
  for (const member of section ? membersOf(section, 'global') : []) {
    once(given, member);
    const reader = READERS.get(member.key);
    if (!reader) throw new ConfigError(`unknown key "${member.key}" in "global"`, member.at);
    const warn = (message: string): void => {
      warnings.push({ message, at: member.value.at });
    };
    fields = { ...fields, ...reader(member.value, member.key, warn) };
  }
  return { defaultPolicy: 'SCHED_OTHER', logBasename: 'rt-app', cumulativeSlack: false, ...fields, warnings };
}

function fragOf(value: JsonValue, key: string): Fields {
  integerOf(value, key, 0, INT_MAX);
  return {};
}

/** Absent = no limit. */
function durationOf(value: JsonValue, key: string): Fields {
  const seconds = integerOf(value, key, -1, MAX_DURATION_S);
  if (seconds === 0) throw new ConfigError('"duration" is 0; it must be -1 (none) or positive', value.at);
  return seconds > 0 ? { durationNs: seconds * NS_PER_S } : {};
}

/** A task without parameters of its own could not be of SCHED_DEADLINE. */
function defaultPolicyOf(value: JsonValue, key: string): TaskPolicy {
  const policy = policyOf(value, key);
  if (policy === 'SCHED_DEADLINE')
    throw new ConfigError(
      '"default_policy" cannot be SCHED_DEADLINE: give tasks the policy and "dl-runtime"',
      value.at,
    );
  return policy;
}

/** A CPU to calibrate on leaves what a loop takes to the machine. */
function calibrationOf(value: JsonValue, key: string): Fields {
  if (value.kind !== 'string') return { nsPerLoop: integerOf(value, key, 1, INT_MAX) };
  if (!/^CPU\d+$/.test(value.value))
    throw new ConfigError('"calibration" must be "CPU" and a number, or ns per loop', value.at);
  return {};
}

function logSizeOf(value: JsonValue, key: string, warn: (message: string) => void): Fields {
  if (value.kind !== 'string') {
    integerOf(value, key, 0, INT_MAX);
    warn('"log_size" in MB has no effect: --log-lines says how many lines of a task are kept');
    return {};
  }
  const text = value.value.toLowerCase();
  if (!['file', 'auto', 'disable'].includes(text))
    throw new ConfigError('"log_size" must be "file", "auto", "disable" or a number of MB', value.at);
  return text === 'disable' ? { keepsLogs: false } : {};
}

function ftraceOf(value: JsonValue, key: string, warn: (message: string) => void): Fields {
  const names = value.kind === 'string' ? value.value.split(',').map((name) => name.trim()) : undefined;
  const strange = names?.find((name) => !FTRACE_CATEGORIES.includes(name));
  if (strange !== undefined) throw new ConfigError(`unknown category "${strange}" in "ftrace"`, value.at);
  const isOn = names === undefined ? flagOf(value, key) : names.some((name) => name !== 'none');
  if (isOn) warn('"ftrace" has no effect: --trace keeps the machine\'s own trace');
  return {};
}

function lockPagesOf(value: JsonValue, key: string, warn: (message: string) => void): Fields {
  if (flagOf(value, key)) warn('"lock_pages" has no effect: domains do not swap');
  return {};
}

function logdirOf(value: JsonValue, key: string, warn: (message: string) => void): Fields {
  const directory = textOf(value, key);
  if (!['', '.', './'].includes(directory)) warn('"logdir" has no effect: logs go where --logdir says');
  return {};
}
