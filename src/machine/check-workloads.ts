/** What of workloads cannot be built: deadlines that no kernel would admit, requests that nobody could answer. */
import type { WorkloadEvent } from '../workload/workload.js';
import type { GuestConfig } from './config.js';
import { linksOfGuest, serviceLinks, servicesOf } from './service-links.js';

/** Path within the guest, or the guests, and what is wrong there. */
type Problem = readonly [readonly (string | number)[], string];

/** Linux lets SCHED_DEADLINE have this part of the CPUs (sched_rt_runtime_us over sched_rt_period_us). */
const MAX_DEADLINE_USE = 0.95;

export function admissionProblem(guest: GuestConfig): Problem | undefined {
  let use = 0;
  for (const [index, task] of guest.workload.tasks.entries()) {
    const wanted = [task, ...task.phases.flatMap(({ scheduling }) => scheduling ?? [])].map(({ deadline }) =>
      deadline === undefined ? 0 : deadline.runtimeNs / deadline.periodNs,
    );
    use += task.instance * Math.max(...wanted);
    if (use <= MAX_DEADLINE_USE * guest.vcpus) continue;
    const message = `up to ${task.name} tasks of SCHED_DEADLINE want ${use.toFixed(2)} CPUs, and may have ${MAX_DEADLINE_USE} of the ${guest.vcpus} that ${guest.name} has`;
    return [['workload', 'tasks', index], message];
  }
  return undefined;
}

/** A guest's kernel takes events of ports below 1,024, and its VCPUs need some. */
const MAX_LINKS = 256;

/** Requests go to a service that there is. */
export function requestProblem(guests: readonly GuestConfig[]): Problem | undefined {
  for (const [index, guest] of guests.entries()) {
    for (const [t, task] of guest.workload.tasks.entries()) {
      for (const [p, phase] of task.phases.entries()) {
        for (const [e, event] of phase.events.entries()) {
          const message = event.kind === 'request' ? unanswered(guest, event, guests) : undefined;
          if (message !== undefined) return [[index, 'workload', 'tasks', t, p, e], message];
        }
      }
    }
  }
  const all = serviceLinks(guests);
  const crowded = guests.findIndex((_, n) => linksOfGuest(all, n) > MAX_LINKS);
  if (crowded < 0) return undefined;
  const message = `${linksOfGuest(all, crowded)} links to services and clients; a domain has at most ${MAX_LINKS}`;
  return [[crowded, 'workload'], message];
}

function unanswered(
  guest: GuestConfig,
  { domain, service }: WorkloadEvent & { kind: 'request' },
  guests: readonly GuestConfig[],
): string | undefined {
  const server = guests.find(({ name }) => name === domain);
  if (!server) return `no domain named '${domain}'; there are: ${guests.map(({ name }) => name).join(', ')}`;
  if (server === guest) return 'a domain does not ask itself; its tasks have mutexes, conditions and semaphores';
  const offered = servicesOf(server);
  if (offered.includes(service)) return undefined;
  return `${domain} has no service '${service}'; it serves ${offered.length === 0 ? 'nothing' : offered.join(', ')}`;
}
