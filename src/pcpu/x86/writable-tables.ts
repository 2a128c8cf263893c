/**
 * Page tables that a kernel writes as if it could (xen/arch/x86/pv/ro-page-fault.c; vm_assist of type writable_pagetables). A write of its
 * own to a page that is mapped, but not to be written, and is one of its level-1 page tables is done to a copy of that, by the instruction
 * itself, whatever it is; the entry that it has changed there is then set as mmu_update would. What changes more than one, as no write of 8
 * aligned bytes does, is left to the kernel, which has its page fault, as is an entry that it may not have.
 *
 * Nobody else changes the table meanwhile but walkers, who set accessed and dirty bits. Where one has, the entry is not what the instruction
 * has read any more: all of it is done again, so that a locked one loses no bit.
 *
 * Locking: the page lock of the domain, around all of it.
 */
import { FETCH_BYTES } from '../../hv/guest-memory.js';
import type { Hypervisor } from '../../hv/hypervisor.js';
import { COPIES_BYTES, mfnOf, PAGE_TABLE_ENTRIES, PGT, PTE } from '../../hv/mm/records.js';
import { walk } from '../../hv/mm/walk.js';
import { type Image, PAGE_SIZE } from '../../shared/image.js';
import { XEN_EAGAIN } from '../../shared/public/errno.js';
import { VMASST_TYPE_writable_pagetables } from '../../shared/public/xen.js';
import type { X86Core } from './core.js';
import { EXIT, FLAG, ST, STATE_BYTES, VECTOR } from './state.js';

/** Of a page fault's error code: what is there was written, and not to be. Fetches have a bit of their own. */
const PROTECTED_WRITE = 3;
const REASONS = 0x1b;

/** Does what VCPU v on pCPU p has faulted at. @returns whether it goes on; false: the exception in its block is its kernel's */
export type TableWrite = (st: number, v: number, p: number) => boolean;

export function writableTables(image: Image, { context, mm }: Hypervisor, core: X86Core): TableWrite {
  const { vcpu, domain, me } = context;
  const { i32, u8 } = image;
  const view = new DataView(image.buffer);
  const frames = image.region('frames');
  const { types } = mm.tables;
  /** No hypercall is under way, so there are no copies. */
  const scratch = image.region('guest-copies').base + me * COPIES_BYTES + FETCH_BYTES;
  const word = (address: number): number => address >> 2;

  /** The entries in which the copy differs. */
  function changed(original: Int32Array): number[] {
    const entries: number[] = [];
    for (let n = 0; n < PAGE_TABLE_ENTRIES; n++) {
      const at = word(scratch) + 2 * n;
      if (i32[at] !== original[2 * n] || i32[at + 1] !== original[2 * n + 1]) entries.push(n);
    }
    return entries;
  }

  /** The level-1 page table of domain d that is mapped there, and cannot be written; −1: there is none. */
  function tableAt(d: number, v: number, address: bigint): number {
    const [low, high] = [Number(BigInt.asIntN(32, address)), Number(BigInt.asIntN(32, address >> 32n))];
    const found = walk(image, frames, vcpu.guestTable(v), low, high);
    if (found === undefined || (found.lo & (PTE.present | PTE.rw)) !== PTE.present) return -1;
    const table = mfnOf(found.lo, found.hi);
    return types.isOwner(table, d) && types.typeOf(table) === PGT.l1_page_table ? table : -1;
  }

  /** @returns whether v goes on; undefined: to be done again */
  function attempt(d: number, st: number, v: number, p: number, address: bigint): boolean | undefined {
    const table = tableAt(d, v, address);
    if (table < 0) return false;
    const before = u8.slice(st, st + STATE_BYTES);
    const from = mm.tables.frame(table);
    const original = i32.slice(word(from), word(from + PAGE_SIZE));
    i32.set(original, word(scratch));
    // It is no breakpoint a second time, and runs by itself.
    i32[word(st + ST.flags)]! |= FLAG.RF;
    const reason = core.runRedirected(st, v, p, address, scratch);
    const isTrap = reason === EXIT.exception && view.getInt32(st + ST.vector, true) === VECTOR.DB;
    // It has faulted otherwise, and changed nothing.
    if (reason === EXIT.exception && !isTrap) return false;
    const undo = (goesOn: boolean | undefined): boolean | undefined => {
      u8.set(before, st);
      return goesOn;
    };
    // Another VCPU has changed the code: it is no write any more.
    if (reason !== EXIT.budget && !isTrap) return undo(true);
    const [n, another] = changed(original);
    if (another !== undefined) return undo(false);
    if (n !== undefined) {
      const is = [i32[word(scratch) + 2 * n]!, i32[word(scratch) + 2 * n + 1]!] as const;
      const rc = mm.tables.replace(d, table, n, [original[2 * n]!, original[2 * n + 1]!], ...is);
      if (rc !== 0) return undo(rc === -XEN_EAGAIN ? undefined : false);
      mm.touched(from + 8 * n, 8);
    }
    return !isTrap;
  }

  return (st, v, p) => {
    const d = vcpu.domain(v);
    if (view.getInt32(st + ST.vector, true) !== VECTOR.PF) return false;
    if ((view.getInt32(st + ST.errorCode, true) & REASONS) !== PROTECTED_WRITE) return false;
    if ((domain.vmAssist(d, 0) & (1 << VMASST_TYPE_writable_pagetables)) === 0) return false;
    if (view.getInt32(st + ST.isUser, true) !== 0) return false;
    const address = view.getBigUint64(st + ST.cr2, true);
    return mm.locked(d, () => {
      for (;;) {
        const goesOn = attempt(d, st, v, p, address);
        if (goesOn !== undefined) return goesOn;
      }
    });
  };
}
