/**
 * Which pCPUs have to do with each other, by the configuration: those that VCPUs of one domain may use, as these share run queues,
 * a shared info page and a kernel. Groups of pCPUs without anything in common may be run side by side (pcpu/sections.ts).
 */
import { findScheduler } from '../hv/sched/registry.js';
import { type MachineConfig, mostVcpus } from './config.js';
import { bootPools, policiesOf, poolOfGuest } from './pools.js';
import { serviceLinks } from './service-links.js';

/** pCPUs that each guest's VCPUs may use: of its pool, those that its masks name. */
function pcpusOfGuests(config: MachineConfig): (readonly number[])[] {
  const pools = bootPools(config);
  return config.guests.map((guest) => {
    const own = pools[poolOfGuest(pools, guest)]?.cpus ?? [];
    const cpus = Array.from({ length: mostVcpus(guest) }, (_, v) => {
      const named = guest.cpus[v]?.filter((p) => own.includes(p)) ?? [];
      return named.length > 0 ? named : own;
    });
    return [...new Set(cpus.flat())];
  });
}

/** The group of each pCPU, numbered from 0 in the order of their first pCPUs. pCPUs that nobody may use are of the first. */
export function interactionGroups(config: MachineConfig): readonly number[] {
  const { pcpus, guests, devices, spareDomains, sparePools = 0 } = config;
  const all = Array.from({ length: pcpus }, (_, p) => p);
  // A user's policy may look at any queue, domain 0 may deal with any domain, a kernel may make any hypercall, and a device is of a pCPU
  // of its own.
  const isOne =
    policiesOf(config).some((name) => findScheduler(name)?.isLocal !== true) ||
    guests.some(({ privileged, kernel }) => privileged === true || kernel !== undefined) ||
    devices.length > 0 ||
    spareDomains > 0 ||
    sparePools > 0;
  if (isOne) return all.map(() => 0);
  /** A pCPU of the same group that is lower, or itself. */
  const lower = [...all];
  const leader = (p: number): number => (lower[p] === p ? p : leader(lower[p]!));
  const isUsed = new Set<number>();
  const unite = (p: number, q: number): void => {
    const [a, b] = [leader(p), leader(q)];
    lower[Math.max(a, b)] = Math.min(a, b);
  };
  const usedBy = pcpusOfGuests(config);
  for (const used of usedBy) {
    for (const p of used) {
      unite(used[0]!, p);
      isUsed.add(p);
    }
  }
  // Each of several cpupools does its accounting by itself, and so is whole.
  const pools = bootPools(config);
  if (pools.length > 1) for (const { cpus } of pools) for (const p of cpus) unite(cpus[0]!, p);
  // Who asks has to do with whom he asks.
  const { services, links } = serviceLinks(guests);
  for (const { client, service } of links) unite(usedBy[client]![0]!, usedBy[services[service]!.guest]![0]!);
  const leaders = [...new Set(all.filter((p) => isUsed.has(p)).map(leader))];
  return all.map((p) => Math.max(0, leaders.indexOf(leader(p))));
}

export const numberOfGroups = (groupOf: readonly number[]): number => 1 + Math.max(...groupOf);

/**
 * How many workers take turns side by side. One where something that is counted or waited for would lie between groups: locks that take
 * simulated time, the observer of time.
 */
export function numberOfRunners(config: MachineConfig, groups: number): number {
  const { mode, threads, runqLockNs, privateLockNs, checkTime } = config;
  if (mode === 'free') return threads;
  return runqLockNs > 0 || privateLockNs > 0 || checkTime ? 1 : Math.min(threads, groups);
}

/** Deals whole groups to the runners, the heaviest first, each to whom has least. @returns the worker of each pCPU */
export function dealGroups(config: MachineConfig, groupOf: readonly number[], runners: number): readonly number[] {
  const weights = Array.from({ length: numberOfGroups(groupOf) }, (_, g) => groupOf.filter((x) => x === g).length);
  const usedBy = pcpusOfGuests(config);
  for (const [n, { vcpus }] of config.guests.entries()) weights[groupOf[usedBy[n]![0]!]!]! += vcpus;
  const load = new Array<number>(runners).fill(0);
  const workerOf: number[] = [];
  const heaviestFirst = weights.map((_, g) => g).sort((a, b) => weights[b]! - weights[a]! || a - b);
  for (const g of heaviestFirst) {
    const w = load.indexOf(Math.min(...load));
    load[w]! += weights[g]!;
    workerOf[g] = w;
  }
  return groupOf.map((g) => workerOf[g]!);
}
