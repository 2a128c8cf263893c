/**
 * Instructions that the hypervisor executes for a paravirtual kernel, which runs in ring 3, when they fault (xen/arch/x86/pv/emul-priv-op.c,
 * emul-inv-op.c, of Xen 4.17): CPUID behind the prefix of forced emulation (arch-x86/xen.h), an UD2 and three letters; and privileged ones,
 * of which the files that begin with emulated- say what they do. CLI and STI do nothing where the kernel has asked for its I/O privilege
 * level; WBINVD does nothing, for there are no caches. HLT, LGDT, LIDT, LLDT, LTR, LMSW, INVLPG, INVD, RDPMC, SWAPGS and the like are the
 * kernel's own faults.
 */
import iced from 'iced-x86';
import type { Image } from '../../shared/image.js';
import type { X86Core } from './core.js';
import type { Emulations, Outcome } from './emulated.js';
import { emulatedControl } from './emulated-control.js';
import { emulatedMsrs } from './emulated-msrs.js';
import { emulatedPorts } from './emulated-ports.js';
import { codeAtRip } from './fetch.js';
import type { PrivilegedState } from './privileged-state.js';
import { FLAG, ST, VECTOR } from './state.js';

/** UD2, "xen", CPUID. */
const FORCED_CPUID: readonly number[] = [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2];
/** Longest instruction, bytes. */
const LONGEST = 15;
/** Rings of a kernel and of applications, to those who ask what the level allows. */
const RING = { kernel: 1, application: 3 } as const;
/** Of DR6: a single step. */
const SINGLE_STEP = 0x4000n;

/**
 * Executes what has just faulted in VCPU v, whose block `st` is, on pCPU p.
 * @returns whether v goes on; false: the exception in its block is its kernel's
 */
export type Emulation = (st: number, v: number, p: number) => boolean;

export function emulation(image: Image, core: X86Core, state: PrivilegedState): Emulation {
  const view = new DataView(image.buffer);

  const hasLevel = (st: number): boolean => state.iopl(st) >= (state.isKernel(st) ? RING.kernel : RING.application);
  const nothingWithLevel = (st: number): Outcome => (hasLevel(st) ? 'done' : 'refused');
  const nothingOfKernel = (st: number): Outcome => (state.isKernel(st) ? 'done' : 'refused');

  const emulations: Emulations = {
    ...emulatedControl(image, core, state),
    ...emulatedMsrs(image, state),
    ...emulatedPorts(
      image,
      {
        load: (st, size, forWrite) => core.touching(st, () => core.mmu.load(st, size, forWrite)),
        store: (st, size) => core.touching(st, () => core.mmu.store(st, size)),
      },
      hasLevel,
    ),
    Cli: nothingWithLevel,
    Sti: nothingWithLevel,
    Wbinvd: nothingOfKernel,
    Wbnoinvd: nothingOfKernel,
  };

  function cpuid(st: number): void {
    const [eax, ebx, ecx, edx] = state.cpuid(view.getInt32(st + ST.gpr, true), view.getInt32(st + ST.gpr + 8, true));
    for (const [n, x] of [eax, ecx, edx, ebx].entries()) view.setBigUint64(st + ST.gpr + 8 * n, BigInt(x >>> 0), true);
  }

  /** It is done, and as long as that. Behind it comes the trap of a single step. */
  function pass(st: number, bytes: number): boolean {
    view.setBigUint64(st + ST.rip, view.getBigUint64(st + ST.rip, true) + BigInt(bytes), true);
    const flags = view.getInt32(st + ST.flags, true);
    view.setInt32(st + ST.flags, flags & ~FLAG.RF, true);
    if ((flags & FLAG.TF) === 0) return true;
    core.setDebugRegister(st, 6, core.debugRegister(st, 6) | SINGLE_STEP);
    view.setInt32(st + ST.vector, VECTOR.DB, true);
    view.setInt32(st + ST.errorCode, 0, true);
    return false;
  }

  function privileged(st: number, code: Uint8Array): boolean {
    const decoder = new iced.Decoder(64, code, iced.DecoderOptions.None);
    const instruction = decoder.decode();
    const emulate = emulations[iced.Mnemonic[instruction.mnemonic] ?? ''];
    const outcome = instruction.isInvalid || emulate === undefined ? 'refused' : emulate(st, instruction);
    const { length } = instruction;
    decoder.free();
    instruction.free();
    return outcome === 'done' ? pass(st, length) : outcome === 'again';
  }

  return (st, v, p) => {
    const vector = view.getInt32(st + ST.vector, true);
    const isPrivileged = vector === VECTOR.GP && view.getInt32(st + ST.errorCode, true) === 0;
    if (vector !== VECTOR.UD && !isPrivileged) return false;
    // Nearly all there are begin otherwise.
    if (!isPrivileged && core.beginsWith(st, v, p, FORCED_CPUID) === false) return false;
    core.use(st, v, p);
    const code = codeAtRip(image, core.mmu, st, LONGEST);
    if (isPrivileged) return privileged(st, Uint8Array.from(code));
    if (!FORCED_CPUID.every((byte, n) => code[n] === byte)) return false;
    cpuid(st);
    return pass(st, FORCED_CPUID.length);
  };
}
