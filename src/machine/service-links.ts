/**
 * Who asks whom: the services that workloads offer, and a link from each client domain to each service it asks. Fixed when the
 * machine is built; the event channels of the links are the guests' own work.
 */
import type { WorkloadEvent } from '../workload/workload.js';
import type { GuestConfig } from './config.js';

export interface Service {
  /** Index of the guest that serves, and the service's name there. */
  readonly guest: number;
  readonly name: string;
}

export interface Link {
  /** Index of the guest that asks. */
  readonly client: number;
  /** Index in `services`. */
  readonly service: number;
}

export interface ServiceLinks {
  /** Ordered by guest. */
  readonly services: readonly Service[];
  /** Ordered by client. */
  readonly links: readonly Link[];
  /** The links in the order of their services: indices in `links`. */
  readonly byService: readonly number[];
}

const eventsOf = (guest: GuestConfig): WorkloadEvent[] =>
  guest.workload.tasks.flatMap((task) => task.phases.flatMap((phase) => phase.events));

const distinct = (names: readonly string[]): string[] => [...new Set(names)];

export const servicesOf = (guest: GuestConfig): string[] =>
  distinct(eventsOf(guest).flatMap((event) => (event.kind === 'serve' ? [event.service] : [])));

export function serviceLinks(guests: readonly GuestConfig[]): ServiceLinks {
  const services = guests.flatMap((guest, n) => servicesOf(guest).map((name): Service => ({ guest: n, name })));
  const links = guests.flatMap((guest, client) => {
    const asked = eventsOf(guest).flatMap((event) =>
      event.kind === 'request'
        ? [services.findIndex(({ guest: n, name }) => guests[n]!.name === event.domain && name === event.service)]
        : [],
    );
    return [...new Set(asked)].map((service): Link => ({ client, service }));
  });
  const byService = links.map((_, n) => n).sort((a, b) => links[a]!.service - links[b]!.service || a - b);
  return { services, links, byService };
}

/** How many links lead from or to a guest. */
export function linksOfGuest({ services, links }: ServiceLinks, guest: number, as: 'client' | 'both' = 'both'): number {
  const isServer = ({ service }: Link): boolean => as === 'both' && services[service]?.guest === guest;
  return links.filter((link) => link.client === guest || isServer(link)).length;
}
