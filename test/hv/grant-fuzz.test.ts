/** Any grants, asked for in any way: nobody gets what was not granted, and all that is counted is what there is. */
import { expect } from 'chai';
import fc from 'fast-check';
import { ACTIVE, GRANT_ENTRIES } from '../../src/hv/grants/records.js';
import { PAGE_SIZE } from '../../src/shared/image.js';
import * as errno from '../../src/shared/public/errno.js';
import * as G from '../../src/shared/public/grant-table.js';
import { offsetsOf } from '../../src/shared/public/layout.js';
import * as X from '../../src/shared/public/xen.js';
import { ARGS, DATA, type Kernel, type Kernels, kernels, L1, MAP, setUp } from './grant-ops.js';

const ERRORS = new Set([0, ...Object.values(errno).map((n) => -n)]);
const REFS = 12;
const PAGES = 4;
/** What is looked at of a domain's memory: its kernel and page tables, and what tests use. */
const LOOKED_AT = [
  [0x100000, 0x120000],
  [ARGS, MAP + 16 * PAGE_SIZE],
] as const;

/** A word: what it is like, and of which value. */
type Word = readonly [kind: number, x: number];
const word: fc.Arbitrary<Word> = fc.tuple(fc.nat(9), fc.nat(0xffff_ffff));

const OTHER = fc.constant([1, 1] as const);

type Step =
  | { readonly what: 'grant'; readonly ref: number; readonly flags: number; readonly domid: Word; readonly frame: Word }
  | { readonly what: 'call'; readonly cmd: number; readonly count: number; readonly words: readonly Word[] }
  | { readonly what: 'map'; readonly ref: number; readonly flags: number; readonly page: number }
  | { readonly what: 'unmap'; readonly handle: number; readonly page: number }
  | { readonly what: 'entry'; readonly page: number; readonly lo: Word }
  | { readonly what: 'pin'; readonly page: number; readonly isUnpin: boolean }
  | { readonly what: 'run'; readonly ns: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      what: fc.constant('grant' as const),
      ref: fc.nat(REFS),
      flags: fc.constantFrom(1, 1, 1, 1, 5, 0, 2, 3, 9, 0x19, 0x101),
      domid: fc.oneof({ weight: 5, arbitrary: OTHER }, { weight: 1, arbitrary: word }),
      frame: fc.oneof(
        { weight: 5, arbitrary: fc.tuple(fc.constant(2), fc.nat(PAGES - 1)) },
        { weight: 1, arbitrary: word },
      ),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      what: fc.constant('call' as const),
      cmd: fc.constantFrom(0, 0, 1, 1, 2, 4, 5, 5, 5, 6, 7, 7, 8, 9, 10, 11, 11, 13),
      count: fc.constantFrom(0, 1, 1, 1, 2, 3, 500),
      words: fc.array(word, { minLength: 24, maxLength: 24 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      what: fc.constant('map' as const),
      ref: fc.nat(REFS),
      flags: fc.constantFrom(2, 2, 2, 6, 3, 1, 7, 18, 10),
      page: fc.nat(PAGES),
    }),
  },
  { weight: 5, arbitrary: fc.record({ what: fc.constant('unmap' as const), handle: fc.nat(5), page: fc.nat(PAGES) }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('entry' as const), page: fc.nat(12), lo: word }) },
  {
    weight: 1,
    arbitrary: fc.record({ what: fc.constant('pin' as const), page: fc.nat(PAGES), isUnpin: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('run' as const), ns: fc.constantFrom(1, 2001, 50_000) }) },
);

