/** What the calls of domain 0's toolstack have in common: handles and masks in structures, and who may. */

import { xenctl_bitmap } from '../../shared/public/domctl-layout.js';
import { offsetsOf } from '../../shared/public/layout.js';
import { FAULT } from '../guest-memory.js';
import type { CallParts } from './call.js';

/** The domain that may. */
export const PRIVILEGED = 0;

/**
 * Serves one domctl for VCPU v, with the argument at image address `op` and the record of the domain that it names (NOBODY where
 * the command itself looks for one).
 */
export type DomctlHandler = (v: number, op: number, d: number) => number;

/** Serves one sysctl for VCPU v, with the argument at image address `op`. */
export type SysctlHandler = (v: number, op: number) => number;

export interface Toolstack {
  isPrivileged(v: number): boolean;
  /** Whether the handle at `addr` is null. */
  isNull(addr: number): boolean;
  /** What the handle at `addr`, 64 bits wide whoever calls, points to in v's domain: `bytes` bytes, or FAULT. */
  handle(v: number, addr: number, bytes: number): number;
  /** A mask of pCPUs in v's domain that the xenctl_bitmap at `addr` describes; undefined = not all of it is the domain's. */
  bitmap(v: number, addr: number): Bitmap | undefined;
}

/** A mask in a guest's frames: any number of bits, of which those of pCPUs that exist count. */
export interface Bitmap {
  read(): number[];
  write(cpus: readonly number[]): void;
}

export function toolstack({ context, memory }: CallParts): Toolstack {
  const { vcpu, shape, image } = context;
  const { u8 } = image;
  const MAP = offsetsOf(xenctl_bitmap, 64);

  const handle = (v: number, addr: number, bytes: number): number =>
    memory.translate(vcpu.domain(v), memory.u32(addr), memory.u32(addr + 4), bytes);

  return {
    isPrivileged: (v) => vcpu.domain(v) === PRIVILEGED,
    isNull: (addr) => memory.u32(addr) === 0 && memory.u32(addr + 4) === 0,
    handle,
    bitmap(v, addr) {
      const bits = memory.u32(addr + MAP.nr_bits);
      const bytes = Math.ceil(bits / 8);
      const at = handle(v, addr + MAP.bitmap, bytes);
      if (at === FAULT) return undefined;
      return bitmapAt(u8, at, bits, shape.pcpus);
    },
  };
}

/** `bits` bits at image address `at`. */
export function bitmapAt(u8: Uint8Array, at: number, bits: number, pcpus: number): Bitmap {
  const known = Math.min(bits, pcpus);
  return {
    read() {
      const cpus: number[] = [];
      for (let p = 0; p < known; p++) if (((u8[at + (p >> 3)]! >> (p & 7)) & 1) !== 0) cpus.push(p);
      return cpus;
    },
    write(cpus) {
      u8.fill(0, at, at + Math.ceil(bits / 8));
      for (const p of cpus) if (p < known) u8[at + (p >> 3)]! |= 1 << (p & 7);
    },
  };
}
