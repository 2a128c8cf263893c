/**
 * memory_op of domain 0 about frames of others in its physical map: XENMEM_add_to_physmap_batch and XENMEM_remove_from_physmap (memory.h;
 * xen/common/memory.c), by which its toolstack builds domains and its daemons reach their rings (Linux's privcmd of a translated domain 0).
 */
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EOPNOTSUPP, XEN_EPERM, XEN_ESRCH } from '../../shared/public/errno.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import * as M from '../../shared/public/memory.js';
import { DOMID_SELF } from '../../shared/public/xen.js';
import { WAITS } from '../grants/exposure.js';
import { FAULT } from '../guest-memory.js';
import { NOBODY } from '../records.js';
import { type CallParts, pointer } from './call.js';
import { PRIVILEGED } from './toolstack.js';

/** @returns what these commands do for VCPU v, whose domain's frame numbers are translated */
export function foreignMemory(parts: CallParts): (v: number, cmd: number) => number {
  const { context, memory, domains, foreign, separation, stall } = parts;
  const { vcpu, domain, params } = context;
  const BATCH = offsetsOf(M.xen_add_to_physmap_batch, 64);
  const REMOVE = offsetsOf(M.xen_remove_from_physmap, 64);

  /** Whether v may change the physical map of the domain of this number, which is its own. @returns 0, or a negated errno */
  function mayChange(v: number, domid: number): number {
    const own = vcpu.domain(v);
    if (domid !== DOMID_SELF && domains.find(domid) === NOBODY) return -XEN_ESRCH;
    if (own !== PRIVILEGED || domain.width(own) !== 64) return -XEN_EPERM;
    return domid === DOMID_SELF || domid === domain.id(own) ? 0 : -XEN_EPERM;
  }

  function addBatch(v: number): number {
    const arg = pointer(parts, v, 1, sizeOf(M.xen_add_to_physmap_batch, 64));
    if (arg === FAULT) return -XEN_EFAULT;
    const own = vcpu.domain(v);
    const rc = mayChange(v, memory.u16(arg + BATCH.domid));
    if (rc !== 0) return rc;
    if (memory.u16(arg + BATCH.space) !== M.XENMAPSPACE_gmfn_foreign) return -XEN_EOPNOTSUPP;
    const d = domains.find(memory.u16(arg + BATCH['u.foreign_domid']));
    if (d === NOBODY || !domains.isAlive(d)) return -XEN_ESRCH;
    if (d === own || domain.isPaged(d) === 0) return -XEN_EINVAL;
    const count = memory.u16(arg + BATCH.size);
    const idxs = memory.translateAt(own, arg + BATCH.idxs, 8 * count);
    const gpfns = memory.translateAt(own, arg + BATCH.gpfns, 8 * count);
    const errs = memory.translateAt(own, arg + BATCH.errs, 4 * count);
    if (idxs === FAULT || gpfns === FAULT || errs === FAULT) return -XEN_EFAULT;
    separation.connect(own, d);
    let mustWait = false;
    for (let n = 0; n < count; n++) {
      const { rc, waits } = foreign.map(memory.u64(gpfns + 8 * n), d, memory.u64(idxs + 8 * n));
      memory.setU32(errs + 4 * n, rc);
      if (waits) mustWait = true;
    }
    if (mustWait) stall(v, WAITS * params.latencyNs + 1);
    return 0;
  }

  function remove(v: number): number {
    const arg = pointer(parts, v, 1, sizeOf(M.xen_remove_from_physmap, 64));
    if (arg === FAULT) return -XEN_EFAULT;
    const rc = mayChange(v, memory.u16(arg + REMOVE.domid));
    return rc === 0 ? foreign.unmap(memory.u64(arg + REMOVE.gpfn)) : rc;
  }

  return (v, cmd) => {
    if (cmd === M.XENMEM_add_to_physmap_batch) return addBatch(v);
    return cmd === M.XENMEM_remove_from_physmap ? remove(v) : -XEN_ENOSYS;
  };
}
