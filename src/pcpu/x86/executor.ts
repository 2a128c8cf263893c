/**
 * Runs VCPUs whose code is x86 machine code. In a turn the guest goes on up to where something else may want its pCPU, at most L ahead of
 * what other pCPUs may yet send; what it then does is done at the time at which it gets there, which is the pCPU's next turn. So one
 * worker or many, the guest is at the same instruction when anything happens to it.
 *
 * An instruction takes a cycle.
 */
import { CRASH } from '../../hv/domain.js';
import type { Hypervisor } from '../../hv/hypervisor.js';
import { type Image, PAGE_SIZE } from '../../shared/image.js';
import { oscillators } from '../../shared/oscillator.js';
import { cpu_user_regs, vcpu_guest_context } from '../../shared/public/arch-x86-layout.js';
import { offsetsOf } from '../../shared/public/layout.js';
import type { Executor } from '../turn.js';
import { sharedCode } from './code-cache.js';
import { type X86Core, x86Core } from './core.js';
import { cpuid } from './cpuid.js';
import { registerDump } from './dump.js';
import { CODE_BYTES } from './records.js';
import {
  CODE_TLB_BYTES,
  EXIT,
  FCW_INITIAL,
  FLAG,
  GPR_NAMES,
  MXCSR_INITIAL,
  ST,
  STATE_BYTES,
  TLB_BYTES,
} from './state.js';

const [RAX, RDX, RSI, RDI, R8, R10] = [0, 2, 6, 7, 8, 10];
/** Registers of a hypercall's arguments (xen-x86_64.h). */
const ARGUMENTS = [RDI, RSI, RDX, R10, R8];

export interface X86Executor extends Executor {
  /** Whether VCPU v's code is machine code. */
  isOwn(v: number): boolean;
}

/**
 * @param self number of the worker
 * @param othersNext when another pCPU than p may next do something, ns
 * @param ownNext when p itself has something to do that is not its guest's, ns
 */
