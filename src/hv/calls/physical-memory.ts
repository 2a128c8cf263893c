/**
 * memory_op of a domain with page tables of its own, which names frames by their numbers in the machine (xen/common/memory.c,
 * arch/x86/mm.c). It can give frames back, which leave it with their last reference, and be given as many again; and it is told where the
 * machine-to-physical table is. It has no memory map, for its toolstack makes none (libxl: only with e820_host), and no physical map that the
 * hypervisor translates.
 */

import { PAGE_SIZE } from '../../shared/image.js';
import { XEN_EACCES, XEN_EFAULT, XEN_EINVAL, XEN_ENOMEM, XEN_ENOSYS, XEN_EPERM } from '../../shared/public/errno.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import * as M from '../../shared/public/memory.js';
import { DOMID_SELF } from '../../shared/public/xen.js';
import { shared_info } from '../../shared/public/xen-layout.js';
import { FAULT } from '../guest-memory.js';
import { MACH2PHYS_VIRT_START } from '../mm/m2p.js';
import { INVALID_M2P_ENTRY, PAGE_TABLE_ENTRIES } from '../mm/records.js';
import { type CallParts, pointer } from './call.js';
import { RESTART } from './work.js';

/** End of the table's addresses, and the last frame that could have an entry there (asm-x86/config.h), whatever the machine has. */
const MACH2PHYS_VIRT_END = 0xffff_8040_0000_0000n;
const MAX_MFN = (MACH2PHYS_VIRT_END - MACH2PHYS_VIRT_START) / 8n - 1n;
/** log2 of the largest extent that a domain may exchange (CONFIG_DOMU_MAX_ORDER). */
const MAX_ORDER = 9;
/** A command's bits; above them is where it goes on. */
const CMD_BITS = 6;
const WORD = 8;

export interface PhysicalMemory {
  /** The commands with a list, of VCPU v about domain d, from extent `start` on; `arg` is an image address. @returns extents done in all */
  adjust(v: number, d: number, cmd: number, start: number, count: number, order: number, arg: number): number;
  /** The others. */
  op(v: number, cmd: number): number;
}

