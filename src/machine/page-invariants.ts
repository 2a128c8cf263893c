/**
 * What must hold of the frames of domains with page tables: that the references that are counted of each are those that there are. They are
 * counted anew from page tables, what is pinned, tables that VCPUs use, areas that the hypervisor writes, mappings of grants, and domain 0's
 * physical map.
 */
import { ACTIVE, GRANT_ENTRIES, GRANT_TABLE, GRANTED, MAPTRACK, MAPTRACK_ENTRIES, PIN } from '../hv/grants/records.js';
import type { Hypervisor } from '../hv/hypervisor.js';
import {
  FOREIGN,
  FOREIGN_FRAMES,
  mfnOf,
  OWNER_GONE,
  OWNER_XEN,
  PAGE,
  PAGE_TABLE_ENTRIES,
  PGT,
  PGT_pinned,
  PGT_shared,
  PGT_type_mask,
  PGT_validated,
  PTE,
  PTE_HIGH,
  XEN_SLOTS,
} from '../hv/mm/records.js';
import { NOBODY } from '../hv/records.js';
import { PAGE_SIZE } from '../shared/image.js';
import { GNTMAP_device_map, GNTMAP_host_map, GNTMAP_readonly } from '../shared/public/grant-table.js';
import { sizeOf } from '../shared/public/layout.js';
import { vcpu_runstate_info } from '../shared/public/vcpu.js';
import { vcpu_info, vcpu_time_info } from '../shared/public/xen-layout.js';