export function x86Executor(
  image: Image,
  hv: Hypervisor,
  self: number,
  othersNext: (p: number) => number,
  ownNext: (p: number) => number,
): X86Executor {
  const { vcpu, domain, pcpu, params, regs, now } = hv.context;
  const { i32 } = image;
  const view = new DataView(image.buffer);
  const word = (address: number): number => address >> 2;
  const blocks = image.region('x86-vcpu').base;
  const frames = image.region('frames');
  const blockOf = (v: number): number => blocks + v * STATE_BYTES;
  const counters = oscillators(image);
  const nsPerInstruction = 1e9 / params.cycleHz;
  /** Instructions of a turn at most: a safe point every now and then. */
  const LONGEST = 1 << 16;
  let ranLast = -1;

  const core: X86Core = x86Core(
    image,
    {
      tlb: image.region('x86-tlb').base + self * TLB_BYTES,
      codeTlb: image.region('x86-code-tlb').base + self * CODE_TLB_BYTES,
      code: { base: image.region('x86-code').base + self * CODE_BYTES, bytes: CODE_BYTES },
    },
    {
      memory: { addressOf: (mfn) => (mfn < frames.count ? frames.base + mfn * PAGE_SIZE : -1) },
      code: sharedCode(image, image.region('x86-code-frames').base, frames.base),
      rootOf: (st) => i32[word(st + ST.root)]!,
      counter(st) {
        // Where it is: what it ran of this turn is not in the pCPU's clock yet.
        const at = startedAt + (budget - i32[word(st + ST.left)]!) * nsPerInstruction;
        const ticks = BigInt(Math.floor(counters.read(onPcpu, at)));
        return [Number(BigInt.asIntN(32, ticks)), Number(BigInt.asIntN(32, ticks >> 32n))];
      },
      cpuid,
    },
  );
  /** Of the run that goes on. */
  let [startedAt, budget, onPcpu] = [0, 0, 0];

  /** Ends the domain of v, with what its VCPU was at. */
  function crash(v: number): void {
    for (const line of registerDump(image, blockOf(v), core.mmu))
      hv.console.print(`d${domain.id(vcpu.domain(v))}v${vcpu.id(v)} ${line}`);
    hv.domains.crash(vcpu.domain(v), CRASH.exception);
  }

  function hypercall(v: number): void {
    const st = blockOf(v);
    regs.setNr(v, i32[word(st + 8 * RAX)]!);
    for (const [k, register] of ARGUMENTS.entries()) {
      regs.setLo(v, k, i32[word(st + 8 * register)]!);
      regs.setHi(v, k, i32[word(st + 8 * register) + 1]!);
    }
    const result = hv.hypercall.call(v);
    view.setBigInt64(st + 8 * RAX, BigInt(result), true);
  }

  /** Runs v's code on p from now on, and says when it gets to where it stops. */
  function execute(v: number, p: number): void {
    const st = blockOf(v);
    if (ranLast !== v) core.flush(st);
    ranLast = v;
    startedAt = now();
    onPcpu = p;
    const until = Math.min(ownNext(p), othersNext(p) + params.latencyNs);
    const ns = Math.max(params.latencyNs, until - startedAt);
    budget = Math.max(1, Math.min(LONGEST, Math.floor(Math.min(ns, ownNext(p) - startedAt) / nsPerInstruction)));
    const reason = core.run(st, budget);
    const done = budget - i32[word(st + ST.left)]!;
    i32[word(st + ST.pending)] = 1 + reason;
    pcpu.setGuestAt(p, startedAt + Math.max(1, Math.ceil(done * nsPerInstruction)));
  }

  const isOwn = (v: number): boolean => i32[word(blockOf(v) + ST.isPresent)] !== 0;

  return {
    isOwn,

    run(v, p) {
      const st = blockOf(v);
      const pending = i32[word(st + ST.pending)]! - 1;
      i32[word(st + ST.pending)] = 0;
      if (pending === EXIT.exception) {
        pcpu.setGuestAt(p, Infinity);
        crash(v);
        return;
      }
      if (pending === EXIT.syscall) {
        pcpu.setGuestAt(p, now());
        hypercall(v);
        // It may have given up its pCPU, or not be there any more.
        if (pcpu.softirq(p) !== 0 || pcpu.current(p) !== v) return;
      }
      execute(v, p);
    },

    upcall(v, p) {
      // It has not said where: the public ABI's callbacks are for kernels that set up their own tables.
      pcpu.setGuestAt(p, Infinity);
      hv.domains.crash(vcpu.domain(v), CRASH.noCallback);
    },

    stall(_v, p, ns) {
      if (pcpu.guestAt(p) < Infinity) pcpu.setGuestAt(p, pcpu.guestAt(p) + ns);
    },

    switchOut(v, p) {
      view.setFloat64(blockOf(v) + ST.owed, Math.max(0, pcpu.guestAt(p) - now()), true);
      pcpu.setGuestAt(p, Infinity);
    },

    switchIn(v, p) {
      pcpu.setGuestAt(p, now() + view.getFloat64(blockOf(v) + ST.owed, true));
    },

    made(v) {
      image.u8.fill(0, blockOf(v), blockOf(v) + STATE_BYTES);
    },

    initialise(v, context) {
      // The first VCPU of a domain has had its registers from the domain builder.
      if (!isOwn(domain.firstVcpu(vcpu.domain(v)))) return;
      const st = blockOf(v);
      const at = offsetsOf(vcpu_guest_context, 64);
      const user = offsetsOf(cpu_user_regs, 64) as Readonly<Record<string, number>>;
      const from = context + at.user_regs;
      image.u8.fill(0, st, st + STATE_BYTES);
      for (const [n, name] of GPR_NAMES.entries()) {
        view.setBigUint64(st + 8 * n, view.getBigUint64(from + user[name]!, true), true);
      }
      view.setBigUint64(st + ST.rip, view.getBigUint64(from + user.rip!, true), true);
      i32[word(st + ST.flags)] = FLAG.IF;
      view.setUint32(st + ST.mxcsr, MXCSR_INITIAL, true);
      view.setUint16(st + ST.fcw, FCW_INITIAL, true);
      // Frame numbers are machine ones, as everywhere in the ABI.
      i32[word(st + ST.root)] = Number(view.getBigUint64(context + at.ctrlreg + 24, true) >> 12n);
      i32[word(st + ST.isPresent)] = 1;
    },
  };
}
