/**
 * Lists of requests, as mmu_update and mmuext_op have them: arguments 0 to 2 are the list, how many there are, and where the number of
 * those that were done is to be written (0 = nowhere). A list that is interrupted goes on with the rest of it, and counts on.
 */
import { XEN_EFAULT } from '../../shared/public/errno.js';
import { FAULT } from '../guest-memory.js';
import { isGuestAddress } from '../mm/records.js';
import { type CallParts, pointer } from './call.js';
import { RESTART } from './work.js';

/** Of the number of requests: those before them are done, and their number is where it is to be written (MMU_UPDATE_PREEMPTED). */
const GOES_ON = 0x8000_0000 | 0;

export function requestList(parts: CallParts): (v: number, bytes: number, perform: (at: number) => number) => number {
  const { context, memory, work } = parts;
  const { vcpu, domain, regs } = context;

  /** @param perform does the request at an image address: 0, or a negated errno, which ends the list @returns 0, or that */
  return (v, bytes, perform) => {
    const d = vcpu.domain(v);
    const is64 = domain.width(d) === 64;
    const count = (regs.lo(v, 1) & ~GOES_ON) >>> 0;
    const [low, high] = [regs.lo(v, 0), is64 ? regs.hi(v, 0) : 0];
    /** High half of the address so many bytes behind the list's first. */
    const highAt = (bytes: number): number => (high + Math.floor(((low >>> 0) + bytes) / 2 ** 32)) | 0;
    if (is64 && !isGuestAddress(regs.hi(v, 0))) return -XEN_EFAULT;
    const told = regs.lo(v, 2) !== 0 || (is64 && regs.hi(v, 2) !== 0) ? pointer(parts, v, 2, 4) : FAULT;
    const before = told !== FAULT && (regs.lo(v, 1) & GOES_ON) !== 0 ? memory.u32(told) : 0;
    let [done, result] = [0, 0];
    for (; done < count; done++) {
      if (!work.mayGoOn()) {
        result = RESTART;
        break;
      }
      const at = memory.fetch(d, (low + done * bytes) | 0, highAt(done * bytes), bytes);
      result = at === FAULT ? -XEN_EFAULT : perform(at);
      if (result !== 0) break;
    }
    if (told !== FAULT) memory.setU32(told, before + done);
    if (result !== RESTART) return result;
    regs.setLo(v, 0, (low + done * bytes) | 0);
    regs.setHi(v, 0, highAt(done * bytes));
    regs.setLo(v, 1, (count - done) | GOES_ON);
    return RESTART;
  };
}
