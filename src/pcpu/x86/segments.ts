/**
 * Segment registers as 64-bit code in ring 3 can load them (Intel SDM vol. 2, MOV; vol. 3, 5.6): with null selectors, but for SS, with those of
 * the flat segments of ring 3 that the hypervisor provides, and with those of the guest's own tables. A selector has no effect but that FS
 * and GS get the segment's base. A null selector leaves their base as it is, as AMD's processors do whose CPUID does not name
 * NullSelectorClearsBase; on Intel's it is 0 then.
 *
 * A page of a local table that the hypervisor does not know yet ends the run: it is looked for, and the instruction begins anew.
 */
import type { Image } from '../../shared/image.js';
import { FLAT_RING3_CS32, FLAT_RING3_CS64, FLAT_RING3_DS32 } from '../../shared/public/arch-x86.js';
import {
  ACCESSED,
  type FlatSelectors,
  flatSegments,
  LOCAL,
  RPL,
  type Segment,
  segmentOf,
} from './segment-descriptors.js';
import { REC, SEGMENT, SEGMENT_LOOK, ST, VECTOR } from './state.js';

export const XEN_SELECTORS: FlatSelectors = {
  code: [FLAT_RING3_CS32[64], FLAT_RING3_CS64[64]],
  data: [FLAT_RING3_DS32[64]],
};

/**
 * A guest's own tables: image address of the descriptor that a selector names; 0: there is none; −1: it is in a page of the local table
 * that is not known yet.
 */
export type OwnDescriptors = (st: number, selector: number) => number;

/** Where `kind` is not what a segment is for. */
type Purpose = 'code' | 'stack' | 'data';

export interface Segments {
  /** Loads `address` of the block into the segment register of the VCPU's record. False: an exception is set up. */
  load(st: number): boolean;
  /** The same of a register by its number, SS and CS apart, and where the base goes, if there is one. */
  loadData(st: number, segment: number, selector: number, base: number | undefined): boolean;
  /** What is known of the segment that `address` of the block names, for LAR, LSL, VERR and VERW: see SEGMENT_LOOK. */
  look(st: number): boolean;
  /** Whether 64-bit code may go on with these. False: an exception is set up. */
  mayReturnTo(st: number, cs: number, ss: number): boolean;
}

export function segments({ buffer, i32 }: Image, selectors: FlatSelectors, own: OwnDescriptors | undefined): Segments {
  const view = new DataView(buffer);
  const flat = flatSegments(selectors);

  function raise(st: number, vector: number, errorCode: number): undefined {
    view.setInt32(st + ST.vector, vector, true);
    view.setInt32(st + ST.errorCode, errorCode, true);
    return undefined;
  }

  /** `kept`: its page is to be found first, and an exception is set up. */
  function find(st: number, selector: number): { readonly segment: Segment; readonly at: number } | 'none' | 'kept' {
    if ((selector & ~RPL) === 0) return 'none';
    const provided = flat.get(selector | RPL);
    if (provided !== undefined) return { segment: provided, at: 0 };
    const at = own?.(st, selector) ?? 0;
    if (at < 0) {
      raise(st, VECTOR.localTable, selector & ~(RPL | LOCAL));
      return 'kept';
    }
    const segment = at === 0 ? undefined : segmentOf(i32[at >> 2]!, i32[(at >> 2) + 1]!);
    return segment === undefined ? 'none' : { segment, at };
  }

  /** The segment, if it is for that; undefined: an exception is set up. */
  function usable(st: number, selector: number, purpose: Purpose): Segment | undefined {
    const found = find(st, selector);
    if (found === 'kept') return undefined;
    const asked = selector & RPL;
    const code = selector & ~RPL;
    if (found === 'none') return raise(st, VECTOR.GP, code);
    const { segment, at } = found;
    const isFor =
      purpose === 'code'
        ? // 32-bit code has no core to run it.
          segment.isLong && segment.isCode && asked === RPL && (segment.isConforming || segment.dpl === RPL)
        : purpose === 'stack'
          ? segment.isWritable && segment.dpl === RPL && asked === RPL
          : segment.isReadable && (segment.isConforming || segment.dpl === RPL);
    if (!isFor) return raise(st, VECTOR.GP, code);
    if (!segment.isPresent) return raise(st, purpose === 'stack' ? VECTOR.SS : VECTOR.NP, code);
    if (at !== 0 && (segment.rights & ACCESSED) === 0) Atomics.or(i32, (at >> 2) + 1, ACCESSED);
    return segment;
  }

  function loadData(st: number, register: number, selector: number, base: number | undefined): boolean {
    const isNull = (selector & ~RPL) === 0;
    const segment = isNull ? undefined : usable(st, selector, 'data');
    if (!isNull && segment === undefined) return false;
    view.setUint16(st + ST.selectors + 2 * register, selector, true);
    if (segment !== undefined && base !== undefined) view.setBigUint64(st + base, segment.base, true);
    return true;
  }

  return {
    load(st) {
      const at = view.getUint16(view.getInt32(st + ST.record, true) + REC.operand0, true);
      const selector = view.getUint16(st + ST.address, true);
      const register = (at - ST.selectors) / 2;
      switch (register) {
        case SEGMENT.CS:
          raise(st, VECTOR.UD, 0);
          return false;
        case SEGMENT.SS:
          if (usable(st, selector, 'stack') === undefined) return false;
          view.setUint16(st + at, selector, true);
          view.setInt32(st + ST.shadow, 1, true);
          return true;
        case SEGMENT.FS:
          return loadData(st, register, selector, ST.fsBase);
        case SEGMENT.GS:
          return loadData(st, register, selector, ST.gsBase);
        default:
          return loadData(st, register, selector, undefined);
      }
    },
    loadData,
    look(st) {
      const selector = view.getUint16(st + ST.address, true);
      const found = find(st, selector);
      if (found === 'kept') return false;
      const segment = found === 'none' ? undefined : found.segment;
      const isVisible = segment !== undefined && (segment.isConforming || segment.dpl === RPL);
      const kinds = !isVisible
        ? 0
        : SEGMENT_LOOK.visible |
          (segment.isReadable ? SEGMENT_LOOK.readable : 0) |
          (segment.isWritable ? SEGMENT_LOOK.writable : 0);
      view.setBigUint64(st + ST.value, BigInt(kinds), true);
      view.setBigUint64(st + ST.value + 8, BigInt(segment?.rights ?? 0), true);
      view.setBigUint64(st + ST.address, BigInt(segment?.limit ?? 0), true);
      return true;
    },
    mayReturnTo: (st, cs, ss) => usable(st, cs, 'code') !== undefined && usable(st, ss, 'stack') !== undefined,
  };
}
