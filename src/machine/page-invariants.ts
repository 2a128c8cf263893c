/**
 * What must hold of page tables between any two turns: every present entry of a table in use names a frame that its domain may have there,
 * as what it is used as; what is a page table is named by no entry that can be written; and references, counted anew, are as many as
 * frames say.
 */
import type { Hypervisor } from '../hv/hypervisor.js';
import {
  mfnOf,
  OWNER_XEN,
  PAGE,
  PAGE_TABLE_ENTRIES,
  PGT,
  PGT_pinned,
  PGT_shared,
  PGT_type_mask,
  PGT_validated,
  PTE,
  XEN_SLOTS,
} from '../hv/mm/records.js';
import { DOMAIN_STATE } from '../hv/records.js';
import { PAGE_SIZE } from '../shared/image.js';
import { sizeOf } from '../shared/public/layout.js';
import { vcpu_runstate_info } from '../shared/public/vcpu.js';
import { vcpu_info, vcpu_time_info } from '../shared/public/xen-layout.js';

/** Counts a reference to a frame, one of its type too or not. */
export type Counter = (mfn: number, isTyped: boolean) => void;

/** References that page tables and VCPUs do not tell of. */
export interface MoreReferences {
  /** Counts them. */
  count?(counter: Counter): void;
  /** Whether a level-1 entry of domain d may name a frame that is not d's, which is counted elsewhere. */
  mayName?(d: number, mfn: number, isWritable: boolean): boolean;
}

/** @returns what is broken; bind it once, call it often. Domains without page tables cost nothing */
export function pageInvariants(
  { context }: Pick<Hypervisor, 'context'>,
  more: readonly MoreReferences[] = [],
): () => string[] {
  const { image, domain, vcpu, shape } = context;
  const { i32 } = image;
  const page = image.table(PAGE);
  const frames = image.region('frames');
  const owners = image.region('frame-owners').base >> 2;
  const isTable = (type: number): boolean => type >= PGT.l1_page_table && type <= PGT.l4_page_table;
  const typeOf = (mfn: number): number => page.type(mfn) & PGT_type_mask;
  const isOf = (mfn: number, d: number): boolean => mfn < shape.frames && i32[owners + mfn] === d + 1;

  function checkEntry(table: number, n: number, d: number, broken: string[], counter: Counter): void {
    const level = typeOf(table);
    const at = ((frames.base + table * PAGE_SIZE) >> 2) + 2 * n;
    const [lo, hi] = [i32[at]!, i32[at + 1]!];
    if ((lo & PTE.present) === 0) return;
    const mfn = mfnOf(lo, hi);
    const isWritable = (lo & PTE.rw) !== 0;
    const what = `entry ${n} of the page table ${table}, of level ${level}, names frame ${mfn}`;
    if (!isOf(mfn, d)) {
      if (level > 1 || !more.some(({ mayName }) => mayName?.(d, mfn, isWritable) === true))
        broken.push(`${what}, which is not domain ${d}'s`);
      return;
    }
    const wanted = level > 1 ? level - 1 : isWritable ? PGT.writable_page : PGT.none;
    if (wanted !== PGT.none && (typeOf(mfn) !== wanted || page.typeCount(mfn) <= 0))
      broken.push(`${what}, which is of type ${typeOf(mfn)}, used ${page.typeCount(mfn)} times as that`);
    if (level > 1 && (page.type(mfn) & PGT_validated) === 0) broken.push(`${what}, which nobody has looked at`);
    counter(mfn, wanted !== PGT.none);
  }

  function countVcpu(v: number, counter: Counter): void {
    for (const table of [vcpu.guestTable(v), vcpu.guestTableUser(v)]) if (table !== 0) counter(table, true);
    const areas = [
      [vcpu.runstateAddr(v), sizeOf(vcpu_runstate_info, 64)],
      [vcpu.timeAddr(v), sizeOf(vcpu_time_info, 64)],
      [vcpu.infoMoved(v) === 0 ? 0 : vcpu.infoAddr(v), sizeOf(vcpu_info, 64)],
    ] as const;
    for (const [address, bytes] of areas) {
      if (address === 0) continue;
      const frame = (at: number): number => Math.floor((at - frames.base) / PAGE_SIZE);
      for (let mfn = frame(address); mfn <= frame(address + bytes - 1); mfn++) counter(mfn, true);
    }
  }

  return () => {
    const broken: string[] = [];
    if (shape.xenFrames === 0) return broken;
    const [counts, typed] = [new Int32Array(shape.frames), new Int32Array(shape.frames)];
    const counter: Counter = (mfn, isTyped) => {
      counts[mfn]!++;
      if (isTyped) typed[mfn]!++;
    };
    const isChecked = (d: number): boolean =>
      d >= 0 && d < shape.domains && domain.state(d) === DOMAIN_STATE.alive && domain.isPaged(d) !== 0;
    const ownerOf = (mfn: number): number => (i32[owners + mfn] === OWNER_XEN ? -1 : i32[owners + mfn]! - 1);
    for (let mfn = 0; mfn < shape.frames; mfn++) {
      const type = page.type(mfn);
      if (type === 0 || !isChecked(ownerOf(mfn))) continue;
      if ((type & PGT_pinned) !== 0) counter(mfn, true);
      if ((type & PGT_shared) !== 0) counter(mfn, true);
      if (!isTable(type & PGT_type_mask) || (type & PGT_validated) === 0) continue;
      if (page.typeCount(mfn) <= 0) broken.push(`frame ${mfn} is a page table that nobody uses`);
      for (let n = 0; n < PAGE_TABLE_ENTRIES; n++) {
        const isXens = typeOf(mfn) === PGT.l4_page_table && n >= XEN_SLOTS.first && n <= XEN_SLOTS.last;
        if (!isXens) checkEntry(mfn, n, ownerOf(mfn), broken, counter);
      }
    }
    for (let v = 0; v < shape.vcpus; v++) if (isChecked(vcpu.domain(v))) countVcpu(v, counter);
    for (const { count } of more) count?.(counter);
    for (let mfn = 0; mfn < shape.frames; mfn++) {
      if (!isChecked(ownerOf(mfn))) continue;
      const [found, foundTyped] = [counts[mfn]!, typed[mfn]!];
      if (page.count(mfn) !== found) broken.push(`frame ${mfn}: ${page.count(mfn)} references, found ${found}`);
      if (page.typeCount(mfn) !== foundTyped)
        broken.push(`frame ${mfn}: ${page.typeCount(mfn)} of type ${typeOf(mfn)}, found ${foundTyped}`);
    }
    return broken;
  };
}
