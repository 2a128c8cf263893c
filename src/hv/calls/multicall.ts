/**
 * multicall: a list of hypercalls in the guest's memory, run in order; each entry gets its own result. What one of them wrote where it could
 * not in place goes there before the next. One that is put off (work.ts) has the rest of its arguments written into its entry, as in Xen,
 * and the rest of the list is put off with it.
 */
import { XEN_EFAULT, XEN_EINVAL } from '../../shared/public/errno.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import { __HYPERVISOR_iret, __HYPERVISOR_multicall } from '../../shared/public/xen.js';
import { multicall_entry } from '../../shared/public/xen-layout.js';
import { FAULT } from '../guest-memory.js';
import { address64, type CallParts, type Handler, pointer } from './call.js';
import { RESTART } from './work.js';

const ARGS = 6;

export function multicall(parts: CallParts, dispatch: Handler): Handler {
  const { context, memory, work } = parts;
  const { vcpu, domain, regs } = context;
  return (v) => {
    const d = vcpu.domain(v);
    if (vcpu.inMulticall(v) !== 0) return -XEN_EINVAL;
    const width = domain.width(d) === 64 ? 64 : 32;
    const word = width / 8;
    const bytes = sizeOf(multicall_entry, width);
    const count = regs.lo(v, 1) >>> 0;
    const list = pointer(parts, v, 0, count * bytes);
    if (list === FAULT) return count === 0 ? 0 : -XEN_EFAULT;
    const at = offsetsOf(multicall_entry, width);
    const [firstLo, firstHi] = [regs.lo(v, 0), regs.hi(v, 0)];
    let n = 0;
    let isPutOff = false;
    vcpu.setInMulticall(v, 1);
    for (; n < count && !isPutOff; n++) {
      if (!work.mayGoOn()) break;
      const entry = list + n * bytes;
      regs.setNr(v, memory.u32(entry + at.op));
      for (let k = 0; k < ARGS; k++) {
        regs.setLo(v, k, memory.u32(entry + at.args + k * word));
        regs.setHi(v, k, width === 64 ? memory.u32(entry + at.args + k * word + 4) : 0);
      }
      const outer = memory.beginNested();
      const answer = dispatch(v);
      const isWritten = memory.endNested(outer);
      if (answer === RESTART) {
        for (let k = 0; k < ARGS; k++) {
          memory.setU32(entry + at.args + k * word, regs.lo(v, k));
          if (width === 64) memory.setU32(entry + at.args + k * word + 4, regs.hi(v, k));
        }
        isPutOff = true;
        n--;
        continue;
      }
      const result = isWritten || answer < 0 ? answer : -XEN_EFAULT;
      // All registers are those of its frame; nobody is there to go on.
      if (regs.nr(v) === __HYPERVISOR_iret && result === 0) {
        vcpu.setInMulticall(v, 0);
        return 0;
      }
      memory.setU32(entry + at.result, result);
      if (width === 64) memory.setU32(entry + at.result + 4, Math.floor(result / 2 ** 32));
    }
    vcpu.setInMulticall(v, 0);
    if (n === count) return 0;
    const rest = address64(firstLo, firstHi) + BigInt(n * bytes);
    regs.setNr(v, __HYPERVISOR_multicall);
    regs.setLo(v, 0, Number(BigInt.asIntN(32, rest)));
    regs.setHi(v, 0, Number(BigInt.asIntN(32, rest >> 32n)));
    regs.setLo(v, 1, count - n);
    regs.setHi(v, 1, 0);
    return RESTART;
  };
}