/** @returns says what is broken */
export function pageInvariants({ context }: Hypervisor): () => string[] {
  const { image, domain, vcpu, shape } = context;
  const { i32 } = image;
  const page = image.table(PAGE);
  const frames = image.region('frames');
  const owners = image.region('frame-owners').base >> 2;
  const table = image.table(GRANT_TABLE);
  const active = image.table(ACTIVE);
  const track = image.table(MAPTRACK);
  const granted = image.table(GRANTED);
  const foreign = image.table(FOREIGN);
  const { count: nr } = frames;
  const counts = new Int32Array(nr);
  const typeCounts = new Int32Array(nr);
  let broken: string[] = [];

  function must(holds: boolean, what: () => string): void {
    if (!holds) broken.push(what());
  }

  function add(mfn: number, isTyped: boolean): void {
    if (mfn >= nr) {
      broken.push(`a reference to frame ${mfn}, which there is not`);
      return;
    }
    counts[mfn]!++;
    if (isTyped) typeCounts[mfn]!++;
  }

  /** An area that is held as writable memory. */
  function addArea(address: number, bytes: number): void {
    if (address === 0) return;
    const mfnAt = (at: number): number => Math.floor((at - frames.base) / PAGE_SIZE);
    for (let mfn = mfnAt(address); mfn <= mfnAt(address + bytes - 1); mfn++) add(mfn, true);
  }

  /** What a page table names. @param mapped told of entries that map grants, by the table's domain */
  function addTable(d: number, mfn: number, level: number, mapped: Map<string, number>): void {
    for (let n = 0; n < PAGE_TABLE_ENTRIES; n++) {
      if (level === 4 && n >= XEN_SLOTS.first && n <= XEN_SLOTS.last) continue;
      const at = ((frames.base + mfn * PAGE_SIZE) >> 2) + 2 * n;
      const [lo, hi] = [i32[at]!, i32[at + 1]!];
      if ((lo & PTE.present) === 0) continue;
      const to = mfnOf(lo, hi);
      if (level === 1 && (hi & PTE_HIGH.grant) !== 0) {
        const key = `${d} ${to} ${(lo & PTE.rw) === 0 ? 'read' : 'write'}`;
        mapped.set(key, (mapped.get(key) ?? 0) + 1);
        continue;
      }
      must(
        i32[owners + to] === d + 1,
        () => `entry ${n} of frame ${mfn} names frame ${to}, which is not domain ${d}'s`,
      );
      const isTyped = level > 1 || (lo & PTE.rw) !== 0;
      const wanted = level > 1 ? level - 1 : PGT.writable_page;
      must(
        !isTyped || ((page.type(to) & PGT_type_mask) === wanted && page.typeCount(to) > 0),
        () => `entry ${n} of frame ${mfn}, of level ${level}: frame ${to} is of type ${page.type(to)}`,
      );
      must(
        level === 1 || (page.type(to) & PGT_validated) !== 0,
        () => `entry ${n} of frame ${mfn}: nobody has looked at the table ${to}`,
      );
      add(to, isTyped);
    }
  }

  /** Handles of domain m. @param kept told of frames whose domain has ended @returns how often it may have which frame mapped */
  function addMaps(m: number, kept: Map<number, number>, pins: Map<number, number>, maps: Map<number, number>) {
    const allowed = new Map<string, number>();
    const allow = (key: string): Map<string, number> => allowed.set(key, (allowed.get(key) ?? 0) + 1);
    for (let handle = 0; handle < table.handles(m); handle++) {
      const t = m * MAPTRACK_ENTRIES + handle;
      const flags = track.flags(t);
      if (flags === 0) continue;
      const [d, mfn] = [track.granter(t), track.mfn(t)];
      const isReadOnly = (flags & GNTMAP_readonly) !== 0;
      const [isHost, isDevice] = [(flags & GNTMAP_host_map) !== 0, (flags & GNTMAP_device_map) !== 0];
      must(isHost || isDevice, () => `handle ${handle} of domain ${m} stands for nothing`);
      if (isHost) {
        allow(`${m} ${mfn} read`);
        if (!isReadOnly) allow(`${m} ${mfn} write`);
      }
      const references = Number(isHost) + Number(isDevice);
      if (d === NOBODY) {
        kept.set(mfn, (kept.get(mfn) ?? 0) + references);
        continue;
      }
      for (let n = 0; n < references; n++) add(mfn, !isReadOnly);
      const host = isReadOnly ? PIN.hostRead : PIN.hostWrite;
      const device = isReadOnly ? PIN.deviceRead : PIN.deviceWrite;
      const a = d * GRANT_ENTRIES + track.ref(t);
      pins.set(a, ((pins.get(a) ?? 0) + (isHost ? host : 0) + (isDevice ? device : 0)) | 0);
      must(active.mfn(a) === mfn && active.user(a) === m, () => `handle ${handle} of domain ${m} is of another use`);
      if (isHost && d !== m) maps.set(mfn, (maps.get(mfn) ?? 0) + 1);
    }
    return allowed;
  }

  /** Frames that domain 0 has in its physical map. */
  function addForeign(kept: Map<number, number>, maps: Map<number, number>): void {
    for (let n = 0; n < FOREIGN_FRAMES; n++) {
      const mfn = foreign.mfn(n) - 1;
      if (mfn < 0) continue;
      if (foreign.domain(n) === NOBODY) {
        kept.set(mfn, (kept.get(mfn) ?? 0) + 1);
        continue;
      }
      add(mfn, true);
      maps.set(mfn, (maps.get(mfn) ?? 0) + 1);
    }
  }

  return () => {
    broken = [];
    counts.fill(0);
    typeCounts.fill(0);
    const kept = new Map<number, number>();
    const pins = new Map<number, number>();
    const maps = new Map<number, number>();
    const mapped = new Map<string, number>();
    const allowed = new Map<string, number>();
    for (let d = 0; d < shape.domains; d++) {
      if (domain.isPaged(d) === 0) continue;
      for (const [key, n] of addMaps(d, kept, pins, maps)) allowed.set(key, n);
      for (let k = 0; k < domain.maxVcpus(d); k++) {
        const v = domain.firstVcpu(d) + k;
        if (vcpu.guestTable(v) !== 0) add(vcpu.guestTable(v), true);
        if (vcpu.guestTableUser(v) !== 0) add(vcpu.guestTableUser(v), true);
        addArea(vcpu.runstateAddr(v), sizeOf(vcpu_runstate_info, 64));
        addArea(vcpu.timeAddr(v), sizeOf(vcpu_time_info, 64));
        if (vcpu.infoMoved(v) !== 0) addArea(vcpu.infoAddr(v), sizeOf(vcpu_info, 64));
      }
    }
    addForeign(kept, maps);
    const isPaged = (d: number): boolean => d >= 0 && d < shape.domains && domain.isPaged(d) !== 0;
    for (let mfn = 0; mfn < nr; mfn++) {
      const d = i32[owners + mfn]! - 1;
      if (!isPaged(d)) continue;
      const type = page.type(mfn);
      if ((type & PGT_shared) !== 0) add(mfn, true);
      if ((type & PGT_pinned) !== 0) add(mfn, true);
      const level = type & PGT_type_mask;
      if ((type & PGT_validated) !== 0 && level >= PGT.l1_page_table && level <= PGT.l4_page_table)
        addTable(d, mfn, level, mapped);
    }
    for (let mfn = 0; mfn < nr; mfn++) {
      const owner = i32[owners + mfn]!;
      if (owner === OWNER_GONE) {
        const count = kept.get(mfn) ?? 0;
        must(page.count(mfn) === count, () => `frame ${mfn} is kept for ${page.count(mfn)} mappings, not for ${count}`);
      } else if (owner === OWNER_XEN || !isPaged(owner - 1)) {
        must(counts[mfn] === 0, () => `frame ${mfn} is in use, and no domain's with page tables`);
        must(!kept.has(mfn), () => `frame ${mfn} of a domain that has ended is mapped, and not kept`);
      } else {
        const [count, typeCount] = [counts[mfn]!, typeCounts[mfn]!];
        must(page.count(mfn) === count, () => `frame ${mfn} has ${page.count(mfn)} references, found ${count}`);
        must(
          page.typeCount(mfn) === typeCount,
          () => `frame ${mfn}: ${page.typeCount(mfn)} of a type, not ${typeCount}`,
        );
        const n = maps.get(mfn) ?? 0;
        must(granted.maps(mfn) === n, () => `frame ${mfn} is mapped ${granted.maps(mfn)} times by others, found ${n}`);
      }
    }
    for (let d = 0; d < shape.domains; d++) {
      if (domain.isPaged(d) === 0) continue;
      for (let ref = 0, last = table.frames(d) * (PAGE_SIZE / 8); ref < last; ref++) {
        const a = d * GRANT_ENTRIES + ref;
        must(active.pins(a) === (pins.get(a) ?? 0), () => `grant ${ref} of domain ${d} is in use by ${active.pins(a)}`);
      }
    }
    // A writable one needs a handle that lets it be written; and all of them one each.
    for (const key of mapped.keys()) {
      const [d, mfn] = key.split(' ');
      const of = (kind: string): number => mapped.get(`${d} ${mfn} ${kind}`) ?? 0;
      const [writes, all] = [of('write'), of('read') + of('write')];
      const most = (kind: string): number => allowed.get(`${d} ${mfn} ${kind}`) ?? 0;
      must(writes <= most('write'), () => `domain ${d} has frame ${mfn} mapped to be written ${writes} times`);
      must(all <= most('read'), () => `domain ${d} has frame ${mfn} mapped ${all} times, by ${most('read')} handles`);
    }
    return broken;
  };
}
