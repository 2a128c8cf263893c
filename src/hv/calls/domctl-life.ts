/** domctl: how domains begin, pause and end, what they may have of memory, and what is known of them (S23, S24). */
import { DEFAULT_WEIGHT, MAX_VIRT_CPUS } from '../../shared/limits.js';
import { XEN_DOMCTL_CDF_hap, XEN_DOMCTL_CDF_hvm, XEN_DOMCTL_CDF_MAX } from '../../shared/public/domctl.js';
import { xen_arch_domainconfig, xen_domctl } from '../../shared/public/domctl-layout.js';
import { XEN_EACCES, XEN_EEXIST, XEN_EINVAL, XEN_ENOMEM, XEN_EOVERFLOW, XEN_ESRCH } from '../../shared/public/errno.js';
import { offsetsOf } from '../../shared/public/layout.js';
import { DOMID_FIRST_RESERVED } from '../../shared/public/xen.js';
import type { SedfSpec } from '../domain.js';
import { writeHypercallPage } from '../hypercall-page.js';
import { DOMAIN_STATE, NOBODY, VPF_domain_paused } from '../records.js';
import type { CallParts } from './call.js';
import { writeDomainInfo } from './domain-info.js';
import type { DomctlHandler } from './toolstack.js';

/** What Xen 3.0.4 makes of a domain that nobody said anything about: extra time only. */
const SEDF_DEFAULT: SedfSpec = { periodNs: 100e6, sliceNs: 0, latencyNs: 0, extratime: true, weight: 1 };
/** Xen keeps the count in a byte. */
const MAX_PAUSE_COUNT = 255;
const KIB_PER_PAGE = 4;

