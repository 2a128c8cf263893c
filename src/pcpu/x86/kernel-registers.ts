/** Registers that a kernel sets by hypercalls (xen/arch/x86/pv/misc-hypercalls.c): bases of segments, CR0.TS, debug registers. */
import type { Image } from '../../shared/image.js';
import { SEGBASE_FS, SEGBASE_GS_KERNEL, SEGBASE_GS_USER } from '../../shared/public/arch-x86.js';
import { XEN_ENODEV } from '../../shared/public/errno.js';
import type { X86Core } from './core.js';
import { RPL } from './segment-descriptors.js';
import { SEGMENT, ST, VECTOR } from './state.js';
import { setTs } from './task-switched.js';

export interface KernelRegisters {
  /** See GuestEntries in hv/calls/call.ts. The VCPU's kernel runs. */
  setSegmentBase(v: number, which: number, base: bigint): void;
  setTaskSwitched(v: number, isSet: boolean): void;
  setDebugRegister(v: number, n: number, x: bigint): number;
  debugRegister(v: number, n: number): bigint | undefined;
}

const DEBUG_REGISTERS = 8;

/** @param findLocalTable see GuestInfo in entries.ts */
export function kernelRegisters(
  image: Image,
  core: X86Core,
  blockOf: (v: number) => number,
  findLocalTable: (v: number, offset: number) => boolean,
): KernelRegisters {
  const view = new DataView(image.buffer);
  const setBase = (v: number, at: number, base: bigint): void => view.setBigUint64(blockOf(v) + at, base, true);

  /** GS of applications by a selector. What cannot be loaded is null, and nobody is told. */
  function selectGs(v: number, selector: number): void {
    const st = blockOf(v);
    const asked = selector > RPL ? selector | RPL : selector;
    setBase(v, ST.userGsBase, 0n);
    while (!core.segments.loadData(st, SEGMENT.GS, asked, ST.userGsBase)) {
      const isLocal = view.getInt32(st + ST.vector, true) === VECTOR.localTable;
      if (isLocal && findLocalTable(v, view.getInt32(st + ST.errorCode, true))) continue;
      view.setUint16(st + ST.selectors + 2 * SEGMENT.GS, 0, true);
      return;
    }
  }

  return {
    setSegmentBase(v, which, base) {
      switch (which) {
        case SEGBASE_FS[64]:
          setBase(v, ST.fsBase, base);
          break;
        case SEGBASE_GS_USER[64]:
          setBase(v, ST.userGsBase, base);
          break;
        case SEGBASE_GS_KERNEL[64]:
          setBase(v, ST.gsBase, base);
          break;
        default:
          selectGs(v, Number(base & 0xffffn));
      }
    },
    setTaskSwitched: (v, isSet) => setTs(image, blockOf(v), isSet),
    setDebugRegister: (v, n, x) =>
      n >= 0 && n < DEBUG_REGISTERS ? core.setDebugRegister(blockOf(v), n, x) : -XEN_ENODEV,
    debugRegister: (v, n) => (n >= 0 && n < DEBUG_REGISTERS ? core.debugRegister(blockOf(v), n) : undefined),
  };
}
