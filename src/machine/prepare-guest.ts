/** A domain that nobody knew of when the machine was laid: its workload is written into the room that was kept for such. */
import { modelMemory } from '../pcpu/model/memory.js';
import { EVENT, PHASE, RESOURCE, TASK } from '../pcpu/model/records.js';
import { type BuiltMachine, guestAreas, loadGuest } from './build.js';
import { findConfigProblem } from './check-config.js';
import { boots, type GuestConfig, type MachineConfig, mostVcpus } from './config.js';
import { sizeOfWorkload } from './load-workload.js';

/** It asks nobody and serves nobody: channels between domains are laid with the machine. */
const NO_LINKS = { link: () => -1, service: () => -1, deviceNames: [] };

/**
 * Writes what the kernel of a new domain will find when it boots. The machine may be running: nobody looks there before the domain is made.
 * @returns its number
 * @throws RangeError when there is no room, or the guest cannot be
 */
export function prepareGuest(
  { image, shape, core, cursor }: BuiltMachine,
  config: MachineConfig,
  guest: GuestConfig,
): number {
  // One of the configuration may be there again.
  const later = boots(guest) ? { ...guest, boot: false } : guest;
  const guests = [...config.guests, later];
  const problem = findConfigProblem({ ...config, guests, spareDomains: 0, spareVcpus: 0 });
  if (problem !== undefined) throw new RangeError(problem.message);
  const d = cursor.domain;
  const areas = guestAreas(mostVcpus(guest));
  if (d >= shape.hv.domains || areas.pages > shape.hv.framesPerDomain)
    throw new RangeError('no room for another domain');
  const size = sizeOfWorkload(guest.workload);
  const timers = mostVcpus(guest) * (size.tasks + 1);
  const fits =
    cursor.task + size.tasks + 1 <= image.region(TASK.name).count &&
    cursor.phase + size.phases <= image.region(PHASE.name).count &&
    cursor.event + size.events <= image.region(EVENT.name).count &&
    cursor.resource + size.resources <= image.region(RESOURCE.name).count &&
    cursor.timerSlot + timers <= image.region('task-timer-queues').count;
  if (!fits) throw new RangeError('no room for the workload of another domain');
  cursor.domain++;
  loadGuest(modelMemory(image, core.hv), cursor, d, later, areas, NO_LINKS, true);
  return d;
}
