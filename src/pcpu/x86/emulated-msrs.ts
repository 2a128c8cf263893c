/**
 * RDMSR and WRMSR of a paravirtual kernel (xen/arch/x86/msr.c, guest_rdmsr; pv/emul-priv-op.c, read_msr, write_msr, of Xen 4.17): what is
 * not in the table is #GP, as is what cannot be written. The processor is of no maker that Xen knows, and has what CPUID names: so there
 * is no TSC_AUX, and nothing of power states, machine checks, MTRRs or speculation. STAR, LSTAR, CSTAR and the like are Xen's.
 */
import type { Image } from '../../shared/image.js';
import { type Emulations, isCanonical } from './emulated.js';
import type { PrivilegedState } from './privileged-state.js';
import { ST } from './state.js';

const [RAX, RCX, RDX] = [ST.gpr, ST.gpr + 8, ST.gpr + 16];

/** SCE, LME, LMA and NXE. */
const EFER = 0xd01n;
/** Where the APIC would be, enabled; and that it is the first processor's. */
const APIC_BASE = { enabled: 0xfee0_0800n, isFirst: 0x100n } as const;
/** Fast strings; no traces of branches, none of events, no messages of task priorities. */
const MISC_ENABLE = 0x80_1801n;
/** Write-back, write-through, uncached-minus, uncached, write-combining, write-protected: Xen's. */
const PAT = 0x0501_0007_0406n;

interface Msr {
  read(st: number): bigint;
  /** False: #GP. @default it always is */
  write?(st: number, x: bigint): boolean;
}

export function emulatedMsrs({ buffer }: Image, state: PrivilegedState): Emulations {
  const view = new DataView(buffer);

  /** A segment's base, which is an address. */
  const base = (at: number): Msr => ({
    read: (st) => view.getBigUint64(st + at, true),
    write(st, x) {
      if (!isCanonical(x)) return false;
      view.setBigUint64(st + at, x, true);
      return true;
    },
  });
  /** One that is as it is. */
  const constant = (x: bigint, write?: Msr['write']): Msr => ({ read: () => x, ...(write && { write }) });
  /** Writes are dropped: it stays. */
  const dropped = (): boolean => true;

  const msrs: Readonly<Record<number, Msr>> = {
    /** IA32_TSC. */
    16: { read: state.counter },
    /** APIC_BASE. */
    27: { read: (st) => APIC_BASE.enabled | (state.isFirst(st) ? APIC_BASE.isFirst : 0n) },
    /** PLATFORM_INFO and MISC_FEATURES_ENABLES: CPUID does not fault. */
    206: constant(0n),
    320: constant(0n, (_, x) => x === 0n),
    416: constant(MISC_ENABLE, dropped),
    631: constant(PAT),
    /** PERF_CAPABILITIES. */
    837: constant(0n),
    /** Xen's hypercall page, by the frame that it is to be. */
    1073741824: constant(0n, (st, x) => (x & 4095n) === 0n && state.setHypercallPage(st, x >> 12n) === 0),
    3221225600: constant(EFER, dropped),
    3221225728: base(ST.fsBase),
    3221225729: base(ST.gsBase),
    3221225730: base(ST.userGsBase),
  };
  const msrOf = (st: number): Msr | undefined => msrs[view.getUint32(st + RCX, true)];

  return {
    Rdmsr(st) {
      const msr = state.isKernel(st) ? msrOf(st) : undefined;
      if (msr === undefined) return 'refused';
      const x = msr.read(st);
      view.setBigUint64(st + RAX, BigInt.asUintN(32, x), true);
      view.setBigUint64(st + RDX, BigInt.asUintN(32, x >> 32n), true);
      return 'done';
    },
    Wrmsr(st) {
      const x = (BigInt(view.getUint32(st + RDX, true)) << 32n) | BigInt(view.getUint32(st + RAX, true));
      return state.isKernel(st) && msrOf(st)?.write?.(st, x) === true ? 'done' : 'refused';
    },
  };
}
