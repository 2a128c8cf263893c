/** multicall: a list of hypercalls in the guest's memory, run in order; each entry gets its own result. */
import { XEN_EFAULT, XEN_EINVAL } from '../../shared/public/errno.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import { __HYPERVISOR_iret } from '../../shared/public/xen.js';
import { multicall_entry } from '../../shared/public/xen-layout.js';
import { FAULT } from '../guest-memory.js';
import { type CallParts, type Handler, pointer } from './call.js';

const ARGS = 6;

export function multicall(parts: CallParts, dispatch: Handler): Handler {
  const { context, memory } = parts;
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
    vcpu.setInMulticall(v, 1);
    for (let n = 0; n < count; n++) {
      const entry = list + n * bytes;
      regs.setNr(v, memory.u32(entry + at.op));
      for (let k = 0; k < ARGS; k++) {
        regs.setLo(v, k, memory.u32(entry + at.args + k * word));
        regs.setHi(v, k, width === 64 ? memory.u32(entry + at.args + k * word + 4) : 0);
      }
      const result = dispatch(v);
      // All registers are those of its frame; nobody is there to go on.
      if (regs.nr(v) === __HYPERVISOR_iret && result === 0) break;
      memory.setU32(entry + at.result, result);
      if (width === 64) memory.setU32(entry + at.result + 4, Math.floor(result / 2 ** 32));
    }
    vcpu.setInMulticall(v, 0);
    return 0;
  };
}
