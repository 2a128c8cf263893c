/** An x86 core with memory of its own, without a hypervisor: a page table, code, data, and one VCPU. */

import { busLock, busRegion } from '../../src/pcpu/x86/bus-lock.js';
import { sharedCode } from '../../src/pcpu/x86/code-cache.js';
import { type X86Core, x86Core } from '../../src/pcpu/x86/core.js';
import { resetState } from '../../src/pcpu/x86/reset.js';
import type { FlatSelectors } from '../../src/pcpu/x86/segments.js';
import { ST, STATE_BYTES, TLB_BYTES } from '../../src/pcpu/x86/state.js';
import { Image, layOut, rawRegion } from '../../src/shared/image.js';

const FRAME = 4096;
const CODE_AREA = 1 << 20;

export interface Mapping {
  readonly virtual: bigint;
  readonly bytes: number;
  readonly isWritable?: boolean;
  readonly isExecutable?: boolean;
}

export interface BareMachine {
  readonly image: Image;
  readonly core: X86Core;
  /** The VCPU's block. */
  readonly st: number;
  /** Image address of a mapped virtual address. */
  at(virtual: bigint): number;
  map(mapping: Mapping): void;
  unmap(virtual: bigint): void;
  /** Image address of the page-table entry of a page that was mapped once. */
  entryAt(virtual: bigint): number;
  /** The page-table entry of a page, low word: to look at A and D. */
  entry(virtual: bigint): number;
}

/**
 * @param frames of memory
 * @param isParallel as if other workers ran code at the same time
 * @param hot instructions after which code is made a region
 * @param selectors Xen's, or others'
 */
export function bareMachine(
  frames: number,
  codeBytes = CODE_AREA,
  isParallel = false,
  hot?: number,
  selectors?: FlatSelectors,
): BareMachine {
  const image = Image.create(
    layOut([
      rawRegion('state', STATE_BYTES, 1),
      rawRegion('tlb', TLB_BYTES, 1),
      rawRegion('code', codeBytes, 1),
      rawRegion('code-frames', 4, 2 + frames),
      busRegion(1),
      rawRegion('frames', FRAME, frames, FRAME),
    ]),
  );
  const base = image.region('frames').base;
  const st = image.region('state').base;
  let nextFrame = 1;
  const words = new BigUint64Array(image.buffer);
  const core = x86Core(
    image,
    {
      tlbs: image.region('tlb').base,
      self: 0,
      code: { base: image.region('code').base, bytes: codeBytes },
    },
    {
      code: sharedCode(image, image.region('code-frames').base, base),
      memory: { addressOf: (mfn) => (mfn >= 0 && mfn < frames ? base + mfn * FRAME : -1) },
      rootOf: () => 0,
      shared: undefined,
      // What is left of the budget.
      counter: (_, left) => [left, 0],
      bus: isParallel ? busLock(image.i32, image.region('x86-bus').base, 0, 1) : undefined,
      cpuid: () => [0, 0, 0, 0],
      ...(selectors === undefined ? {} : { selectors }),
    },
    hot,
  );

  resetState(new DataView(image.buffer), st);

  /** Index into `words` of the page-table entry of a page. */
  function entryOf(virtual: bigint, isMade: boolean): number {
    let table = 0;
    for (let level = 3; ; level--) {
      const index = Number((virtual >> BigInt(12 + 9 * level)) & 511n);
      const at = (base + table * FRAME) / 8 + index;
      if (level === 0) return at;
      if ((words[at]! & 1n) === 0n) {
        if (!isMade) throw new Error(`nothing is mapped at ${virtual.toString(16)}`);
        words[at] = (BigInt(nextFrame++) << 12n) | 7n;
      }
      table = Number((words[at]! >> 12n) & 0xffffffn);
    }
  }

  return {
    image,
    core,
    st,
    at: (virtual) => {
      const entry = words[entryOf(virtual, false)]!;
      return base + Number((entry >> 12n) & 0xffffffn) * FRAME + Number(virtual & 4095n);
    },
    map({ virtual, bytes, isWritable = true, isExecutable = false }) {
      for (let n = 0n; n < BigInt(bytes); n += BigInt(FRAME)) {
        const flags = 5n | (isWritable ? 2n : 0n) | (isExecutable ? 0n : 1n << 63n);
        words[entryOf(virtual + n, true)] = (BigInt(nextFrame++) << 12n) | flags;
      }
      core.flush();
    },
    unmap(virtual) {
      words[entryOf(virtual, false)] = 0n;
      core.flush();
    },
    entryAt: (virtual) => 8 * entryOf(virtual, false),
    entry: (virtual) => Number(words[entryOf(virtual, false)]! & 0xfffn),
  };
}

/** The registers of a machine's VCPU, by value. */
export function registers({ image, st }: BareMachine) {
  const view = new DataView(image.buffer);
  return {
    get: (n: number): bigint => view.getBigUint64(st + ST.gpr + 8 * n, true),
    set: (n: number, x: bigint): void => view.setBigUint64(st + ST.gpr + 8 * n, x, true),
    get rip(): bigint {
      return view.getBigUint64(st + ST.rip, true);
    },
    set rip(x: bigint) {
      view.setBigUint64(st + ST.rip, x, true);
    },
    word: (at: number): number => view.getInt32(st + at, true),
    wide: (at: number): bigint => view.getBigUint64(st + at, true),
  };
}
