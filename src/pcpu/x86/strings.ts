/**
 * String instructions (Intel SDM vol. 2, MOVS, STOS, LODS, SCAS, CMPS, REP): as many elements at a time as lie in one page. Registers say
 * after each such step what is left, so that a fault in the middle is taken between two elements and the instruction goes on after it.
 */
import type { Image } from '../../shared/image.js';
import type { Mmu } from './mmu.js';
import { REC, ST } from './state.js';

export const STRING = { movs: 0, stos: 1, lods: 2, scas: 3, cmps: 4 } as const;
export const REPEAT = { none: 0, repe: 1, repne: 2 } as const;

/** Addresses and the count are 32 bits wide. */
const NARROW = 1 << 10;

/** What a record's immediate says of a string instruction. */
export const stringCode = (operation: number, size: number, repeat: number, isNarrow: boolean): bigint =>
  BigInt(operation | (size << 4) | (repeat << 8) | (isNarrow ? NARROW : 0));

const [RAX, RCX, RSI, RDI] = [0, 8, 48, 56];
const FRAME = 4096;

/** One element is done, and there are more. */
export const MORE = 1;

/** It looks about after so much, a page or an element at a time: page tables may map more than could be written in a lifetime. */
const MOST = 1024;
const [COST_OF_PAGE, COST_OF_ELEMENT] = [256, 1];

