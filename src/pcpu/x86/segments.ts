/**
 * Segment registers as 64-bit code in ring 3 can load them (Intel SDM vol. 2, MOV; vol. 3, 5.6): with null selectors, but for SS, and with
 * those of the flat segments of ring 3 that the hypervisor provides. There are no descriptor tables of a guest's own: any other selector is
 * #GP. A selector has no effect but that FS and GS get the segment's base, 0. A null selector leaves their base as it is, as AMD's
 * processors do whose CPUID does not name NullSelectorClearsBase; on Intel's it is 0 then.
 */
import type { Image } from '../../shared/image.js';
import { FLAT_RING3_CS32, FLAT_RING3_CS64, FLAT_RING3_DS32 } from '../../shared/public/arch-x86.js';
import { REC, SEGMENT, ST, VECTOR } from './state.js';

/** Selectors of the flat segments for ring 3, which is what they ask for. */
export interface FlatSelectors {
  readonly code: readonly number[];
  readonly data: readonly number[];
}

export const XEN_SELECTORS: FlatSelectors = {
  code: [FLAT_RING3_CS32[64], FLAT_RING3_CS64[64]],
  data: [FLAT_RING3_DS32[64]],
};

/** Who asks for a segment, in a selector's lowest bits. */
const RPL = 3;

/** @returns loads `address` of the block into the segment register of the VCPU's record; false: an exception is set up */
export function segments({ buffer }: Image, { code, data }: FlatSelectors): (st: number) => boolean {
  const view = new DataView(buffer);

  function raise(st: number, vector: number, errorCode: number): false {
    view.setInt32(st + ST.vector, vector, true);
    view.setInt32(st + ST.errorCode, errorCode, true);
    return false;
  }

  return (st) => {
    const at = view.getUint16(view.getInt32(st + ST.record, true) + REC.operand0, true);
    const selector = view.getUint16(st + ST.address, true);
    const segment = (at - ST.selectors) / 2;
    if (segment === SEGMENT.CS) return raise(st, VECTOR.UD, 0);
    const isNull = (selector & ~RPL) === 0;
    const isAllowed =
      segment === SEGMENT.SS ? data.includes(selector) : isNull || [...code, ...data].includes(selector | RPL);
    if (!isAllowed) return raise(st, VECTOR.GP, selector & ~RPL);
    view.setUint16(st + at, selector, true);
    if (segment === SEGMENT.SS) view.setInt32(st + ST.shadow, 1, true);
    else if (!isNull && segment === SEGMENT.FS) view.setBigUint64(st + ST.fsBase, 0n, true);
    else if (!isNull && segment === SEGMENT.GS) view.setBigUint64(st + ST.gsBase, 0n, true);
    return true;
  };
}
