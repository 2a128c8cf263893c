/** The balloon driver: gives memory back to the hypervisor, or takes some, until the domain has as much as its tools want. */
import { offsetsOf, type Width, wordBytes } from '../../shared/public/layout.js';
import {
  XENMEM_current_reservation,
  XENMEM_decrease_reservation,
  XENMEM_populate_physmap,
  xen_memory_reservation,
} from '../../shared/public/memory.js';
import { __HYPERVISOR_memory_op, DOMID_SELF } from '../../shared/public/xen.js';
import type { GuestHypercalls } from './hypercalls.js';
import type { ModelMemory } from './memory.js';

/** Offset of the list of frames in the page for arguments, and how many of the longer kind fit behind it. */
const LIST = 64;
const LIST_ENTRIES = 24;
/** Pages go in superpages of 2 MiB as far as they can. */
const ORDER = 9;

/** On VCPU v: brings its domain to `wanted` pages. Stops early where the hypervisor does. */
export function balloon({ hv, kv }: ModelMemory, calls: GuestHypercalls): (v: number, wanted: number) => void {
  const { vcpu, domain } = hv.context;
  const { memory } = hv;

  /** Returns how many extents were done. */
  function move(v: number, cmd: number, order: number, first: number, count: number): number {
    const width: Width = domain.width(vcpu.domain(v)) === 64 ? 64 : 32;
    const word = wordBytes(width);
    const at = width === 64 ? offsetsOf(xen_memory_reservation, 64) : offsetsOf(xen_memory_reservation, 32);
    const arg = kv.argAddr(v);
    const set = word === 8 ? memory.setU64 : memory.setU32;
    set(arg + at.extent_start, kv.argGuest(v) + LIST);
    set(arg + at.nr_extents, count);
    memory.setU32(arg + at.extent_order, order);
    memory.setU32(arg + at.mem_flags, 0);
    memory.setU16(arg + at.domid, DOMID_SELF);
    for (let n = 0; n < count; n++) set(arg + LIST + word * n, first + n * 2 ** order);
    return calls.call(v, __HYPERVISOR_memory_op, cmd, kv.argGuest(v), 0, 0);
  }

  function current(v: number): number {
    memory.setU16(kv.argAddr(v), DOMID_SELF);
    return calls.call(v, __HYPERVISOR_memory_op, XENMEM_current_reservation, kv.argGuest(v), 0, 0);
  }

  return (v, wanted) => {
    for (let has = current(v); has !== wanted; ) {
      const pages = Math.abs(wanted - has);
      const order = pages >= 2 ** ORDER ? ORDER : 0;
      const count = Math.min(LIST_ENTRIES, Math.floor(pages / 2 ** order));
      const isMore = wanted > has;
      const done = isMore
        ? move(v, XENMEM_populate_physmap, order, has, count)
        : move(v, XENMEM_decrease_reservation, order, has - count * 2 ** order, count);
      has += (isMore ? 1 : -1) * Math.max(0, done) * 2 ** order;
      if (done < count) return;
    }
  };
}
