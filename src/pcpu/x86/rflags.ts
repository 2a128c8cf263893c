/** RFLAGS as one number, of a VCPU that does not run: a block keeps status flags as what they are computed from (state.ts). */
import { FLAG, ST } from './state.js';

const STATUS = FLAG.CF | FLAG.PF | FLAG.AF | FLAG.ZF | FLAG.SF | FLAG.OF;
/** Bit 1, which is always set. */
const ALWAYS = 2;

const isOdd = (byte: number): number => [0, 1, 2, 3, 4, 5, 6, 7].reduce((parity, n) => parity ^ ((byte >> n) & 1), 0);

export function readRflags(view: DataView, st: number): number {
  const [result, aux] = [view.getBigInt64(st + ST.result, true), view.getBigUint64(st + ST.aux, true)];
  const bit = (n: bigint): number => Number((aux >> n) & 1n);
  const low = Number((BigInt.asUintN(64, result) ^ (aux >> 8n)) & 0xffn);
  const status =
    (bit(63n) !== 0 ? FLAG.CF : 0) |
    (isOdd(low) === 0 ? FLAG.PF : 0) |
    (bit(3n) !== 0 ? FLAG.AF : 0) |
    (result === 0n ? FLAG.ZF : 0) |
    ((result < 0n ? 1 : 0) !== bit(0n) ? FLAG.SF : 0) |
    (bit(63n) !== bit(62n) ? FLAG.OF : 0);
  const direction = view.getInt32(st + ST.df, true) !== 0 ? FLAG.DF : 0;
  return view.getInt32(st + ST.flags, true) | direction | status | ALWAYS;
}

export function writeRflags(view: DataView, st: number, flags: number): void {
  const has = (flag: number): bigint => ((flags & flag) !== 0 ? 1n : 0n);
  // The result: 0 or 1, neither of which is negative; parity is even for 0 and odd for 1.
  const zf = has(FLAG.ZF);
  const aux =
    (has(FLAG.CF) << 63n) |
    ((has(FLAG.CF) ^ has(FLAG.OF)) << 62n) |
    ((zf ^ has(FLAG.PF)) << 8n) |
    (has(FLAG.AF) << 3n) |
    has(FLAG.SF);
  view.setBigInt64(st + ST.result, zf ^ 1n, true);
  view.setBigUint64(st + ST.aux, aux, true);
  view.setInt32(st + ST.df, has(FLAG.DF) === 0n ? 0 : 1, true);
  view.setInt32(st + ST.flags, flags & ~(STATUS | FLAG.DF | ALWAYS), true);
}