export function physicalMemory(parts: CallParts): PhysicalMemory {
  const { context, memory, mm, work } = parts;
  const { vcpu, domain, regs } = context;
  const { types } = mm.tables;
  const IN = offsetsOf(M.xen_memory_reservation, 64);
  const EXCHANGE = offsetsOf(M.xen_memory_exchange, 64);

  /** Frame numbers of a list are read and written one by one: it may lie anywhere. */
  function entryAt(v: number, list: bigint, n: number): number {
    const at = BigInt.asUintN(64, list + BigInt(n * WORD));
    return memory.translate(vcpu.domain(v), Number(BigInt.asIntN(32, at)), Number(BigInt.asIntN(32, at >> 32n)), WORD);
  }

  const address = (at: number): bigint => (BigInt(memory.u32(at + 4)) << 32n) | BigInt(memory.u32(at));

  /** Lets go of the frames of one extent. */
  const giveBack = (d: number, first: number, pages: number): boolean =>
    mm.locked(d, () => {
      for (let n = 0; n < pages; n++) if (!types.leave(first + n, d)) return false;
      return true;
    });

  /** One extent more. @param pfn what it is called by; undefined = that is not said @returns its first frame, or −1 */
  const take = (d: number, order: number, pfn: number | undefined): number =>
    mm.locked(d, () => {
      const first = mm.reservation.take(d, order, 1)?.[0];
      if (first === undefined) return -1;
      named(first, order, pfn);
      return first;
    });

  function named(first: number, order: number, pfn: number | undefined): void {
    mm.touched(mm.tables.frame(first), 2 ** order * PAGE_SIZE);
    if (pfn !== undefined) for (let n = 0; n < 2 ** order; n++) mm.setPfn(first + n, pfn + n);
  }

  function adjust(v: number, d: number, cmd: number, start: number, count: number, order: number, arg: number): number {
    const list = address(arg + IN.extent_start);
    const isListed = cmd !== M.XENMEM_increase_reservation || list !== 0n;
    for (let n = start; n < count; n++) {
      if (n > start && !work.mayGoOn()) return putOff(v, cmd, n);
      const outer = memory.beginNested();
      const at = isListed ? entryAt(v, list, n) : FAULT;
      if (isListed && at === FAULT) return n;
      const number = at === FAULT ? 0 : memory.u64(at);
      if (cmd === M.XENMEM_decrease_reservation) {
        if (!giveBack(d, number, 2 ** order)) return n;
      } else {
        const first = take(d, order, cmd === M.XENMEM_populate_physmap ? number : undefined);
        if (first < 0) return n;
        if (isListed) memory.setU64(at, first);
      }
      if (!memory.endNested(outer)) return n;
    }
    return count;
  }

  function putOff(v: number, cmd: number, n: number): number {
    regs.setLo(v, 0, cmd | (n << CMD_BITS));
    return RESTART;
  }

  /**
   * Frames for others, which may lie side by side: what is given goes first, and what is wanted is found among that and what was given back
   * before. Where it is not, nothing has changed.
   */
  function exchange(v: number): number {
    const arg = pointer(parts, v, 1, sizeOf(M.xen_memory_exchange, 64));
    if (arg === FAULT) return -XEN_EFAULT;
    const d = vcpu.domain(v);
    const of = (which: number) => ({
      list: address(which + IN.extent_start),
      count: memory.u64(which + IN.nr_extents),
      order: memory.u32(which + IN.extent_order),
      domid: memory.u16(which + IN.domid),
    });
    const [given, wanted] = [of(arg + EXCHANGE.in), of(arg + EXCHANGE.out)];
    const done = memory.u64(arg + EXCHANGE.nr_exchanged);
    if (given.order > MAX_ORDER || wanted.order > MAX_ORDER) return -XEN_EPERM;
    if (done > given.count) return -XEN_EINVAL;
    const total = given.count * 2 ** given.order;
    if (total > domain.backedFrames(d) || total !== wanted.count * 2 ** wanted.order) return -XEN_EINVAL;
    if ([given, wanted].some(({ domid }) => domid !== DOMID_SELF && domid !== domain.id(d))) return -XEN_EPERM;
    if (done > 0) return -XEN_EINVAL;
    const frames: number[] = [];
    for (let n = 0; n < given.count; n++) {
      const at = entryAt(v, given.list, n);
      if (at === FAULT) return -XEN_EFAULT;
      for (let k = 0; k < 2 ** given.order; k++) frames.push(memory.u64(at) + k);
    }
    const names: number[] = [];
    const places: number[] = [];
    for (let n = 0; n < wanted.count; n++) {
      const at = entryAt(v, wanted.list, n);
      if (at === FAULT) return -XEN_EFAULT;
      places.push(at);
      names.push(memory.u64(at));
    }
    const taken = mm.locked(d, () => {
      if (new Set(frames).size !== frames.length || !frames.every((mfn) => types.isUnused(mfn, d))) return -XEN_EINVAL;
      const before = frames.map((mfn) => mm.m2p?.get(mfn) ?? 0);
      for (const mfn of frames) types.leave(mfn, d);
      const extents = mm.reservation.take(d, wanted.order, wanted.count);
      if (extents !== undefined) {
        for (const [n, first] of extents.entries()) named(first, wanted.order, names[n]);
        return extents;
      }
      for (const [n, mfn] of frames.entries()) {
        mm.reservation.retake(d, mfn);
        mm.setPfn(mfn, before[n]!, before[n] === INVALID_M2P_ENTRY ? -1 : 0);
      }
      return -XEN_ENOMEM;
    });
    if (typeof taken === 'number') return taken;
    for (const [n, at] of places.entries()) memory.setU64(at, taken[n]!);
    memory.setU64(arg + EXCHANGE.nr_exchanged, given.count);
    return 0;
  }

  /** Where the table is, for those who want to map it themselves: a frame number for each 2 MiB of it. */
  function listM2p(v: number): number {
    const at = offsetsOf(M.xen_machphys_mfn_list, 64);
    const arg = pointer(parts, v, 1, sizeOf(M.xen_machphys_mfn_list, 64));
    if (arg === FAULT || mm.m2p === undefined) return -XEN_EFAULT;
    const extents = Math.ceil((mm.m2p.frames * WORD) / (PAGE_TABLE_ENTRIES * PAGE_SIZE));
    const count = Math.min(memory.u32(arg + at.max_extents), extents);
    const list = address(arg + at.extent_start);
    for (let n = 0; n < count; n++) {
      const to = entryAt(v, list, n);
      if (to === FAULT) return -XEN_EFAULT;
      memory.setU64(to, mm.m2p.first + n * PAGE_TABLE_ENTRIES);
    }
    memory.setU32(arg + at.nr_extents, count);
    return 0;
  }

  function mapping(v: number): number {
    const at = offsetsOf(M.xen_machphys_mapping, 64);
    const arg = pointer(parts, v, 1, sizeOf(M.xen_machphys_mapping, 64));
    if (arg === FAULT) return -XEN_EFAULT;
    const put = (where: number, x: bigint): void => {
      memory.setU32(arg + where, Number(x & 0xffff_ffffn));
      memory.setU32(arg + where + 4, Number(x >> 32n));
    };
    put(at.v_start, MACH2PHYS_VIRT_START);
    put(at.v_end, MACH2PHYS_VIRT_END);
    put(at.max_mfn, MAX_MFN);
    return 0;
  }

  /** The last frame number that the kernel says that it uses. */
  function maximumPfn(d: number): number {
    const pages = memory.u64(domain.sharedInfo(d) + offsetsOf(shared_info, 64).arch);
    return Math.max(1, pages) - 1;
  }

  return {
    adjust,
    op(v, cmd) {
      switch (cmd) {
        case M.XENMEM_exchange:
          return exchange(v);
        case M.XENMEM_machphys_mapping:
          return mapping(v);
        case M.XENMEM_machphys_mfn_list:
          return listM2p(v);
        case M.XENMEM_maximum_gpfn:
          return maximumPfn(vcpu.domain(v));
        case M.XENMEM_add_to_physmap:
          return pointer(parts, v, 1, sizeOf(M.xen_add_to_physmap, 64)) === FAULT ? -XEN_EFAULT : -XEN_EACCES;
        case M.XENMEM_machine_memory_map:
          return -XEN_EPERM;
        default:
          // XENMEM_memory_map among them.
          return -XEN_ENOSYS;
      }
    },
  };
}
