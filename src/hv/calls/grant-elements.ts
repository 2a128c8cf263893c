/** grant_table_op(cmd, list, count): what its commands do with each element of the list. */
import { XEN_EFAULT, XEN_EINVAL } from '../../shared/public/errno.js';
import { type AbiLayout, sizeOf } from '../../shared/public/layout.js';
import { FAULT } from '../guest-memory.js';
import { address64, type CallParts, pointer } from './call.js';

/** More are not looked at in one call. */
const MOST = 1 << 16;

/** Does something for each element, which is at an image address. @returns 0; −EFAULT: one is not there, those before are done; −EINVAL */
export type ForEach = (v: number, element: AbiLayout<unknown, unknown>, act: (at: number) => void) => number;

export function elementsOf(parts: CallParts): ForEach {
  const { context, memory } = parts;
  const { vcpu, domain, regs } = context;

  return (v, element, act) => {
    const d = vcpu.domain(v);
    const is64 = domain.width(d) === 64;
    const bytes = sizeOf(element, is64 ? 64 : 32);
    const count = regs.lo(v, 2);
    if (count > MOST) return -XEN_EINVAL;
    // As Xen looks at the whole range first, as far as that can be said of it without page tables.
    if (domain.isPaged(d) === 0 && pointer(parts, v, 1, count * bytes) === FAULT) return -XEN_EFAULT;
    const list = address64(regs.lo(v, 1), is64 ? regs.hi(v, 1) : 0);
    for (let n = 0; n < count; n++) {
      const from = BigInt.asUintN(64, list + BigInt(n * bytes));
      const at = memory.translate(d, Number(BigInt.asIntN(32, from)), Number(BigInt.asIntN(32, from >> 32n)), bytes);
      if (at === FAULT) return -XEN_EFAULT;
      act(at);
    }
    return 0;
  };
}
