/**
 * mmuext_op (xen.h; xen/arch/x86/mm.c): page tables pinned and used, and what pCPUs remember of them.
 *
 * Locking: the page lock of the domain, for each operation on its frames.
 */
import { PAGE_SIZE } from '../../shared/image.js';
import { XEN_EACCES, XEN_EINVAL, XEN_ENOSYS, XEN_EOPNOTSUPP, XEN_EPERM } from '../../shared/public/errno.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import * as X from '../../shared/public/xen.js';
import { mmuext_op } from '../../shared/public/xen-layout.js';
import { MOST_LDT_ENTRIES } from '../mm/descriptors.js';
import { isGuestAddress, PGT } from '../mm/records.js';
import { address64, type CallParts, type Handler } from './call.js';
import { flusher, type Whose } from './flusher.js';
import { pageTableOwner } from './page-table-owner.js';
import { requestList } from './request-list.js';

export function mmuextOp(parts: CallParts): Handler {
  const { context, memory, mm, entries, separation } = parts;
  const { vcpu, domain, regs, image } = context;
  const flush = flusher(parts);
  const list = requestList(parts);
  const { types } = mm.tables;

  interface Op {
    readonly cmd: number;
    readonly arg1Lo: number;
    readonly arg1Hi: number;
    readonly arg2Lo: number;
    readonly arg2Hi: number;
  }

  function read(at: number, is64: boolean): Op {
    const fields = offsetsOf(mmuext_op, is64 ? 64 : 32);
    const high = (where: number): number => (is64 ? memory.u32(where + 4) | 0 : 0);
    const [arg1, arg2] = [at + fields['arg1.linear_addr'], at + fields['arg2.vcpumask']];
    return {
      cmd: memory.u32(at + fields.cmd),
      arg1Lo: memory.u32(arg1) | 0,
      arg1Hi: high(arg1),
      arg2Lo: memory.u32(arg2) | 0,
      arg2Hi: high(arg2),
    };
  }

  /** A frame number of an operation; one above all where it is none. */
  const frameOf = (lo: number, hi: number): number => (hi === 0 ? lo >>> 0 : Infinity);

  /** What is in a frame goes, by CLEAR_PAGE and COPY_PAGE, which is no page table's. */
  function fill(d: number, mfn: number, from: number | undefined): number {
    const { u8 } = image;
    if (from !== undefined && !types.isOwner(from, d)) return -XEN_EINVAL;
    return mm.fill(d, mfn, (to) => {
      if (from === undefined) u8.fill(0, to, to + PAGE_SIZE);
      else u8.copyWithin(to, mm.tables.frame(from), mm.tables.frame(from) + PAGE_SIZE);
    });
  }

  /** Operations of a domain with page tables of its own. @returns 0, or a negated errno */
  function onFrames(v: number, { cmd, arg1Lo, arg1Hi, arg2Lo, arg2Hi }: Op): number {
    const d = vcpu.domain(v);
    const mfn = frameOf(arg1Lo, arg1Hi);
    switch (cmd) {
      case X.MMUEXT_PIN_L1_TABLE:
      case X.MMUEXT_PIN_L2_TABLE:
      case X.MMUEXT_PIN_L3_TABLE:
      case X.MMUEXT_PIN_L4_TABLE:
        return types.pin(mfn, d, PGT.l1_page_table + cmd - X.MMUEXT_PIN_L1_TABLE);
      case X.MMUEXT_UNPIN_TABLE:
        return types.unpin(mfn, d);
      case X.MMUEXT_NEW_BASEPTR:
        return mm.setTable(v, mfn, 'kernel');
      case X.MMUEXT_NEW_USER_BASEPTR:
        return mm.setTable(v, mfn, 'user');
      case X.MMUEXT_CLEAR_PAGE:
        return fill(d, mfn, undefined);
      case X.MMUEXT_COPY_PAGE:
        return fill(d, mfn, frameOf(arg2Lo, arg2Hi));
      case X.MMUEXT_SET_LDT: {
        const count = arg2Lo >>> 0;
        const [lo, hi] = count === 0 ? [0, 0] : [arg1Lo, arg1Hi];
        if ((lo & (PAGE_SIZE - 1)) !== 0 || !isGuestAddress(hi) || count > MOST_LDT_ENTRIES) return -XEN_EINVAL;
        mm.descriptors.dropLdt(v);
        entries.setLdt(v, address64(lo, hi), count);
        return 0;
      }
      case X.MMUEXT_MARK_SUPER:
      case X.MMUEXT_UNMARK_SUPER:
        return -XEN_EOPNOTSUPP;
      default:
        return -XEN_ENOSYS;
    }
  }

  /** What is no address of a guest's is remembered nowhere. @param mask of VCPUs that is not there is a bad argument */
  function forget(v: number, whose: Whose, op: Op, isOne: boolean): number {
    if (isOne && domain.width(vcpu.domain(v)) === 64 && !isGuestAddress(op.arg1Hi) && typeof whose === 'string')
      return 0;
    const page = isOne ? address64(op.arg1Lo, op.arg1Hi) : undefined;
    return flush.flush(v, whose, page) === 0 ? 0 : -XEN_EINVAL;
  }

  function perform(v: number, op: Op): number {
    const named = { maskLo: op.arg2Lo, maskHi: op.arg2Hi };
    switch (op.cmd) {
      case X.MMUEXT_TLB_FLUSH_LOCAL:
      case X.MMUEXT_INVLPG_LOCAL:
        return forget(v, 'own', op, op.cmd === X.MMUEXT_INVLPG_LOCAL);
      case X.MMUEXT_TLB_FLUSH_MULTI:
      case X.MMUEXT_INVLPG_MULTI:
        return forget(v, named, op, op.cmd === X.MMUEXT_INVLPG_MULTI);
      case X.MMUEXT_TLB_FLUSH_ALL:
      case X.MMUEXT_INVLPG_ALL:
        return forget(v, 'all', op, op.cmd === X.MMUEXT_INVLPG_ALL);
      // Caches are not of this machine; Xen refuses those who have no device to keep them right for.
      case X.MMUEXT_FLUSH_CACHE:
      case X.MMUEXT_FLUSH_CACHE_GLOBAL:
        return -XEN_EACCES;
      default:
        return domain.isPaged(vcpu.domain(v)) === 0 ? -XEN_ENOSYS : mm.locked(vcpu.domain(v), () => onFrames(v, op));
    }
  }

  /** What domain 0 does for another domain, which it builds: pages are not its own to use. */
  function performFor(d: number, { cmd, arg1Lo, arg1Hi }: Op): number {
    if (domain.isPaged(d) === 0) return -XEN_EINVAL;
    const mfn = frameOf(arg1Lo, arg1Hi);
    if (cmd >= X.MMUEXT_PIN_L1_TABLE && cmd <= X.MMUEXT_PIN_L4_TABLE)
      return mm.locked(d, () => types.pin(mfn, d, PGT.l1_page_table + cmd - X.MMUEXT_PIN_L1_TABLE));
    return cmd === X.MMUEXT_UNPIN_TABLE ? mm.locked(d, () => types.unpin(mfn, d)) : -XEN_EPERM;
  }

  return (v) => {
    const d = vcpu.domain(v);
    const is64 = domain.width(d) === 64;
    const owner = pageTableOwner(parts, d, regs.lo(v, 3) & 0xffff);
    if (owner < 0) return owner;
    if (owner !== d) separation.connect(d, owner);
    return list(v, sizeOf(mmuext_op, is64 ? 64 : 32), (at) =>
      owner === d ? perform(v, read(at, is64)) : performFor(owner, read(at, is64)),
    );
  };
}
