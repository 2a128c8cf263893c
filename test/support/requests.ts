/** Small machines with a server and its clients, each domain on a pCPU of its own. */
import type { GuestConfig, MachineConfig } from '../../src/machine/config.js';
import type { DomainResult, RequestLatency, RunResult } from '../../src/machine/result.js';
import { guest, machineConfig, workload } from './in-process.js';

export const server = (tasks: object, over: Partial<GuestConfig> = {}): GuestConfig =>
  guest({ name: 'server', workload: workload(tasks), ...over });

export const client = (name: string, tasks: object, over: Partial<GuestConfig> = {}): GuestConfig =>
  guest({ name, workload: workload(tasks), ...over });

/** Each guest's VCPUs get pCPUs of their own, in order: nobody waits but for an answer. */
export function apart(guests: readonly GuestConfig[], over: Partial<MachineConfig> = {}): MachineConfig {
  let pcpus = 0;
  const pinned = guests.map((each) => ({ ...each, cpus: Array.from({ length: each.vcpus }, () => [pcpus++]) }));
  return machineConfig({ pcpus, guestOpNs: 1, taskLogLines: 1000, durationNs: 1e9, guests: pinned, ...over });
}

export function domainOf(result: RunResult, name: string): DomainResult {
  const domain = result.domains.find((each) => each.name === name);
  if (!domain) throw new Error(`no domain ${name}`);
  return domain;
}

export function latencyOf(result: RunResult, name: string): RequestLatency {
  const latency = domainOf(result, name).requests?.[0]?.latency;
  if (!latency) throw new Error(`${name} asked nothing`);
  return latency;
}
