/** Which VCPUs are to forget translations, as mmuext_op and update_va_mapping say it. */
import { XEN_EFAULT } from '../../shared/public/errno.js';
import * as X from '../../shared/public/xen.js';
import { FAULT } from '../guest-memory.js';
import { isGuestAddress } from '../mm/records.js';
import { address64, type CallParts } from './call.js';

/** VCPUs of a domain: the one that asks, those of a bitmap at an address, or all. */
export type Whose = 'own' | 'all' | { readonly maskLo: number; readonly maskHi: number };

export interface Flusher {
  /** @param page an address of it; undefined = all pages @returns 0, or −EFAULT where the bitmap is not there */
  flush(v: number, whose: Whose, page: bigint | undefined): number;
  /** What the flags of update_va_mapping ask for. @returns 0, or a negated errno */
  forMapping(v: number, addressLo: number, addressHi: number, flagsLo: number, flagsHi: number): number;
}

export function flusher({ context, memory, flushTlb }: CallParts): Flusher {
  const { vcpu, domain } = context;

  /** VCPUs of v's domain whose bits are set in a bitmap; undefined where it is not there. */
  function named(v: number, lo: number, hi: number): number[] | undefined {
    const d = vcpu.domain(v);
    const count = domain.maxVcpus(d);
    const mask = memory.translate(d, lo, hi, Math.ceil(count / 8));
    if (mask === FAULT) return undefined;
    const bits = memory.bytes(mask, Math.ceil(count / 8));
    return Array.from({ length: count }, (_, n) => n).filter((n) => ((bits[n >> 3]! >> (n & 7)) & 1) !== 0);
  }

  function flush(v: number, whose: Whose, page: bigint | undefined): number {
    const d = vcpu.domain(v);
    if (whose === 'own') {
      flushTlb(v, page);
      return 0;
    }
    const ids =
      whose === 'all' ? Array.from({ length: domain.maxVcpus(d) }, (_, n) => n) : named(v, whose.maskLo, whose.maskHi);
    if (ids === undefined) return -XEN_EFAULT;
    for (const id of ids) flushTlb(domain.firstVcpu(d) + id, page);
    return 0;
  }

  return {
    flush,
    forMapping(v, addressLo, addressHi, flagsLo, flagsHi) {
      const type = flagsLo & X.UVMF_FLUSHTYPE_MASK;
      // What is no kind of flush is none.
      if (type !== X.UVMF_TLB_FLUSH && (type !== X.UVMF_INVLPG || !isGuestAddress(addressHi))) return 0;
      const page = type === X.UVMF_INVLPG ? address64(addressLo, addressHi) : undefined;
      const rest = flagsLo & ~X.UVMF_FLUSHTYPE_MASK;
      if (flagsHi === 0 && rest === X.UVMF_LOCAL) return flush(v, 'own', page);
      if (flagsHi === 0 && rest === X.UVMF_ALL) return flush(v, 'all', page);
      return flush(v, { maskLo: rest, maskHi: flagsHi }, page);
    },
  };
}
