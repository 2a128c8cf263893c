/** Which devices a machine cannot have, and what workloads cannot want of them. Part of check-config.ts. */
import * as limits from '../shared/limits.js';
import type { DeviceConfig, MachineConfig } from './config.js';

interface Problem {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** Field of a device, and what is wrong with it. */
type DeviceProblem = readonly [keyof DeviceConfig, string];

const isWhole = (value: number, min: number, max: number): boolean =>
  Number.isSafeInteger(value) && value >= min && value <= max;

function rangeProblem(device: DeviceConfig): DeviceProblem | undefined {
  const ranges = [
    ['irq', 1, limits.MAX_IRQ],
    ['periodNs', limits.MIN_DEVICE_PERIOD_NS, limits.MAX_DEVICE_NS],
    ['handlerNs', 1, limits.MAX_DEVICE_NS],
    ['itemNs', 0, limits.MAX_DEVICE_NS],
    ['burst', 1, limits.MAX_RING],
    ['ring', 1, limits.MAX_RING],
    ['startNs', 0, limits.MAX_DURATION_NS],
  ] as const;
  for (const [field, min, max] of ranges) {
    if (isWhole(device[field], min, max)) continue;
    const unit = field.endsWith('Ns') ? ' ns' : '';
    return [field, `${device[field]}${unit} is out of range: must be a whole number from ${min} to ${max}`];
  }
  return device.stopNs > device.startNs ? undefined : ['stopNs', `${device.name} would stop before it starts`];
}

/** Settings that mean nothing for a device of this kind. */
function kindProblem({ kind, name, arrivals, stopNs, startNs }: DeviceConfig): DeviceProblem | undefined {
  if (kind === 'timer' && arrivals !== 'periodic')
    return ['arrivals', `${name} is a timer card: it ticks periodically`];
  if (kind !== 'disk') return undefined;
  if (arrivals === 'burst') return ['arrivals', `${name} is a disk: it serves one request after the other`];
  if (stopNs !== Number.POSITIVE_INFINITY) return ['stopNs', `${name} is a disk: it would leave requests undone`];
  return startNs === 0 ? undefined : ['startNs', `${name} is a disk: requests start it`];
}

function domainProblem(config: MachineConfig, device: DeviceConfig): DeviceProblem | undefined {
  const { domain, name, vcpu } = device;
  if (domain === undefined) return undefined;
  const guest = config.guests.find((each) => each.name === domain);
  if (guest === undefined) {
    return ['domain', `no domain named '${domain}'; there are: ${config.guests.map((each) => each.name).join(', ')}`];
  }
  if (isWhole(vcpu, 0, guest.vcpus - 1)) return undefined;
  return ['vcpu', `VCPU ${vcpu} is to serve ${name}, but ${domain} has VCPUs 0 to ${guest.vcpus - 1}`];
}

/** What devices on one line must agree on. */
function sharingProblem(device: DeviceConfig, other: DeviceConfig): DeviceProblem | undefined {
  if (other.name === device.name) return ['name', `a second device named '${device.name}'`];
  if (other.irq !== device.irq) return undefined;
  if ((other.kind === 'timer') !== (device.kind === 'timer')) {
    return ['irq', `line ${device.irq}: ${device.name} and ${other.name} cannot share it, one is edge triggered`];
  }
  if (other.domain === undefined || other.domain !== device.domain || other.vcpu === device.vcpu) return undefined;
  return ['vcpu', `line ${device.irq}: a domain serves a line on one VCPU, and ${other.name} is VCPU ${other.vcpu}'s`];
}

function deviceProblem(config: MachineConfig, index: number): DeviceProblem | undefined {
  const device = config.devices[index]!;
  if (device.name === '') return ['name', 'a device needs a name'];
  for (const other of config.devices.slice(0, index)) {
    const problem = sharingProblem(device, other);
    if (problem) return problem;
  }
  return rangeProblem(device) ?? kindProblem(device) ?? domainProblem(config, device);
}

/** Tasks that name a device. */
function taskProblem(config: MachineConfig): Problem | undefined {
  for (const [n, guest] of config.guests.entries()) {
    for (const [index, task] of guest.workload.tasks.entries()) {
      for (const event of task.phases.flatMap(({ events }) => events)) {
        if (event.kind !== 'irq' && event.kind !== 'io') continue;
        const path = ['guests', n, 'workload', 'tasks', index];
        const device = config.devices.find(({ name }) => name === event.device);
        if (device === undefined || device.domain !== guest.name) {
          return { path, message: `task ${task.name} wants '${event.device}', which is no device of ${guest.name}` };
        }
        if (event.kind === 'io' && device.kind !== 'disk') {
          return { path, message: `task ${task.name} wants I/O of ${device.name}, which is no disk` };
        }
      }
    }
  }
  return undefined;
}

/** The first reason why `config`'s devices cannot be built. */
export function findDeviceProblem(config: MachineConfig): Problem | undefined {
  if (config.devices.length > limits.MAX_DEVICES) {
    return { path: ['devices'], message: `${config.devices.length} devices; at most ${limits.MAX_DEVICES}` };
  }
  for (const index of config.devices.keys()) {
    const problem = deviceProblem(config, index);
    if (problem) return { path: ['devices', index, problem[0]], message: problem[1] };
  }
  return taskProblem(config);
}
