/** A domain as its toolstack sees it (xen_domctl_getdomaininfo). */
import { PAGE_SIZE } from '../../shared/image.js';
import {
  XEN_DOMINF_blocked,
  XEN_DOMINF_dying,
  XEN_DOMINF_paused,
  XEN_DOMINF_running,
  XEN_DOMINF_shutdown,
  XEN_DOMINF_shutdownshift,
  XEN_INVALID_MAX_VCPU_ID,
} from '../../shared/public/domctl.js';
import { xen_domctl_getdomaininfo } from '../../shared/public/domctl-layout.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import { RUNSTATE_running } from '../../shared/public/vcpu.js';
import { DOMAIN_STATE, VPF_blocked, VPF_down } from '../records.js';
import type { CallParts } from './call.js';

export const DOMAIN_INFO_BYTES = sizeOf(xen_domctl_getdomaininfo, 64);

/** Writes what is to be known of domain d at image address `at`. */
export function writeDomainInfo({ context, memory, sched, runstates }: CallParts, d: number, at: number): void {
  const { domain, vcpu, queues, image } = context;
  const INFO = offsetsOf(xen_domctl_getdomaininfo, 64);
  let [cpuTimeNs, online, isRunning, isBlocked] = [0, 0, false, true];
  for (let k = 0; k < domain.maxVcpus(d); k++) {
    const v = domain.firstVcpu(d) + k;
    // Its times are whole under its lock only.
    sched.locked(v, () => {
      cpuTimeNs += runstates.timeIn(v, RUNSTATE_running);
    });
    const flags = vcpu.pauseFlags(v);
    if ((flags & VPF_down) !== 0) continue;
    online++;
    if ((flags & VPF_blocked) === 0) isBlocked = false;
    if (queues.entry.isRunning(v) !== 0) isRunning = true;
  }
  // Blocked is a domain all of whose VCPUs are, running one of which one is.
  let flags = online > 0 ? (isBlocked ? XEN_DOMINF_blocked : 0) | (isRunning ? XEN_DOMINF_running : 0) : 0;
  if (domain.state(d) === DOMAIN_STATE.dying) flags |= XEN_DOMINF_dying;
  if (domain.pauseCount(d) > 0) flags |= XEN_DOMINF_paused;
  if (domain.isShutDown(d) !== 0) {
    flags |= XEN_DOMINF_shutdown | (domain.shutdownCode(d) << XEN_DOMINF_shutdownshift);
  }
  image.u8.fill(0, at, at + DOMAIN_INFO_BYTES);
  memory.setU16(at + INFO.domain, domain.id(d));
  memory.setU32(at + INFO.flags, flags);
  memory.setU64(at + INFO.tot_pages, domain.totPages(d));
  memory.setU64(at + INFO.max_pages, domain.maxPages(d));
  memory.setU64(at + INFO.shared_info_frame, (domain.sharedInfo(d) - image.region('frames').base) / PAGE_SIZE);
  memory.setU64(at + INFO.cpu_time, Math.floor(cpuTimeNs));
  memory.setU32(at + INFO.nr_online_vcpus, online);
  memory.setU32(at + INFO.max_vcpu_id, domain.maxVcpus(d) > 0 ? domain.maxVcpus(d) - 1 : XEN_INVALID_MAX_VCPU_ID);
  memory.setU32(at + INFO.cpupool, domain.pool(d));
  for (let k = 0; k < 4; k++) memory.setU32(at + INFO.handle + 4 * k, domain.handle(d, k));
}
