/** Domain 0 of a scenario: the host's NTP client, and its toolstack with a script of commands. */
import { type GuestConfig, type MachineConfig, POOL_0 } from '../machine/config.js';
import { bootPools, sparePoolsOf } from '../machine/pools.js';
import { MAX_VIRT_CPUS } from '../shared/limits.js';
import type { ToolstackConfig } from '../toolstack/tool-job.js';
import type { Place } from '../workload/config-error.js';
import { ConfigError } from '../workload/config-error.js';
import type { TaskPolicy, Workload, WorkloadEvent, WorkloadPhase, WorkloadTask } from '../workload/workload.js';
import { inlineSettings, type ReadGuest, sedfPlace, sedfSettings, XL_NAMES } from './scenario-guests.js';
import type { Dom0Section } from './scenario-schema.js';
import { xlGuest } from './xl-guest.js';
import type { YamlFile } from './yaml-file.js';

/** Poll interval of the NTP client unless told otherwise, ns: a clock 50 ppm off gains 0.4 ms in it. */
const NTP_POLL_NS = 8e9;
const MEMORY_MIB = 256;

const asleep = (at: Place): WorkloadPhase => ({
  name: 'asleep',
  loop: -1,
  events: [{ kind: 'sleep', ns: 3600e9, at }],
});

const task = (name: string, at: Place, phases: readonly WorkloadPhase[]): WorkloadTask => ({
  name,
  at,
  instance: 1,
  delayNs: 0,
  loop: -1,
  policy: 'SCHED_OTHER' satisfies TaskPolicy,
  priority: 0,
  phases,
});

function ntpTask({ poll = NTP_POLL_NS, stop }: NonNullable<Dom0Section['ntp']>, at: Place): WorkloadTask {
  if (poll <= 0) throw new ConfigError('the NTP client needs a time between two polls', at);
  const polls = stop === undefined ? -1 : Math.max(1, Math.floor(stop / poll));
  const ntp: WorkloadPhase = {
    name: 'ntp',
    loop: polls,
    events: [
      { kind: 'ntp', at },
      { kind: 'sleep', ns: poll, at },
    ],
  };
  return task('ntpd', at, polls < 0 ? [ntp] : [ntp, asleep(at)]);
}

/** A shell with a script: each command when its time has come and the one before it is done. Job 0 is the outside's. */
function scriptTask(times: readonly number[], at: Place): WorkloadTask {
  const events = times.flatMap((ns, n): WorkloadEvent[] => [
    { kind: 'until', ns, at },
    { kind: 'tool', job: 1 + n, at },
  ]);
  return task('xl', at, [{ name: 'script', loop: 1, events }, asleep(at)]);
}

/** Tasks of domain 0, of which a script does these jobs before all others. */
export function scriptFirst(
  tasks: readonly WorkloadTask[],
  jobs: readonly number[],
  file: string,
): readonly WorkloadTask[] {
  const isScript = ({ name }: WorkloadPhase): boolean => name === 'script';
  const eventsAt = (at: Place): WorkloadEvent[] => jobs.map((job) => ({ kind: 'tool', job, at }));
  const first = tasks.find(({ phases }) => phases.some(isScript));
  if (first === undefined) {
    const at = tasks[0]?.at ?? { file, line: 1, column: 1 };
    // Then for ever nothing, without a timer: a machine ends when nobody has anything to do.
    const events: WorkloadEvent[] = [...eventsAt(at), { kind: 'suspend', ref: 'xendomains', at }];
    return [...tasks, task('xendomains', at, [{ name: 'script', loop: 1, events }])];
  }
  return tasks.map((each) =>
    each === first
      ? {
          ...each,
          phases: each.phases.map((phase) =>
            isScript(phase) ? { ...phase, events: [...eventsAt(each.at), ...phase.events] } : phase,
          ),
        }
      : each,
  );
}

const serverTask = (at: Place): WorkloadTask =>
  task('toolstack', at, [{ name: 'serve', loop: -1, events: [{ kind: 'toolstack', at }] }]);

function dom0Workload(
  at: Place,
  ntp: Dom0Section['ntp'],
  tools: { times: readonly number[]; live: boolean },
): Workload {
  const tasks = [
    ...(ntp === undefined ? [] : [ntpTask(ntp, at)]),
    ...(tools.times.length === 0 ? [] : [scriptTask(tools.times, at)]),
    ...(tools.live ? [serverTask(at)] : []),
  ];
  return {
    file: at.file,
    logBasename: 'dom0',
    cumulativeSlack: false,
    tasks: tasks.length === 0 ? [task('idle', at, [asleep(at)])] : tasks,
  };
}

/** Domain 0 as a section of the scenario has it. What its commands are is not known before the other guests are. */
export function dom0Guest(section: Dom0Section, yaml: YamlFile, pcpus: number): ReadGuest {
  const at = yaml.place(['dom0']);
  const times = (section.commands ?? []).map((command) => command.at ?? 0);
  const xl = { file: yaml.file, settings: inlineSettings(yaml, ['dom0'], { ...section, name: 'Domain-0' }) };
  const { guest } = xlGuest(xl, { pcpus, maxVirtCpus: MAX_VIRT_CPUS, memoryMib: MEMORY_MIB });
  const config: GuestConfig = {
    ...guest,
    abi: 64,
    workload: dom0Workload(at, section.ntp, { times, live: false }),
    privileged: true,
    ...sedfSettings(section.sedf),
  };
  return {
    config,
    placeOf(field, part) {
      if (field === 'sedf') return sedfPlace(yaml, ['dom0', 'sedf'], part);
      return yaml.place(['dom0', XL_NAMES[field]]);
    },
  };
}

/** Room for domains and cpupools that are created while the machine is up. */
const SPARE = { spareDomains: 32, spareVcpus: 64 } as const;

/** Where a domain 0 can be that does not say: in Pool-0, unless all pCPUs are in other pools. */
function poolForDom0(config: MachineConfig): Pick<GuestConfig, 'pool'> {
  const pool = bootPools(config).find(({ cpus }) => cpus.length > 0)!.name;
  return pool === POOL_0 ? {} : { pool };
}

/** The machine with a domain 0 whose tools do what somebody outside asks for: its own, or one for that alone. */
export function withLiveTools(config: MachineConfig): MachineConfig {
  const [first, ...others] = config.guests;
  const spare = { ...SPARE, sparePools: sparePoolsOf(config) };
  const toolstack: ToolstackConfig = { jobs: [], ...config.toolstack, live: true };
  if (first?.privileged === true) {
    const at = first.workload.tasks[0]?.at ?? { file: first.workload.file, line: 1, column: 1 };
    const workload = { ...first.workload, tasks: [...first.workload.tasks, serverTask(at)] };
    return { ...config, ...spare, guests: [{ ...first, workload }, ...others], toolstack };
  }
  const at = { file: 'Domain-0', line: 1, column: 1 };
  const dom0: GuestConfig = {
    name: 'Domain-0',
    vcpus: 1,
    memoryMib: MEMORY_MIB,
    weight: 256,
    cap: 0,
    cpus: [],
    cpusSoft: [],
    abi: 64,
    privileged: true,
    ...poolForDom0(config),
    workload: dom0Workload(at, undefined, { times: [], live: true }),
  };
  return { ...config, ...spare, memoryMib: config.memoryMib + MEMORY_MIB, guests: [dom0, ...config.guests], toolstack };
}
