/**
 * MOV from and to control and debug registers, and CLTS, of a paravirtual kernel (xen/arch/x86/pv/emul-priv-op.c, read_cr, write_cr;
 * misc-hypercalls.c, set_debugreg). Of CR0 only TS can be changed: a value with other bits changed is #GP. Of CR4 what may not be changed
 * stays. CR8 is none that a guest has.
 */
import iced from 'iced-x86';
import type { Image } from '../../shared/image.js';
import { XEN_ENODEV } from '../../shared/public/errno.js';
import type { X86Core } from './core.js';
import { type Emulations, type Outcome, registerAt } from './emulated.js';
import type { PrivilegedState } from './privileged-state.js';
import { ST, VECTOR } from './state.js';
import { CR0, CR0_OF_XEN, CR4_OF_GUEST, CR4_OF_XEN } from './system-registers.js';
import { hasTs, setTs } from './task-switched.js';

const { Register, RegisterExt } = iced;
/** DR4 and DR5 are others' names, as no guest has CR4.DE. */
const DEBUG_REGISTERS = 8;

export function emulatedControl(
  image: Image,
  core: Pick<X86Core, 'debugRegister' | 'setDebugRegister'>,
  state: PrivilegedState,
): Emulations {
  const view = new DataView(image.buffer);

  /** Undefined: there is no such register. */
  function readControl(st: number, n: number): bigint | undefined {
    switch (n) {
      case 0:
        return BigInt(CR0_OF_XEN + (hasTs(image, st) ? CR0.TS : 0));
      case 2:
        return state.cr2(st);
      case 3:
        return state.base(st) << 12n;
      case 4:
        return BigInt(CR4_OF_XEN | view.getInt32(st + ST.cr4, true));
      default:
        return undefined;
    }
  }

  function writeControl(st: number, n: number, x: bigint): Outcome {
    switch (n) {
      case 0:
        if ((x & ~BigInt(CR0.TS)) !== BigInt(CR0_OF_XEN)) return 'refused';
        setTs(image, st, (x & BigInt(CR0.TS)) !== 0n);
        return 'done';
      case 2:
        state.setCr2(st, x);
        return 'done';
      case 3:
        return state.setBase(st, x >> 12n) === 0 ? 'done' : 'refused';
      case 4:
        view.setInt32(st + ST.cr4, Number(x & BigInt(CR4_OF_GUEST)), true);
        return 'done';
      default:
        return 'refused';
    }
  }

  function undefinedRegister(st: number): Outcome {
    view.setInt32(st + ST.vector, VECTOR.UD, true);
    view.setInt32(st + ST.errorCode, 0, true);
    return 'raised';
  }

  function writeDebug(st: number, n: number, x: bigint): Outcome {
    const error = core.setDebugRegister(st, n, x);
    if (error === -XEN_ENODEV) return undefinedRegister(st);
    return error === 0 ? 'done' : 'refused';
  }

  function read(st: number, from: number): bigint | Outcome {
    if (RegisterExt.isCR(from)) return readControl(st, from - Register.CR0) ?? 'refused';
    return from - Register.DR0 < DEBUG_REGISTERS ? core.debugRegister(st, from - Register.DR0) : undefinedRegister(st);
  }

  function move(st: number, instruction: iced.Instruction): Outcome {
    const [to, from] = [instruction.opRegister(0), instruction.opRegister(1)];
    // Any other MOV has faults of its own.
    if (![to, from].some((register) => RegisterExt.isCR(register) || RegisterExt.isDR(register))) return 'refused';
    if (!state.isKernel(st)) return 'refused';
    if (RegisterExt.isGPR(from)) {
      const x = view.getBigUint64(st + registerAt(from), true);
      return RegisterExt.isCR(to) ? writeControl(st, to - Register.CR0, x) : writeDebug(st, to - Register.DR0, x);
    }
    const x = read(st, from);
    if (typeof x === 'string') return x;
    view.setBigUint64(st + registerAt(to), x, true);
    return 'done';
  }

  return {
    Mov: move,
    Clts(st) {
      if (!state.isKernel(st)) return 'refused';
      setTs(image, st, false);
      return 'done';
    },
  };
}
