/**
 * memory_op (memory.h): reservations, that is how much memory a domain has. A workload domain's frames are numbered from 0 as it
 * sees them, and few of them are backed (frames.ts): frames are given and taken by number, and those that are backed stay.
 *
 * The three commands with a list answer how many of its extents they have done, as Xen's do: a bad argument, a domain that is not
 * there or is not the caller's to change, and a host without memory all end the list early, if need be before its first extent. A
 * domain with page tables of its own names its frames as the machine does (physical-memory.ts); domain 0, whose frame numbers are
 * translated, may have others' frames among them (foreign-memory.ts).
 */
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EPERM, XEN_ESRCH } from '../../shared/public/errno.js';
import { offsetsOf, sizeOf, type Width, wordBytes } from '../../shared/public/layout.js';
import * as M from '../../shared/public/memory.js';
import { DOMID_SELF } from '../../shared/public/xen.js';
import { FAULT } from '../guest-memory.js';
import { NOBODY } from '../records.js';
import { type CallParts, type Handler, pointer } from './call.js';
import { foreignMemory } from './foreign-memory.js';
import { physicalMemory } from './physical-memory.js';
import { PRIVILEGED } from './toolstack.js';

/** Bits of the command; above them is the extent at which a call that was interrupted goes on. */
const CMD_BITS = 6;
/** Most extents whose number still fits above the command. */
const MAX_EXTENTS = 0xffffffff >>> CMD_BITS;
/** log2 of the largest extent (Xen's DOMU_MAX_ORDER and PAGEALLOC_MAX_ORDER). */
const MAX_ORDER = 9;
const MAX_ORDER_PRIVILEGED = 18;

export function memoryOp(parts: CallParts): Handler {
  const { context, memory, domains, frames, console, separation } = parts;
  const { vcpu, domain, regs, host } = context;
  const LAYOUT = { 32: offsetsOf(M.xen_memory_reservation, 32), 64: offsetsOf(M.xen_memory_reservation, 64) };

  const physical = physicalMemory(parts);
  const foreign = foreignMemory(parts);
  const widthOf = (v: number): Width => (domain.width(vcpu.domain(v)) === 64 ? 64 : 32);

  /** The domain of that number, for one that may change or ask for it; or a negated errno. */
  function target(v: number, domid: number): number {
    const own = vcpu.domain(v);
    const d = domid === DOMID_SELF ? own : domains.find(domid);
    if (d === NOBODY) return -XEN_ESRCH;
    return d === own || own === PRIVILEGED ? d : -XEN_EPERM;
  }

  /** Does extents from `start` on; returns how many are done in all. */
  function adjust(v: number, cmd: number, start: number): number {
    const width = widthOf(v);
    const arg = pointer(parts, v, 1, sizeOf(M.xen_memory_reservation, width));
    if (arg === FAULT) return start;
    const at = LAYOUT[width];
    const word = wordBytes(width);
    const count = word === 8 ? memory.u64(arg + at.nr_extents) : memory.u32(arg + at.nr_extents);
    const order = memory.u32(arg + at.extent_order);
    if (count > MAX_EXTENTS || start >= count) return start;
    const d = target(v, memory.u16(arg + at.domid));
    const maxOrder = vcpu.domain(v) === PRIVILEGED ? MAX_ORDER_PRIVILEGED : MAX_ORDER;
    if (d < 0 || order > maxOrder || !domains.isAlive(d)) return start;
    if (d !== vcpu.domain(v)) separation.connect(vcpu.domain(v), d);
    if (domain.isPaged(d) !== 0) return width === 64 ? physical.adjust(v, d, cmd, start, count, order, arg) : start;
    const pages = 2 ** order;
    const isListed = cmd !== M.XENMEM_increase_reservation;
    const list = isListed ? memory.translateAt(vcpu.domain(v), arg + at.extent_start, count * word) : FAULT;
    if (isListed && list === FAULT) return start;
    const frame = (n: number): number => (word === 8 ? memory.u64(list + 8 * n) : memory.u32(list + 4 * n));

    for (let n = start; n < count; n++) {
      if (cmd === M.XENMEM_decrease_reservation) {
        if (frame(n) < domain.nrFrames(d) || !frames.takeBack(d, pages)) return n;
      } else if (!frames.give(d, pages)) {
        if (domain.totPages(d) + pages > domain.maxPages(d)) {
          const wanted = `${domain.totPages(d) + pages} > ${domain.maxPages(d)}`;
          console.print(`Over-allocation for domain ${domain.id(d)}: ${wanted}`);
        }
        return n;
      }
    }
    return count;
  }

  /** How much a domain has, or may have: the argument is its number alone. */
  function reservation(v: number, of: (d: number) => number): number {
    const arg = pointer(parts, v, 1, 2);
    if (arg === FAULT) return -XEN_EFAULT;
    const d = target(v, memory.u16(arg));
    return d < 0 ? d : of(d);
  }

  return (v) => {
    const cmd = regs.lo(v, 0) & ((1 << CMD_BITS) - 1);
    const start = regs.lo(v, 0) >>> CMD_BITS;
    switch (cmd) {
      case M.XENMEM_increase_reservation:
      case M.XENMEM_decrease_reservation:
      case M.XENMEM_populate_physmap:
        return adjust(v, cmd, start);
      case M.XENMEM_maximum_ram_page:
        return start !== 0 ? -XEN_EINVAL : host.totalPages(0);
      case M.XENMEM_current_reservation:
        return start !== 0 ? -XEN_EINVAL : reservation(v, domain.totPages);
      case M.XENMEM_maximum_reservation:
        return start !== 0 ? -XEN_EINVAL : reservation(v, domain.maxPages);
      default:
        if (start !== 0) return -XEN_ENOSYS;
        return domain.isPaged(vcpu.domain(v)) === 0 ? foreign(v, cmd) : physical.op(v, cmd);
    }
  };
}