function wordOf(all: readonly Kernel[], k: Kernel, [kind, x]: Word): bigint {
  const other = all[(all.indexOf(k) + 1) % all.length]!;
  switch (kind) {
    case 0:
      return BigInt(x % 16);
    case 1:
      return BigInt([k.id, other.id, X.DOMID_SELF, 0][x % 4]!);
    case 2:
      return BigInt(k.mfn(DATA + (x % PAGES) * PAGE_SIZE));
    case 3:
      return BigInt(other.mfn(DATA + (x % PAGES) * PAGE_SIZE));
    case 4:
      return BigInt(MAP + (x % PAGES) * PAGE_SIZE);
    case 5:
      return BigInt(k.pteAt(MAP + (x % PAGES) * PAGE_SIZE));
    case 6:
      return BigInt([k.mfn(L1), k.mfn(16 << 20), k.mfn(0) - 1, other.mfn(L1), other.mfn(16 << 20)][x % 5]!);
    case 7:
      return BigInt(x % 4096) << 32n;
    case 8:
      return BigInt([G.GNTMAP_host_map, 6, 3, 18, 1, 2 | (1 << 16)][x % 6]!);
    default:
      return BigInt(x);
  }
}

/** Frames of `of` that `to` may write: granted just now, or still in use, whatever their entries say by now. */
function open({ hv }: Kernels, of: Kernel, to: Kernel): ReadonlySet<number> {
  const frames = new Set<number>();
  const { image } = hv.context;
  const view = new DataView(image.buffer);
  const active = image.table(ACTIVE);
  for (let a = of.d * GRANT_ENTRIES; a < (of.d + 1) * GRANT_ENTRIES; a++)
    if (active.pins(a) !== 0 && active.user(a) === to.d) frames.add(active.mfn(a));
  for (let n = 0; n < hv.grants.tables.frames(of.d); n++) {
    const table = hv.mm.tables.frame(hv.grants.tables.mfn(of.d, n));
    for (let at = table; at < table + PAGE_SIZE; at += 8) {
      const isTo = view.getUint16(at + 2, true) === to.id && (view.getUint16(at, true) & 3) === G.GTF_permit_access;
      if (isTo) frames.add(view.getUint32(at + 4, true));
    }
  }
  return frames;
}

function snapshot({ hv }: Kernels, k: Kernel): ReadonlyMap<number, Buffer> {
  const pages = new Map<number, Buffer>();
  for (const [from, to] of LOOKED_AT)
    for (let at = from; at < to; at += PAGE_SIZE)
      pages.set(k.mfn(at), Buffer.from(hv.context.image.u8.slice(k.at(at), k.at(at) + PAGE_SIZE).buffer));
  return pages;
}

