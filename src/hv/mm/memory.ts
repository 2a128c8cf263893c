/** Memory of domains with page tables of their own: frames, tables, and which table a VCPU uses (xen/arch/x86/mm.c). */
import { PAGE_SIZE } from '../../shared/image.js';
import { XEN_EINVAL } from '../../shared/public/errno.js';
import { type HvContext, pageLock } from '../context.js';
import { GRANT_FRAMES } from '../grants/records.js';
import { type DescriptorTables, descriptorTables } from './descriptors.js';
import { type M2p, m2p } from './m2p.js';
import { type PageTables, pageTables } from './page-tables.js';
import { PGT } from './records.js';
import { type Reservation, reservation } from './reservation.js';

export interface MachineMemory {
  readonly tables: PageTables;
  readonly descriptors: DescriptorTables;
  /** Does something under the page lock of domain d. */
  locked<T>(d: number, act: () => T): T;
  readonly reservation: Reservation;
  /** Where a machine with such domains has its machine-to-physical table. */
  readonly m2p: M2p | undefined;
  /** The number that its domain calls a frame by; its upper half is 0 where it is one. */
  setPfn(mfn: number, pfn: number, hi?: number): void;
  /**
   * The top-level table by which v's kernel or its applications are run from now on. Under the page lock.
   * @param mfn 0 = none, for applications @returns 0, or as getPageAndType
   */
  setTable(v: number, mfn: number, of: 'kernel' | 'user'): number;
  /** Writes a frame that is no page table's. Under the page lock. @param write is given its image address @returns 0 or −EINVAL */
  fill(d: number, mfn: number, write: (page: number) => void): number;
  /** An area that is used for longer than a hypercall stays writable memory; `release` lets it go. @returns whether it can be */
  hold(d: number, address: number, bytes: number): boolean;
  release(address: number, bytes: number): void;
  /** The hypervisor wrote so many bytes at an image address. */
  touched(address: number, bytes: number): void;
  /** Domain d is new: others write its shared info page and its grant table, which are never page tables. */
  begin(d: number): void;
  /** The hypervisor's own frames: once, before any domain. */
  initialise(): void;
  /** Domain d has no memory any more, of so many frames from `first` on. */
  forget(first: number, count: number): void;
}

export interface MemoryParts {
  readonly flushTlb: (v: number, page: bigint | undefined) => void;
  /** VCPU v's kernel or its applications have another table. */
  readonly switched: (v: number, of: 'kernel' | 'user') => void;
  readonly touched: ((address: number, bytes: number) => void) | undefined;
  /** Domain d has lost the mapping of a grant, without having unmapped it. With no lock held. */
  readonly lostGrant: (d: number) => void;
}

export function machineMemory(hv: HvContext, { flushTlb, switched, touched, lostGrant }: MemoryParts): MachineMemory {
  const { image, domain, vcpu, locks, machine, me, shape } = hv;
  const frames = image.region('frames');
  const table = shape.xenFrames > 0 ? m2p(image) : undefined;
  const given = reservation(hv, table);
  /** Under the lock that is held here. */
  let hasLostGrant = false;
  const tables = pageTables(hv, table, {
    flush(d) {
      for (let k = 0; k < domain.maxVcpus(d); k++) flushTlb(domain.firstVcpu(d) + k, undefined);
    },
    freed: given.freed,
    lost() {
      hasLostGrant = true;
    },
  });
  const { types } = tables;
  const descriptors = descriptorTables(hv, types, touched);

  function locked<T>(d: number, act: () => T): T {
    const self = machine.turnOf(me);
    locks.acquire(pageLock(d), self);
    const result = act();
    locks.release(pageLock(d), self);
    if (hasLostGrant) {
      hasLostGrant = false;
      lostGrant(d);
    }
    return result;
  }

  const mfnAt = (address: number): number => Math.floor((address - frames.base) / PAGE_SIZE);

  function release(address: number, bytes: number): void {
    for (let mfn = mfnAt(address); mfn <= mfnAt(address + bytes - 1); mfn++) types.putPageAndType(mfn);
  }

  return {
    tables,
    descriptors,
    locked,
    reservation: given,
    m2p: table,
    setPfn: (mfn, pfn, hi) => table?.set(mfn, pfn, hi),
    setTable(v, mfn, of) {
      const isKernel = of === 'kernel';
      if (mfn === 0 && isKernel) return -XEN_EINVAL;
      const old = isKernel ? vcpu.guestTable(v) : vcpu.guestTableUser(v);
      if (mfn === old) {
        switched(v, of);
        return 0;
      }
      const rc = mfn === 0 ? 0 : types.getPageAndType(mfn, vcpu.domain(v), PGT.l4_page_table);
      if (rc !== 0) return rc;
      if (isKernel) {
        descriptors.dropLdt(v);
        vcpu.setGuestTable(v, mfn);
      } else vcpu.setGuestTableUser(v, mfn);
      // Nobody may walk what is no page table any more.
      switched(v, of);
      if (old !== 0) types.putPageAndType(old);
      return 0;
    },
    fill(d, mfn, write) {
      if (types.getPageAndType(mfn, d, PGT.writable_page) !== 0) return -XEN_EINVAL;
      write(tables.frame(mfn));
      touched?.(tables.frame(mfn), PAGE_SIZE);
      types.putPageAndType(mfn);
      return 0;
    },
    hold(d, address, bytes) {
      if (domain.isPaged(d) === 0) return true;
      const [first, last] = [mfnAt(address), mfnAt(address + bytes - 1)];
      for (let mfn = first; mfn <= last; mfn++) {
        if (types.getPageAndType(mfn, d, PGT.writable_page) === 0) continue;
        for (let held = first; held < mfn; held++) types.putPageAndType(held);
        return false;
      }
      return true;
    },
    release,
    touched: (address, bytes) => touched?.(address, bytes),
    begin(d) {
      const first = mfnAt(domain.frames(d));
      types.share(first);
      // Nothing of its memory: it cannot become a page table before it becomes a grant table, nor be given back.
      for (let mfn = first + domain.backedFrames(d) - GRANT_FRAMES; mfn < first + domain.backedFrames(d); mfn++)
        types.share(mfn);
    },
    initialise: () => table?.initialise(),
    forget(first, count) {
      for (let mfn = first; mfn < first + count; mfn++) {
        types.forget(mfn);
        table?.clear(mfn);
      }
    },
  };
}
