/** A hypercall's argument as it is put together: a structure, and behind it the buffers that its handles point to. */

import { xenctl_bitmap } from '../shared/public/domctl-layout.js';
import type { AbiLayout } from '../shared/public/layout.js';
import { offsetsOf, sizeOf } from '../shared/public/layout.js';
import { DATA, type ToolCall } from './tool-job.js';

/** What a tool needs to make ready for a call and to look at its answer, ns. */
export const CALL_COST_NS = 5_000;

const BITMAP = offsetsOf(xenctl_bitmap, 64);

export class Argument {
  readonly #pointers: [number, number][] = [];
  #bytes: Uint8Array;
  #view: DataView;

  /** @param structure or its size in bytes */
  constructor(structure: AbiLayout | number) {
    const bytes = typeof structure === 'number' ? structure : sizeOf(structure, 64);
    this.#bytes = new Uint8Array(Math.ceil(bytes / 8) * 8);
    this.#view = new DataView(this.#bytes.buffer);
  }

  u8(at: number, x: number): this {
    this.#view.setUint8(at, x);
    return this;
  }

  u16(at: number, x: number): this {
    this.#view.setUint16(at, x, true);
    return this;
  }

  u32(at: number, x: number): this {
    this.#view.setUint32(at, x, true);
    return this;
  }

  /** Exact below 2^53. */
  u64(at: number, x: number): this {
    this.#view.setBigUint64(at, BigInt(x), true);
    return this;
  }

  /** A buffer behind all there is, and the handle at `at` that points to it. @returns where it starts */
  buffer(at: number, contents: Uint8Array): number {
    const start = this.#bytes.length;
    const grown = new Uint8Array(start + Math.ceil(contents.length / 8) * 8);
    grown.set(this.#bytes);
    grown.set(contents, start);
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
    this.#pointers.push([at, start]);
    return start;
  }

  /** A `xenctl_bitmap` of pCPUs. @returns where its bits start */
  bitmap(at: number, cpus: readonly number[], bits: number): number {
    this.u32(at + BITMAP.nr_bits, bits);
    const mask = new Uint8Array(Math.ceil(bits / 8));
    for (const p of cpus) mask[p >> 3]! |= 1 << (p & 7);
    return this.buffer(at + BITMAP.bitmap, mask);
  }

  /** The call that takes this as its argument `place`. */
  call(nr: number, before: readonly number[] = [], costNs = CALL_COST_NS): ToolCall {
    return { costNs, nr, args: [...before, DATA], data: this.#bytes, pointers: this.#pointers };
  }
}

/** Numbers of the set bits from `at` on. */
export function readBitmap(data: Uint8Array, at: number, bits: number): number[] {
  const set: number[] = [];
  // Not by Array.from: a list of 1,024 VCPUs on 128 pCPUs has 2,048 masks.
  for (let k = 0; k < bits; k++) if (((data[at + (k >> 3)]! >> (k & 7)) & 1) === 1) set.push(k);
  return set;
}
