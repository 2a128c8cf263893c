/** Domains with kernels of their own, beside a domain 0: its toolstack builds them as soon as it has booted (as xendomains does), by hypercalls. */
import { boots, domainNumber, type GuestConfig, type MachineConfig } from '../machine/config.js';
import type { WorkloadTask } from '../workload/workload.js';
import { creation } from '../xl/commands.js';
import { scriptFirst } from './dom0.js';
import { commandJob, worldAtBoot } from './dom0-script.js';

export function withBuiltKernels(config: MachineConfig): MachineConfig {
  const { guests, toolstack } = config;
  const [dom0] = guests;
  const isBuilt = (guest: GuestConfig): boolean => guest.kernel !== undefined && boots(guest);
  if (dom0?.privileged !== true || !guests.some(isBuilt)) return config;
  const world = worldAtBoot(config);
  const jobs = guests.flatMap((guest, n) =>
    isBuilt(guest)
      ? [commandJob(0, `create ${guest.name}`, creation({ id: domainNumber(guests, n), guest }, world))]
      : [],
  );
  const before = toolstack?.jobs ?? [];
  const numbers = jobs.map((_, n) => 1 + before.length + n);
  const tasks: readonly WorkloadTask[] = scriptFirst(dom0.workload.tasks, numbers, dom0.workload.file);
  return {
    ...config,
    guests: guests.map((guest) =>
      guest === dom0
        ? { ...guest, workload: { ...guest.workload, tasks } }
        : isBuilt(guest)
          ? { ...guest, boot: false }
          : guest,
    ),
    toolstack: { live: false, ...toolstack, jobs: [...before, ...jobs] },
  };
}
