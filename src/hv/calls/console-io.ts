/** console_io: a guest's words; domain 0's are on the hypervisor's own console as well. Nobody has input here. */
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS } from '../../shared/public/errno.js';
import { CONSOLEIO_read, CONSOLEIO_write } from '../../shared/public/xen.js';
import { FAULT } from '../guest-memory.js';
import { type CallParts, type Handler, pointer } from './call.js';
import { PRIVILEGED } from './toolstack.js';

export function consoleIo(parts: CallParts): Handler {
  const { context, memory, consoles, console } = parts;
  const { vcpu, regs } = context;
  return (v) => {
    const cmd = regs.lo(v, 0);
    if (cmd === CONSOLEIO_read) return 0;
    if (cmd !== CONSOLEIO_write) return -XEN_ENOSYS;
    const count = regs.lo(v, 1);
    if (count < 0) return -XEN_EINVAL;
    const from = pointer(parts, v, 2, count);
    if (from === FAULT) return -XEN_EFAULT;
    const d = vcpu.domain(v);
    consoles.write(d, memory.bytes(from, count));
    if (d === PRIVILEGED) console.write(memory.bytes(from, count));
    return 0;
  };
}
