/** Whose frames mmu_update and mmuext_op are about. */
import { XEN_EPERM, XEN_ESRCH } from '../../shared/public/errno.js';
import { DOMID_IO, DOMID_SELF, DOMID_XEN } from '../../shared/public/xen.js';
import type { CallParts } from './call.js';
import { PRIVILEGED } from './toolstack.js';

/**
 * Whose frames domain d means by this number (xen/arch/x86/mm.c: get_pg_owner): its own, which it must not name by number, or, if it is
 * domain 0, another's. @returns its record; −ESRCH: there is none; −EPERM
 */
export function pageTableOwner({ context, domains }: CallParts, d: number, domid: number): number {
  if (domid === DOMID_SELF) return d;
  if (domid === context.domain.id(d)) return -XEN_ESRCH;
  if (domid === DOMID_IO || domid === DOMID_XEN) return -XEN_EPERM;
  const owner = domains.find(domid);
  if (owner < 0) return -XEN_ESRCH;
  return d === PRIVILEGED && domains.isAlive(owner) ? owner : -XEN_EPERM;
}
