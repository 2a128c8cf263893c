/** RFLAGS as one number, of a VCPU that does not run: a block keeps status flags as what they are computed from (state.ts). */
import { FLAG, ST } from './state.js';

const STATUS = FLAG.CF | FLAG.PF | FLAG.AF | FLAG.ZF | FLAG.SF | FLAG.OF;
/** Bit 1, which is always set. */
const ALWAYS = 2;

/** Whether an even number of a byte's bits is set: a bit for each value of its halves' sum without carries. */
const EVEN = 0b1001011001101001;
const isEven = (byte: number): boolean => ((EVEN >> ((byte ^ (byte >> 4)) & 15)) & 1) !== 0;

export function readRflags(view: DataView, st: number): number {
  // In halves: every entry into a guest's kernel comes here.
  const [resultLow, resultHigh] = [view.getInt32(st + ST.result, true), view.getInt32(st + ST.result + 4, true)];
  const [auxLow, auxHigh] = [view.getInt32(st + ST.aux, true), view.getInt32(st + ST.aux + 4, true)];
  const status =
    (auxHigh < 0 ? FLAG.CF : 0) |
    (isEven((resultLow ^ (auxLow >>> 8)) & 0xff) ? FLAG.PF : 0) |
    ((auxLow & 8) !== 0 ? FLAG.AF : 0) |
    ((resultLow | resultHigh) === 0 ? FLAG.ZF : 0) |
    (((resultHigh >>> 31) ^ (auxLow & 1)) !== 0 ? FLAG.SF : 0) |
    (((auxHigh >>> 31) ^ ((auxHigh >>> 30) & 1)) !== 0 ? FLAG.OF : 0);
  const direction = view.getInt32(st + ST.df, true) !== 0 ? FLAG.DF : 0;
  return view.getInt32(st + ST.flags, true) | direction | status | ALWAYS;
}

export function writeRflags(view: DataView, st: number, flags: number): void {
  const has = (flag: number): number => ((flags & flag) !== 0 ? 1 : 0);
  // The result: 0 or 1, neither of which is negative; parity is even for 0 and odd for 1.
  const zf = has(FLAG.ZF);
  view.setInt32(st + ST.result, zf ^ 1, true);
  view.setInt32(st + ST.result + 4, 0, true);
  view.setInt32(st + ST.aux, ((zf ^ has(FLAG.PF)) << 8) | (has(FLAG.AF) << 3) | has(FLAG.SF), true);
  view.setInt32(st + ST.aux + 4, (has(FLAG.CF) << 31) | ((has(FLAG.CF) ^ has(FLAG.OF)) << 30), true);
  view.setInt32(st + ST.df, has(FLAG.DF), true);
  view.setInt32(st + ST.flags, flags & ~(STATUS | FLAG.DF | ALWAYS), true);
}