/** @returns how many grants were mapped, and copies made */
function play(steps: readonly (readonly [who: number, step: Step])[]): { maps: number; copies: number } {
  const m = kernels();
  const all = m.kernels;
  const { u8 } = m.hv.context.image;
  for (const k of all) {
    setUp(k, 1);
    for (let n = 0; n < PAGES; n++) u8.fill(k.id, k.at(DATA) + n * PAGE_SIZE, k.at(DATA) + (n + 1) * PAGE_SIZE);
  }
  const done = { maps: 0, copies: 0 };
  const { isShutDown } = m.hv.context.domain;
  const check = (what: string): void => {
    const found = m.broken();
    if (found.length > 0) expect.fail(`${what}: ${found.slice(0, 5).join('; ')}`);
  };
  for (const [who, s] of steps) {
    const k = all[who]!;
    const other = all[1 - who]!;
    if (isShutDown(k.d) !== 0 || isShutDown(other.d) !== 0) break;
    const mayWrite = open(m, other, k);
    const before = snapshot(m, other);
    const what = `domain ${k.id}: ${JSON.stringify(s)}`;
    let result = 0;
    if (s.what === 'grant')
      k.grant(s.ref, Number(wordOf(all, k, s.domid) & 0xffffn), Number(wordOf(all, k, s.frame) & 0xffffffffn), s.flags);
    else if (s.what === 'map') {
      const page = MAP + s.page * PAGE_SIZE;
      // That would be its end, which is to come now and then only.
      if ((k.pte(page) & (1n << 62n)) !== 0n && s.ref > 0) continue;
      const address = (s.flags & G.GNTMAP_contains_pte) !== 0 ? k.pteAt(page) : page;
      if (k.map(other, s.ref, { flags: s.flags, address }).status === G.GNTST_okay) done.maps++;
    } else if (s.what === 'unmap') k.unmap(s.handle, MAP + s.page * PAGE_SIZE, other.mfn(DATA) * PAGE_SIZE);
    else if (s.what === 'entry') {
      // Mostly where nothing is mapped by a grant.
      const value = (wordOf(all, k, s.lo) << 12n) | 0x63n;
      if ((k.pte(MAP + s.page * PAGE_SIZE) & (1n << 62n)) !== 0n && s.lo[1] % 8 > 0) continue;
      result = k.call(X.__HYPERVISOR_update_va_mapping, MAP + s.page * PAGE_SIZE, value, 0);
    } else if (s.what === 'pin') {
      const cmd = s.isUnpin ? X.MMUEXT_UNPIN_TABLE : X.MMUEXT_PIN_L1_TABLE;
      k.op(99, [
        [0, cmd, 4],
        [8, k.mfn(DATA + s.page * PAGE_SIZE), 8],
      ]);
      result = k.call(X.__HYPERVISOR_mmuext_op, ARGS, 1, 0, X.DOMID_SELF);
    } else if (s.what === 'run') m.sim.run(m.hv.context.now() + s.ns);
    else {
      const fields = s.words.map((w, n) => [4 * n, Number(wordOf(all, k, w) & 0xffffffffn), 4] as const);
      // Copies of a length that they can have, from and to where there is something.
      if (s.cmd === G.GNTTABOP_copy) {
        const f = offsetsOf(G.gnttab_copy, 64);
        const [a, b, c, d] = s.words as [Word, Word, Word, Word];
        const flags = Number(a[1] % 4);
        const number = (isRef: boolean, x: Word): bigint =>
          isRef ? BigInt(x[1] % REFS) : x[0] < 8 ? BigInt(k.mfn(DATA + (x[1] % PAGES) * PAGE_SIZE)) : wordOf(all, k, x);
        const dom = (isRef: boolean): number => (isRef ? other.id : X.DOMID_SELF);
        result = k.op(s.cmd, [
          [f['source.u.ref'], number((flags & 1) !== 0, b), 8],
          [f['source.domid'], dom((flags & 1) !== 0), 2],
          [f['source.offset'], c[1] % 5000, 2],
          [f['dest.u.ref'], number((flags & 2) !== 0, c), 8],
          [f['dest.domid'], dom((flags & 2) !== 0), 2],
          [f['dest.offset'], d[1] % 5000, 2],
          [f.len, d[1] % 300, 2],
          [f.flags, flags, 2],
        ]);
        if (k.i16(ARGS + f.status) === G.GNTST_okay) done.copies++;
      } else result = k.op(s.cmd, fields, s.count);
    }
    if (!ERRORS.has(result)) expect.fail(`${what}: ${result} is no errno of Xen's`);
    if (s.what !== 'run') {
      const { i32 } = m.hv.context.image;
      for (const [mfn, bytes] of before) {
        if (mayWrite.has(mfn)) continue;
        const at = m.hv.mm.tables.frame(mfn);
        // A processor's walks set accessed and dirty bits, but nobody runs now.
        if (!bytes.equals(Buffer.from(u8.slice(at, at + PAGE_SIZE).buffer)))
          expect.fail(`${what} changed frame ${mfn} of domain ${other.id}: ${i32[at >> 2]}`);
      }
    }
    check(what);
  }
  for (const k of all) {
    m.sim.built.core.turns.interact(0, () => m.hv.destruction.destroy(k.d));
    m.sim.run(m.hv.context.now() + 1_000_000);
    check(`the end of domain ${k.id}`);
  }
  return done;
}

describe('any grants', () => {
  it('give nobody what was not granted, and are counted as they are', function () {
    this.timeout(120_000);
    const sum = { maps: 0, copies: 0 };
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(1), step), { minLength: 1, maxLength: 200, size: 'max' }), (steps) => {
        const { maps, copies } = play(steps);
        sum.maps += maps;
        sum.copies += copies;
      }),
      { numRuns: 120, interruptAfterTimeLimit: 60_000 },
    );
    // Or it would show little.
    expect(sum.maps).to.be.above(10);
    expect(sum.copies).to.be.above(10);
  });
});
