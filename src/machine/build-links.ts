/** Writes the links between clients and services into the image: everything about them that does not change. */
import type { ModelMemory } from '../pcpu/model/memory.js';
import { rings } from '../pcpu/model/rings.js';
import { PAGE_SIZE } from '../shared/image.js';
import { domainNumber, type GuestConfig } from './config.js';
import type { RequestNumbers } from './load-workload.js';
import type { ServiceLinks } from './service-links.js';

/** What requests of a guest are lowered to. */
export function requestNumbers(
  guests: readonly GuestConfig[],
  all: ServiceLinks,
  guest: number,
): Omit<RequestNumbers, 'deviceNames'> {
  const { services, links } = all;
  const serviceOf = (n: number, name: string): number =>
    services.findIndex((service) => service.guest === n && service.name === name);
  return {
    service: (name) => serviceOf(guest, name),
    link(domain, name) {
      const server = guests.findIndex((each) => each.name === domain);
      const service = serviceOf(server, name);
      return links.findIndex((link) => link.client === guest && link.service === service);
    },
  };
}

/** @param ringsOf image address of each guest's first ring */
export function buildLinks(
  mem: ModelMemory,
  guests: readonly GuestConfig[],
  { services, links, byService }: ServiceLinks,
  ringsOf: readonly number[],
): void {
  const { kd, service, front, back, hv } = mem;
  const { init } = rings(hv.context);
  for (const [n] of guests.entries()) {
    const d = domainNumber(guests, n);
    const isServer = (b: number): boolean => services[links[b]!.service]!.guest === n;
    kd.setFirstFront(
      d,
      Math.max(
        0,
        links.findIndex(({ client }) => client === n),
      ),
    );
    kd.setFronts(d, links.filter(({ client }) => client === n).length);
    kd.setFirstBack(d, Math.max(0, byService.findIndex(isServer)));
    kd.setBacks(d, byService.filter(isServer).length);
  }
  for (const [b, link] of byService.entries()) {
    const { client, service: s } = links[link]!;
    const ring = ringsOf[client]! + (link - links.findIndex((each) => each.client === client)) * PAGE_SIZE;
    init(ring);
    front.setBack(link, b);
    front.setRing(link, ring);
    back.setClient(b, domainNumber(guests, client));
    back.setServer(b, domainNumber(guests, services[s]!.guest));
    back.setService(b, s);
    back.setRing(b, ring);
    if (service.backs(s) === 0) service.setFirstBack(s, b);
    service.addBacks(s, 1);
  }
}