/** @returns executes the string instruction of the VCPU's record: 0, or MORE, or −1: an exception is set up */
export function strings(image: Image, paging: Mmu, written: (frame: number) => void): (st: number) => number {
  const view = new DataView(image.buffer);
  const { u8 } = image;
  const get = (at: number): bigint => view.getBigUint64(at, true);
  const set = (at: number, x: bigint): void => view.setBigUint64(at, BigInt.asUintN(64, x), true);

  function element(address: number, size: number): bigint {
    let x = 0n;
    for (let n = size - 1; n >= 0; n--) x = (x << 8n) | BigInt(u8[address + n]!);
    return x;
  }

  function put(address: number, size: number, x: bigint): void {
    for (let n = 0; n < size; n++) u8[address + n] = Number((x >> BigInt(8 * n)) & 0xffn);
  }

  /** Image addresses of one element, byte by byte where it lies in two pages: a copy in the block, or −1. */
  function one(st: number, address: bigint, size: number, forWrite: boolean): number {
    set(st + ST.address, address);
    return paging.load(st, size, forWrite);
  }

  function store(st: number, address: bigint, size: number, x: bigint): number {
    set(st + ST.address, address);
    set(st + ST.value, x);
    return paging.store(st, size);
  }

  /** How many elements from here lie in the page of `address`, forwards. */
  const inPage = (address: bigint, size: number): number => Math.floor((FRAME - Number(address & 4095n)) / size);

  /** Many elements at once, where direction and pages allow: how many were done, −1 where a page faults. */
  function many(st: number, operation: number, size: number, count: number, source: bigint, to: bigint): number {
    const isMove = operation === STRING.movs;
    const n = Math.min(count, inPage(to, size), isMove ? inPage(source, size) : count);
    if (n < 2) return 0;
    const bytes = n * size;
    let from = 0;
    if (isMove) {
      const page = paging.pageOf(st, source, 'read');
      if (page < 0) return -1;
      from = page + Number(source & 4095n);
    }
    const page = paging.pageOf(st, to, 'write');
    if (page < 0) return -1;
    const at = page + Number(to & 4095n);
    if (!isMove) {
      put(at, size, get(st + RAX));
      // Twice as much each time.
      for (let done = size; done < bytes; done *= 2) u8.copyWithin(at + done, at, at + Math.min(done, bytes - done));
    } else if (at > from && at < from + bytes) {
      // What is read was written by this very instruction: a pattern that repeats.
      const distance = at - from;
      if (distance < size) for (let k = 0; k < bytes; k += size) u8.copyWithin(at + k, from + k, from + k + size);
      else if (distance % size !== 0) for (let k = 0; k < bytes; k++) u8[at + k] = u8[from + k]!;
      else
        for (let done = 0; done < bytes; done += distance)
          u8.copyWithin(at + done, from + done, from + done + Math.min(distance, bytes - done));
    } else u8.copyWithin(at, from, from + bytes);
    written(page);
    return n;
  }

  function compare(st: number, a: bigint, b: bigint, size: number): boolean {
    const bits = 8 * size;
    const difference = BigInt.asUintN(bits, a - b);
    const carries = (~a & b) | ((~a | b) & difference);
    set(st + ST.result, BigInt.asIntN(bits, difference));
    set(st + ST.aux, ((carries << BigInt(64 - bits)) & (3n << 62n)) | (carries & 8n));
    return difference === 0n;
  }

  return (st) => {
    const record = view.getInt32(st + ST.record, true);
    const code = Number(view.getBigInt64(record + REC.imm, true));
    const [operation, size, repeat] = [code & 15, (code >> 4) & 15, (code >> 8) & 3];
    const wide = (code & NARROW) !== 0 ? 0xffff_ffffn : 0xffff_ffff_ffff_ffffn;
    const isBackward = view.getInt32(st + ST.df, true) !== 0;
    const isStepping = view.getInt32(st + ST.stepping, true) !== 0;
    const step = BigInt(isBackward ? -size : size);
    const base = get(st + view.getUint16(record + REC.segment, true));
    const readsSource = operation === STRING.movs || operation === STRING.lods || operation === STRING.cmps;
    const usesTarget = operation !== STRING.lods;
    const mask = (1n << BigInt(8 * size)) - 1n;
    for (let spent = 0; ; ) {
      const left = repeat === REPEAT.none ? 1n : get(st + RCX) & wide;
      if (left === 0n) return 0;
      const [source, to] = [get(st + RSI) & wide, get(st + RDI) & wide];
      let done = 0;
      if (!isBackward && left > 1n && !isStepping && (operation === STRING.movs || operation === STRING.stos)) {
        const count = Number(left > 4096n ? 4096n : left);
        done = many(st, operation, size, count, BigInt.asUintN(64, base + source), to);
        if (done < 0) return -1;
      }
      let goesOn = true;
      if (done === 0) {
        done = 1;
        let x = 0n;
        // CMPS reads what RDI points to first: where neither is there, that is the page fault.
        let other = 0n;
        if (operation === STRING.cmps || operation === STRING.scas) {
          const at = one(st, to, size, false);
          if (at < 0) return -1;
          other = element(at, size);
        }
        if (readsSource) {
          const at = one(st, BigInt.asUintN(64, base + source), size, false);
          if (at < 0) return -1;
          x = element(at, size);
        }
        if (operation === STRING.movs || operation === STRING.stos) {
          if (store(st, to, size, operation === STRING.movs ? x : get(st + RAX)) < 0) return -1;
        } else if (operation === STRING.lods) {
          if (size === 4) set(st + RAX, x);
          else put(st + RAX, size, x);
        } else {
          const a = operation === STRING.scas ? get(st + RAX) & mask : x;
          const isEqual = compare(st, a, other, size);
          goesOn = repeat === REPEAT.repe ? isEqual : !isEqual;
        }
      }
      if (readsSource) set(st + RSI, (source + BigInt(done) * step) & wide);
      if (usesTarget) set(st + RDI, (to + BigInt(done) * step) & wide);
      if (repeat === REPEAT.none) return 0;
      set(st + RCX, left - BigInt(done));
      if (!goesOn) return 0;
      if (isStepping && left > 1n) return MORE;
      spent += done > 1 ? COST_OF_PAGE : COST_OF_ELEMENT;
      if (spent >= MOST && left > BigInt(done)) return MORE;
    }
  };
}
