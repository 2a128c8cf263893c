/** mmuext_op, as far as it is about translations that pCPUs remember (xen.h; xen/arch/x86/mm.c): what a page table said before. */
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EPERM } from '../../shared/public/errno.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import * as X from '../../shared/public/xen.js';
import { mmuext_op } from '../../shared/public/xen-layout.js';
import { FAULT } from '../guest-memory.js';
import { address64, type CallParts, type Handler, pointer } from './call.js';

/** More are not looked at in one call. */
const MOST_OPS = 1 << 16;

/** Whose translations go, and whether all or those of one page. */
const FLUSHES: Readonly<Record<number, { readonly whose: 'own' | 'named' | 'all'; readonly isPage: boolean }>> = {
  [X.MMUEXT_TLB_FLUSH_LOCAL]: { whose: 'own', isPage: false },
  [X.MMUEXT_INVLPG_LOCAL]: { whose: 'own', isPage: true },
  [X.MMUEXT_TLB_FLUSH_MULTI]: { whose: 'named', isPage: false },
  [X.MMUEXT_INVLPG_MULTI]: { whose: 'named', isPage: true },
  [X.MMUEXT_TLB_FLUSH_ALL]: { whose: 'all', isPage: false },
  [X.MMUEXT_INVLPG_ALL]: { whose: 'all', isPage: true },
};

export function mmuextOp(parts: CallParts): Handler {
  const { context, memory, flushTlb } = parts;
  const { vcpu, domain, regs } = context;

  /** VCPUs of v's domain whose bits are set in the bitmap that an operation points to; undefined where it is not there. */
  function namedVcpus(v: number, at: number): number[] | undefined {
    const d = vcpu.domain(v);
    const count = domain.maxVcpus(d);
    const mask = memory.translateAt(d, at, Math.ceil(count / 8));
    if (mask === FAULT) return undefined;
    const bits = memory.bytes(mask, Math.ceil(count / 8));
    return Array.from({ length: count }, (_, n) => n).filter((n) => ((bits[n >> 3]! >> (n & 7)) & 1) !== 0);
  }

  /** @returns 0, or a negated errno */
  function flush(v: number, op: number): number {
    const d = vcpu.domain(v);
    const at = offsetsOf(mmuext_op, domain.width(d) === 64 ? 64 : 32);
    const flushes = FLUSHES[memory.u32(op + at.cmd)];
    if (flushes === undefined) return -XEN_ENOSYS;
    const { whose, isPage } = flushes;
    const everyone = Array.from({ length: domain.maxVcpus(d) }, (_, n) => n);
    const ids = whose === 'own' ? [vcpu.id(v)] : whose === 'all' ? everyone : namedVcpus(v, op + at['arg2.vcpumask']);
    if (ids === undefined) return -XEN_EFAULT;
    const high = domain.width(d) === 64 ? memory.u32(op + at['arg1.linear_addr'] + 4) : 0;
    const page = isPage ? address64(memory.u32(op + at['arg1.linear_addr']), high) : undefined;
    for (const id of ids) flushTlb(domain.firstVcpu(d) + id, page);
    return 0;
  }

  return (v) => {
    const d = vcpu.domain(v);
    const count = regs.lo(v, 1) >>> 0;
    const foreign = regs.lo(v, 3) & 0xffff;
    if (foreign !== X.DOMID_SELF && foreign !== domain.id(d)) return -XEN_EPERM;
    if (count > MOST_OPS) return -XEN_EINVAL;
    const bytes = sizeOf(mmuext_op, domain.width(d) === 64 ? 64 : 32);
    const list = pointer(parts, v, 0, count * bytes);
    if (list === FAULT && count > 0) return -XEN_EFAULT;
    const isTold = regs.lo(v, 2) !== 0 || regs.hi(v, 2) !== 0;
    const told = isTold ? pointer(parts, v, 2, 4) : FAULT;
    if (isTold && told === FAULT) return -XEN_EFAULT;
    let [done, result] = [0, 0];
    for (; done < count && result === 0; done++) result = flush(v, list + done * bytes);
    if (isTold) memory.setU32(told, result === 0 ? done : done - 1);
    return result;
  };
}
