/** What a VCPU's block has beside general registers when a 64-bit guest begins; all else is 0. */
import { FLAT_KERNEL_CS, FLAT_KERNEL_SS } from '../../shared/public/arch-x86.js';
import { DR6_INITIAL, DR7_INITIAL } from './debug-registers.js';
import { FCW_INITIAL, FLAG, MXCSR_INITIAL, SEGMENT, ST } from './state.js';

export function resetState(view: DataView, st: number): void {
  view.setInt32(st + ST.flags, FLAG.IF, true);
  view.setUint32(st + ST.mxcsr, MXCSR_INITIAL, true);
  view.setUint16(st + ST.fcw, FCW_INITIAL, true);
  view.setUint16(st + ST.selectors + 2 * SEGMENT.CS, FLAT_KERNEL_CS[64], true);
  view.setUint16(st + ST.selectors + 2 * SEGMENT.SS, FLAT_KERNEL_SS[64], true);
  view.setUint32(st + ST.dr6, DR6_INITIAL, true);
  view.setUint32(st + ST.dr7, DR7_INITIAL, true);
}