export function domctlLife(parts: CallParts) {
  const { context, memory, mm, domains, destruction, frames, sched, cpupools } = parts;
  const { domain, vcpu, host, shape, image } = context;
  const AT = offsetsOf(xen_domctl, 64);
  const ARCH = offsetsOf(xen_arch_domainconfig, 64);

  /** The next number after the last one given that nobody has; NOBODY when all are taken. */
  function nextId(): number {
    const last = host.lastDomid(0);
    for (let n = 1; n < DOMID_FIRST_RESERVED; n++) {
      const id = ((last + n - 1) % (DOMID_FIRST_RESERVED - 1)) + 1;
      if (domains.find(id) === NOBODY) return id;
    }
    return NOBODY;
  }

  /** Frames of the image for a domain with this record that is machine code, which only the domain of the same number can be; 0. */
  const kernelFrames = (d: number): number => shape.kernelFrames[d] ?? 0;

  /** A free record, that of the same number if it can be had; NOBODY. Domain 0's is its own. */
  function freeRecord(id: number): number {
    if (id < shape.domains && domain.state(id) === DOMAIN_STATE.free) return id;
    for (let d = 1; d < shape.domains; d++)
      if (domain.state(d) === DOMAIN_STATE.free && kernelFrames(d) === 0) return d;
    return NOBODY;
  }

  function poolHasCpus(id: number): boolean {
    const pool = cpupools.info(id);
    return pool?.id === id && pool.cpus.length > 0;
  }

  /** What of a new domain's configuration this hypervisor has not got. */
  function isImpossible(op: number): boolean {
    const flags = memory.u32(op + AT['u.createdomain.flags']);
    const vcpus = memory.u32(op + AT['u.createdomain.max_vcpus']);
    const arch = op + AT['u.createdomain.arch'];
    return (
      flags >= 2 * XEN_DOMCTL_CDF_MAX ||
      (flags & (XEN_DOMCTL_CDF_hvm | XEN_DOMCTL_CDF_hap)) !== 0 ||
      vcpus < 1 ||
      vcpus > MAX_VIRT_CPUS ||
      !poolHasCpus(memory.u32(op + AT['u.createdomain.cpupool_id'])) ||
      memory.u32(op + AT['u.createdomain.vmtrace_size']) !== 0 ||
      // Devices that Xen plays are for HVM domains.
      memory.u32(arch + ARCH.emulation_flags) !== 0 ||
      memory.u32(arch + ARCH.misc_flags) !== 0
    );
  }

  const createdomain: DomctlHandler = (_v, op) => {
    const wish = memory.u16(op + AT.domain);
    const isWish = wish > 0 && wish < DOMID_FIRST_RESERVED;
    if (isWish && domains.find(wish) !== NOBODY) return -XEN_EEXIST;
    const id = isWish ? wish : nextId();
    const d = id === NOBODY ? NOBODY : freeRecord(id);
    if (d === NOBODY) return -XEN_ENOMEM;
    if (isImpossible(op)) return -XEN_EINVAL;
    const isMade = domains.create(d, {
      id,
      pool: memory.u32(op + AT['u.createdomain.cpupool_id']),
      width: 64,
      vcpus: memory.u32(op + AT['u.createdomain.max_vcpus']),
      weight: DEFAULT_WEIGHT,
      cap: 0,
      sedf: SEDF_DEFAULT,
      backedFrames: kernelFrames(d) || shape.framesPerDomain,
      isPaused: true,
      isPaged: kernelFrames(d) > 0,
    });
    if (!isMade) return -XEN_ENOMEM;
    if (kernelFrames(d) > 0) {
      mm.begin(d);
      mm.reservation.withhold(d);
    }
    if (!isWish) host.setLastDomid(0, id);
    for (let k = 0; k < 4; k++) domain.setHandle(d, k, memory.u32(op + AT['u.createdomain.handle'] + 4 * k));
    memory.setU16(op + AT.domain, id);
    return 0;
  };

  const destroydomain: DomctlHandler = (v, _op, d) => {
    if (d === vcpu.domain(v)) return -XEN_EINVAL;
    destruction.destroy(d);
    return 0;
  };

  const forEachVcpu = (d: number, act: (v: number) => void): void => {
    for (let k = 0; k < domain.maxVcpus(d); k++) act(domain.firstVcpu(d) + k);
  };

  const pausedomain: DomctlHandler = (v, _op, d) => {
    if (d === vcpu.domain(v)) return -XEN_EINVAL;
    if (domain.pauseCount(d) === MAX_PAUSE_COUNT) return -XEN_EOVERFLOW;
    domain.addPauseCount(d, 1);
    if (domain.pauseCount(d) === 1) forEachVcpu(d, (w) => sched.sleep(w, VPF_domain_paused));
    return 0;
  };

  const unpausedomain: DomctlHandler = (_v, _op, d) => {
    if (domain.pauseCount(d) === 0) return -XEN_EINVAL;
    domain.addPauseCount(d, -1);
    if (domain.pauseCount(d) === 0) forEachVcpu(d, (w) => sched.clearFlag(w, VPF_domain_paused));
    return 0;
  };

  /** The domain of that number, or the next one. */
  const getdomaininfo: DomctlHandler = (_v, op) => {
    const from = memory.u16(op + AT.domain);
    if (from >= DOMID_FIRST_RESERVED) return -XEN_EINVAL;
    let [found, least] = [NOBODY, DOMID_FIRST_RESERVED];
    for (let d = 0; d < shape.domains; d++) {
      const id = domain.id(d);
      if (domain.state(d) !== DOMAIN_STATE.free && id >= from && id < least) [found, least] = [d, id];
    }
    if (found === NOBODY) return -XEN_ESRCH;
    writeDomainInfo(parts, found, op + AT['u.getdomaininfo']);
    memory.setU16(op + AT.domain, least);
    return 0;
  };

  const maxMem: DomctlHandler = (_v, op, d) => {
    frames.limit(d, Math.floor(memory.u64(op + AT['u.max_mem.max_memkb']) / KIB_PER_PAGE));
    return 0;
  };

  /** Makes a page of the domain's memory its hypercall page. */
  const hypercallInit: DomctlHandler = (_v, op, d) => {
    if (domain.isPaged(d) === 0) return -XEN_EACCES;
    const gmfn = memory.u64(op + AT['u.hypercall_init.gmfn']);
    const rc = mm.locked(d, () => mm.fill(d, gmfn, (page) => writeHypercallPage(image.u8, page)));
    return rc === 0 ? 0 : -XEN_EACCES;
  };

  const setdomainhandle: DomctlHandler = (_v, op, d) => {
    for (let k = 0; k < 4; k++) domain.setHandle(d, k, memory.u32(op + AT['u.setdomainhandle.handle'] + 4 * k));
    return 0;
  };

  /** A domain changes its width before it has any memory. */
  const setAddressSize: DomctlHandler = (_v, op, d) => {
    const size = memory.u32(op + AT['u.address_size.size']);
    if ((size !== 32 && size !== 64) || (size === 32 && domain.isPaged(d) !== 0)) return -XEN_EINVAL;
    if (size === domain.width(d)) return 0;
    if (domain.totPages(d) > 0) return -XEN_EACCES;
    domains.setWidth(d, size);
    return 0;
  };

  const getAddressSize: DomctlHandler = (_v, op, d) => {
    memory.setU32(op + AT['u.address_size.size'], domain.width(d));
    return 0;
  };

  return {
    createdomain,
    destroydomain,
    pausedomain,
    unpausedomain,
    getdomaininfo,
    maxMem,
    hypercallInit,
    setdomainhandle,
    setAddressSize,
    getAddressSize,
  };
}
