/** x86 cores with memory of their own, without a hypervisor: a page table, code, data, and a VCPU each. */

import { busLock, busRegion } from '../../src/pcpu/x86/bus-lock.js';
import { sharedCode } from '../../src/pcpu/x86/code-cache.js';
import { type Surroundings, type X86Core, x86Core } from '../../src/pcpu/x86/core.js';
import { resetState } from '../../src/pcpu/x86/reset.js';
import { ST, STATE_BYTES, TLB_BYTES } from '../../src/pcpu/x86/state.js';
import { type AddressMap, Image, layOut, rawRegion } from '../../src/shared/image.js';

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

/** Room for so many cores; each has a VCPU and a TLB of its number. */
export const bareMap = (frames: number, cores: number, codeBytes = CODE_AREA): AddressMap =>
  layOut([
    rawRegion('state', STATE_BYTES, cores),
    rawRegion('tlb', TLB_BYTES, 2 * cores),
    rawRegion('code', codeBytes, cores),
    rawRegion('code-frames', 4, 2 + frames),
    busRegion(cores),
    rawRegion('frames', FRAME, frames, FRAME),
  ]);

/** Core `self` of an image. @param isParallel as if others ran code at the same time @param over what is not as it is otherwise */
export function bareCore(
  image: Image,
  self: number,
  isParallel: boolean,
  over: Partial<Surroundings> = {},
  hot?: number,
): X86Core {
  const { base, count: frames } = image.region('frames');
  const code = image.region('code');
  return x86Core(
    image,
    { tlbs: image.region('tlb').base, self, code: { base: code.base + self * code.size, bytes: code.size } },
    {
      code: sharedCode(image, image.region('code-frames').base, base),
      memory: { addressOf: (mfn) => (mfn >= 0 && mfn < frames ? base + mfn * FRAME : -1) },
      rootOf: () => 0,
      shared: undefined,
      // What is left of the budget.
      counter: (_, left) => [left, 0],
      bus: isParallel ? busLock(image.i32, image.region('x86-bus').base, self, image.region('state').count) : undefined,
      cpuid: () => [0, 0, 0, 0],
      ...over,
    },
    hot,
  );
}

/**
 * @param frames of memory
 * @param isParallel as if other workers ran code at the same time
 * @param hot instructions after which code is made a region
 * @param cores room for so many
 */
export function bareMachine(
  frames: number,
  codeBytes = CODE_AREA,
  isParallel = false,
  hot?: number,
  { cores = 1, over = {} }: { readonly cores?: number; readonly over?: Partial<Surroundings> } = {},
): BareMachine {
  const image = Image.create(bareMap(frames, cores, codeBytes));
  const base = image.region('frames').base;
  const st = image.region('state').base;
  let nextFrame = 1;
  const words = new BigUint64Array(image.buffer);
  const core = bareCore(image, 0, isParallel, over, hot);

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
export function registers({ image, st }: Pick<BareMachine, 'image' | 'st'>) {
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
