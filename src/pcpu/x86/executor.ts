/**
 * Runs VCPUs whose code is x86 machine code. An instruction takes a cycle: a VCPU has an anchor, the simulation time from which it runs, and
 * a count of the instructions since, so that it is at the same instruction at the same time however its run is cut up.
 *
 * Ordered mode: a VCPU that shares its memory with no other is run beside the turns (run-ahead.ts); what it does to others it does in a
 * turn, at the time at which it gets there. To touch memory that others write, its shared info page, is such a thing. VCPUs of one domain
 * run in turns only, L at a time, so that they too repeat exactly.
 *
 * Free mode: in turns of its worker, while other workers run others.
 */
import { RESTART } from '../../hv/calls/work.js';
import { CRASH } from '../../hv/domain.js';
import { writeHypercallPage } from '../../hv/hypercall-page.js';
import type { Hypervisor } from '../../hv/hypervisor.js';
import { NMI, VCPU } from '../../hv/records.js';
import { type Image, PAGE_SIZE } from '../../shared/image.js';
import { oscillators } from '../../shared/oscillator.js';
import { offsetsOf } from '../../shared/public/layout.js';
import { __HYPERVISOR_iret, VMASST_TYPE_architectural_iopl } from '../../shared/public/xen.js';
import { vcpu_info } from '../../shared/public/xen-layout.js';
import { MachineEnded } from '../../shared/spinlock.js';
import type { KeyTree } from '../key-tree.js';
import { type GoOn, type RunAhead, runAhead } from '../run-ahead.js';
import type { Executor } from '../turn.js';
import { busLock } from './bus-lock.js';
import { sharedCode } from './code-cache.js';
import { type X86Core, x86Core } from './core.js';
import { cpuid } from './cpuid.js';
import { debugStops } from './debug-stops.js';
import { registerDump } from './dump.js';
import { emulation } from './emulation.js';
import { type Entries, entries } from './entries.js';
import { type KernelRegisters, kernelRegisters } from './kernel-registers.js';
import { CODE_BYTES } from './records.js';
import { LOCAL } from './segment-descriptors.js';
import { EXIT, ST, STATE_BYTES, VECTOR } from './state.js';
import { vcpuContext } from './vcpu-context.js';
import { writableTables } from './writable-tables.js';

const [RAX, RDX, RSI, RDI, R8, R10] = [0, 2, 6, 7, 8, 10];
/** Registers of a hypercall's arguments (xen-x86_64.h). */
const ARGUMENTS = [RDI, RSI, RDX, R10, R8];
const SYSCALL_BYTES = 2n;
/** Instructions that are run at a time: a safe point every now and then. */
const LONGEST = 1 << 16;
/** Free mode: the part of the window that a guest runs without a look at what was sent to it, and so many windows without a turn at most. */
const WINDOW_PART = 8;
const WINDOWS = 4;

export interface X86Executor extends Executor, KernelRegisters {
  /** Whether VCPU v's code is machine code. */
  isOwn(v: number): boolean;
  readonly entries: Entries;
  /** HYPERVISOR_iret of a VCPU of machine code. @returns 0 */
  iret(v: number): number;
  /** Ordered mode: what runs beside the turns. */
  readonly ahead: RunAhead | undefined;
  /** Free mode: set by the loop that takes turns. Within a turn: nothing asks for another one, so guests may be run on. */
  mayGoOn: (fromNs: number, toNs: number) => boolean;
  /** The hypervisor may write so many bytes of a guest's memory. */
  touched(address: number, bytes: number): void;
}

/**
 * @param self number of the worker @param workers of so many
 * @param helpers workers that run guests at the same time in ordered mode
 * @param wake wakes another worker if it sleeps
 * @param ownNext when pCPU p itself has something to do that is not its guest's, ns
 * @param isEnded whether the machine was ended: asked while another worker is waited for
 */
export function x86Executor(
  image: Image,
  hv: Hypervisor,
  keys: KeyTree,
  self: number,
  { workers, helpers }: { readonly workers: number; readonly helpers: number },
  wake: (worker: number) => void,
  ownNext: (p: number) => number,
  isEnded: () => boolean,
): X86Executor {
  const { vcpu, domain, pcpu, params, regs, now, isOrdered, words } = hv.context;
  const nmi = image.column(VCPU, 'nmi');
  const nmiWord = (v: number): number => (nmi.base + (v << nmi.shift)) | 0;
  const { i32 } = image;
  const { pcpus } = hv.context.shape;
  const view = new DataView(image.buffer);
  const word = (address: number): number => address >> 2;
  const blocks = image.region('x86-vcpu').base;
  const frames = image.region('frames');
  const blockOf = (v: number): number => blocks + v * STATE_BYTES;
  const vcpuOf = (st: number): number => (st - blocks) / STATE_BYTES;
  const counters = oscillators(image);
  const nsPerInstruction = 1e9 / params.cycleHz;
  const longestNs = Math.max(1, Math.floor(LONGEST * nsPerInstruction));
  const turnNs = params.free === undefined ? params.latencyNs : Math.ceil(params.free.windowNs / WINDOW_PART);

  const anchor = (st: number): number => view.getFloat64(st + ST.anchor, true);
  const done = (st: number): number => view.getFloat64(st + ST.done, true);
  const setDone = (st: number, n: number): void => view.setFloat64(st + ST.done, n, true);
  function setAnchor(st: number, ns: number): void {
    view.setFloat64(st + ST.anchor, ns, true);
    setDone(st, 0);
  }
  /** When the VCPU has run so many instructions since its anchor. */
  const timeOf = (st: number, instructions: number): number => Math.ceil(anchor(st) + instructions * nsPerInstruction);
  /** How many it has run by then: exactly those that are over by `timeOf`. */
  function instructionsBy(st: number, ns: number): number {
    let n = Math.max(0, Math.floor((ns - anchor(st)) / nsPerInstruction));
    while (n > 0 && timeOf(st, n) > ns) n--;
    while (timeOf(st, n + 1) <= ns) n++;
    return n;
  }

  /** Of the run that goes on: its pCPU, its VCPU's block, its budget, and until when that is. */
  let [onPcpu, block, budget] = [0, 0, 0];
  /** In an array: a variable of a closure that is no integer is a new object each time it is set. */
  const budgetUntil = new Float64Array(1);
  /** Asks how far it may go on from there. */
  let goOn: GoOn | undefined;

  function more(): number {
    while (goOn !== undefined) {
      const until = goOn(budgetUntil[0]!);
      if (until <= budgetUntil[0]!) return 0;
      budgetUntil[0] = until;
      const instructions = instructionsBy(block, until) - done(block) - budget;
      budget += instructions;
      if (instructions > 0) return instructions;
    }
    return 0;
  }

  /** Whether it is a turn's: only there may it touch memory that others write. */
  let isInTurn = false;
  /** What others write while a VCPU runs: its vcpu_info and time page, wherever they are, and frames that are said to be such. */
  function isShared(st: number, page: number): boolean {
    const v = vcpuOf(st);
    const pageOf = (address: number): number => address & ~(PAGE_SIZE - 1);
    return (
      page === pageOf(vcpu.infoAddr(v)) ||
      page === pageOf(vcpu.timeAddr(v)) ||
      hv.mm.tables.types.isShared((page - frames.base) / PAGE_SIZE)
    );
  }

  const code = sharedCode(image, image.region('x86-code-frames').base, frames.base);

  const stops = debugStops(image, self, blocks);

  const core: X86Core = x86Core(
    image,
    {
      tlbs: image.region('x86-tlb').base,
      self,
      code: { base: image.region('x86-code').base + self * CODE_BYTES, bytes: CODE_BYTES },
    },
    {
      memory: { addressOf: (mfn) => (mfn < frames.count ? frames.base + mfn * PAGE_SIZE : -1) },
      code,
      rootOf(st) {
        const v = vcpuOf(st);
        return i32[word(st + ST.isUser)] === 0 ? vcpu.guestTable(v) : vcpu.guestTableUser(v);
      },
      shared: isOrdered ? { isShared, isInTurn: () => isInTurn } : undefined,
      counter(st, left) {
        const at = anchor(st) + (done(st) + budget - left) * nsPerInstruction;
        const ticks = BigInt(Math.floor(counters.read(onPcpu, at)));
        return [Number(BigInt.asIntN(32, ticks)), Number(BigInt.asIntN(32, ticks >> 32n))];
      },
      descriptors(st, selector) {
        const v = vcpuOf(st);
        const n = selector >> 3;
        if ((selector & LOCAL) === 0) return hv.mm.descriptors.gdtEntry(v, n);
        return n < entry.ldt(v).entries ? hv.mm.descriptors.ldtEntry(v, n) || -1 : 0;
      },
      more,
      stops,
      bus: isOrdered ? undefined : busLock(i32, image.region('x86-bus').base, self, workers, waiting),
      cpuid,
    },
  );

  /** See GuestInfo in entries.ts. */
  function findLocalTable(v: number, offset: number): boolean {
    const at = entry.ldt(v).address + BigInt(offset);
    const [lo, hi] = [Number(BigInt.asIntN(32, at)), Number(BigInt.asIntN(32, at >> 32n))];
    return hv.mm.locked(vcpu.domain(v), () => hv.mm.descriptors.mapLdt(v, Math.floor(offset / PAGE_SIZE), lo, hi));
  }

  /** A selector names an entry of a page of the local table that is not known: it is found, or it is a page fault of who asked. */
  function findLocalTableOf(v: number): boolean {
    const st = blockOf(v);
    const offset = i32[word(st + ST.errorCode)]!;
    if (findLocalTable(v, offset)) return true;
    i32[word(st + ST.vector)] = VECTOR.PF;
    i32[word(st + ST.errorCode)] = 0;
    view.setBigUint64(st + ST.cr2, BigInt.asUintN(64, entry.ldt(v).address + BigInt(offset)), true);
    return false;
  }

  const isLevelReal = (v: number): boolean =>
    (domain.vmAssist(vcpu.domain(v), 0) & (1 << VMASST_TYPE_architectural_iopl)) !== 0;
  const infoOf = offsetsOf(vcpu_info, 64);
  const entry: Entries = entries(
    image,
    core,
    {
      isMasked: (v) => image.u8[vcpu.infoAddr(v) + infoOf.evtchn_upcall_mask] !== 0,
      setMasked(v, isMasked) {
        image.u8[vcpu.infoAddr(v) + infoOf.evtchn_upcall_mask] = isMasked ? 1 : 0;
      },
      setCr2(v, low, high) {
        const at = word(vcpu.infoAddr(v) + infoOf['arch.cr2']);
        i32[at] = low;
        i32[at + 1] = high;
      },
      hasUserTable: (v) => vcpu.guestTableUser(v) !== 0,
      showsIopl: isLevelReal,
      findLocalTable,
      say: (v, what) => hv.console.print(`d${domain.id(vcpu.domain(v))}v${vcpu.id(v)} ${what}`),
    },
    blockOf,
  );
  const registers = kernelRegisters(image, core, blockOf, findLocalTable);
  const begin = vcpuContext(image, hv, core, entry, blockOf);

  const cr2Of = (st: number): number => vcpu.infoAddr(vcpuOf(st)) + infoOf['arch.cr2'];
  const isKernel = (st: number): boolean => i32[word(st + ST.isUser)] === 0;
  const emulate = emulation(image, core, {
    isKernel,
    // A kernel with real levels is in ring 0 of them.
    iopl: (st) => (isKernel(st) && isLevelReal(vcpuOf(st)) ? 3 : entry.iopl(vcpuOf(st))),
    isFirst: (st) => vcpu.id(vcpuOf(st)) === 0,
    counter: () => BigInt(Math.floor(counters.read(hv.smp.self(), now()))),
    cpuid,
    cr2: (st) => view.getBigUint64(cr2Of(st), true),
    setCr2: (st, address) => view.setBigUint64(cr2Of(st), address, true),
    base: (st) => BigInt(vcpu.guestTable(vcpuOf(st))),
    setBase(st, mfn) {
      const v = vcpuOf(st);
      return hv.mm.locked(vcpu.domain(v), () => hv.mm.setTable(v, Number(mfn), 'kernel'));
    },
    setHypercallPage(st, mfn) {
      const d = vcpu.domain(vcpuOf(st));
      return hv.mm.locked(d, () => hv.mm.fill(d, Number(mfn), (page) => writeHypercallPage(image.u8, page)));
    },
  });

  const writeTable = writableTables(image, hv, core);

  /** Runs so many instructions at most; returns why it ended. What was begun and not finished counts, too: it took its time. */
  function runFor(v: number, p: number, instructions: number): number {
    const st = blockOf(v);
    [onPcpu, block, budget] = [p, st, instructions];
    let reason = core.run(st, instructions, v, p);
    // Halted in the midst of its run, it goes on as if nothing had been.
    while (reason === EXIT.debug) {
      stops!.halt(v, waiting);
      const rest = i32[word(st + ST.left)]!;
      reason = rest === 0 ? EXIT.budget : core.run(st, rest, v, p);
    }
    const ran = budget - i32[word(st + ST.left)]!;
    const isCutOff = reason === EXIT.kept || (reason === EXIT.exception && i32[word(st + ST.vector)] !== VECTOR.DB);
    setDone(st, done(st) + ran + (isCutOff ? 1 : 0));
    i32[word(st + ST.pending)] = reason === EXIT.budget ? 0 : 1 + reason;
    return reason;
  }

  /** See RunTo in run-ahead.ts. */
  function runTo(v: number, p: number, untilNs: number, further?: GoOn): number {
    const st = blockOf(v);
    const instructions = instructionsBy(st, untilNs) - done(st);
    if (instructions <= 0) return Infinity;
    goOn = further;
    budgetUntil[0] = untilNs;
    const reason = runFor(v, p, instructions);
    goOn = undefined;
    return reason === EXIT.budget ? Infinity : timeOf(st, done(st));
  }

  const ahead = isOrdered ? runAhead(image, hv.context, keys, self, helpers, wake, longestNs, runTo) : undefined;

  /** Ends the domain of v, with what its VCPU was at. */
  function crash(v: number): void {
    stops?.crashed(v, i32[word(blockOf(v) + ST.vector)]!, waiting);
    for (const line of registerDump(image, blockOf(v), core.mmu))
      hv.console.print(`d${domain.id(vcpu.domain(v))}v${vcpu.id(v)} ${line}`);
    hv.domains.crash(vcpu.domain(v), CRASH.exception);
  }

  /** The rest of a hypercall is another one: v is at the instruction again. */
  function restart(v: number, st: number): void {
    i32[word(st + 8 * RAX)] = regs.nr(v);
    for (const [k, register] of ARGUMENTS.entries()) {
      i32[word(st + 8 * register)] = regs.lo(v, k);
      i32[word(st + 8 * register) + 1] = regs.hi(v, k);
    }
    view.setBigInt64(st + ST.rip, view.getBigInt64(st + ST.rip, true) - SYSCALL_BYTES, true);
  }

  function hypercall(v: number): void {
    const st = blockOf(v);
    regs.setNr(v, i32[word(st + 8 * RAX)]!);
    for (let k = 0; k < ARGUMENTS.length; k++) {
      const at = word(st + 8 * ARGUMENTS[k]!);
      regs.setLo(v, k, i32[at]!);
      regs.setHi(v, k, i32[at + 1]!);
    }
    const result = hv.hypercall.call(v);
    if (result === RESTART) {
      restart(v, st);
      return;
    }
    // That has set all registers.
    if (regs.nr(v) === __HYPERVISOR_iret) return;
    view.setInt32(st + 8 * RAX, result, true);
    view.setInt32(st + 8 * RAX + 4, Math.floor(result / 2 ** 32), true);
  }

  /** Enters v's kernel on p, or ends its domain. The stack may lie in memory that others write. */
  function enter(v: number, p: number, how: (v: number, p: number) => boolean): void {
    isInTurn = true;
    const isEntered = how(v, p);
    isInTurn = false;
    if (!isEntered) {
      pcpu.setGuestAt(p, Infinity);
      crash(v);
    }
  }

  /** Runs v on p as part of p's turn. @returns as runTo */
  function runInTurn(v: number, p: number, untilNs: number, further?: GoOn): number {
    isInTurn = true;
    const exitAt = runTo(v, p, untilNs, further);
    isInTurn = false;
    return exitAt;
  }

  /**
   * Ordered mode: v goes on in p's turn up to where somebody else, or p itself, can be at work again: so its exits, one close behind the
   * other, need no run beside the turns for each. It may touch memory that others write, as they do nothing meanwhile.
   * @returns as runTo
   */
  const runOn = (v: number, p: number): number =>
    runInTurn(v, p, Math.max(now(), Math.min(ownNext(p), ahead!.othersNext(p), now() + longestNs)));

  /** What touches memory that others write, which here it may. @returns whether it came to another exit that is not due yet */
  function touch(v: number, p: number): boolean {
    const st = blockOf(v);
    i32[word(st + ST.pending)] = 0;
    setDone(st, done(st) - 1);
    const exitAt = runOn(v, p);
    if (exitAt === Infinity || exitAt <= now()) return false;
    pcpu.setGuestAt(p, exitAt);
    return true;
  }

  /** From now on v runs on p. */
  function proceed(v: number, p: number): void {
    if (ahead !== undefined && domain.maxVcpus(vcpu.domain(v)) === 1) {
      hv.grants.settle(vcpu.domain(v));
      const exitAt = runOn(v, p);
      if (exitAt === Infinity) ahead.start(p);
      else pcpu.setGuestAt(p, exitAt);
      return;
    }
    const next = ownNext(p);
    const piece = Math.min(turnNs, longestNs);
    const until = Math.max(now() + 1, Math.min(next, now() + piece));
    if (isOrdered) {
      pcpu.setGuestAt(p, Math.min(runInTurn(v, p, until), until));
      return;
    }
    const end = Math.min(next, now() + WINDOWS * params.free!.windowNs);
    let reached = until;
    const exitAt = runInTurn(v, p, until, (ns) => {
      const to = Math.min(end, ns + piece);
      if (to > ns && executor.mayGoOn(ns, to)) reached = to;
      return reached;
    });
    pcpu.setGuestAt(p, Math.min(exitAt, reached));
  }

  function waiting(): void {
    if (isEnded()) throw new MachineEnded('the machine was ended while another pCPU was waited for');
  }

  const isOwn = (v: number): boolean => i32[word(blockOf(v) + ST.isPresent)] !== 0;

  const executor: X86Executor = {
    ...registers,
    isOwn,
    ahead,
    mayGoOn: () => false,

    run(v, p) {
      const st = blockOf(v);
      ahead?.stop(p);
      pcpu.setGuestAt(p, now());
      if (i32[word(st + ST.pending)] === 1 + EXIT.kept && touch(v, p)) return;
      const reason = i32[word(st + ST.pending)]! - 1;
      i32[word(st + ST.pending)] = 0;
      if (reason === EXIT.exception) {
        const isFound = i32[word(st + ST.vector)] === VECTOR.localTable && findLocalTableOf(v);
        if (!isFound) enter(v, p, (w, q) => writeTable(st, w, q) || emulate(st, w, q) || entry.exception(w, q));
        if (pcpu.softirq(p) !== 0 || pcpu.current(p) !== v) return;
      }
      if (reason === EXIT.syscall && !isKernel(st)) {
        enter(v, p, entry.syscall);
        if (pcpu.softirq(p) !== 0 || pcpu.current(p) !== v) return;
      } else if (reason === EXIT.syscall) {
        setAnchor(st, now());
        hypercall(v);
        // It may have given up its pCPU, or not be there any more.
        if (pcpu.softirq(p) !== 0 || pcpu.current(p) !== v) return;
      }
      // On the way back from the hypervisor, before anything else.
      if (reason >= 0 && hv.events.needsDelivery(v)) return;
      proceed(v, p);
    },

    entries: entry,

    iret(v) {
      if (vcpu.nmi(v) !== 0) words.and(nmiWord(v), ~NMI.masked);
      enter(v, hv.smp.self(), entry.iret);
      return 0;
    },

    mayUpcall(v, p) {
      const st = blockOf(v);
      // What it has done comes first.
      if (i32[word(st + ST.pending)] !== 0) return false;
      if (!core.isShadowed(st)) return true;
      pcpu.setEventIpiAt(p, now() + 1);
      return false;
    },

    upcall(v, p) {
      ahead?.stop(p);
      if (vcpu.nmi(v) === NMI.pending) {
        // Without a handler it is lost.
        const hasHandler = entry.isSet(entry.trap(v, VECTOR.NMI));
        words.and(nmiWord(v), ~NMI.pending);
        if (hasHandler) {
          words.or(nmiWord(v), NMI.masked);
          enter(v, p, entry.nmi);
        }
        if (pcpu.softirq(p) === 0) pcpu.setGuestAt(p, now());
        return;
      }
      if (!entry.hasEventCallback(v)) {
        pcpu.setGuestAt(p, Infinity);
        hv.domains.crash(vcpu.domain(v), CRASH.noCallback);
        return;
      }
      enter(v, p, entry.upcall);
      // It goes on in this turn, if it does.
      if (pcpu.softirq(p) === 0) pcpu.setGuestAt(p, now());
    },

    stall(v, p, ns) {
      const st = blockOf(v);
      view.setFloat64(st + ST.anchor, anchor(st) + ns, true);
      if (pcpu.guestAt(p) < Infinity) pcpu.setGuestAt(p, pcpu.guestAt(p) + ns);
    },

    switchOut(v, p) {
      const st = blockOf(v);
      ahead?.stop(p);
      const isPending = i32[word(st + ST.pending)] !== 0;
      const goesOnAt = isPending ? pcpu.guestAt(p) : anchor(st) + done(st) * nsPerInstruction;
      view.setFloat64(st + ST.owed, goesOnAt - now(), true);
      pcpu.setGuestAt(p, Infinity);
    },

    switchIn(v, p) {
      const st = blockOf(v);
      const goesOnAt = now() + view.getFloat64(st + ST.owed, true);
      setAnchor(st, goesOnAt);
      pcpu.setGuestAt(p, Math.max(now(), Math.ceil(goesOnAt)));
    },

    flushTlb(v, page) {
      for (let p = 0; p < pcpus; p++) core.shootDown(v, page, p, waiting);
    },

    switchedTable(v, of) {
      for (let p = 0; p < pcpus; p++) core.forget(v, p, of === 'user');
    },

    touched(address, bytes) {
      for (let frame = address & ~(PAGE_SIZE - 1); frame < address + bytes; frame += PAGE_SIZE)
        if (code.hasCode(frame)) core.codeChanged(frame);
    },

    made(v) {
      entry.made(v);
      // Some may still be the last domain's that had a VCPU of this number.
      for (let p = 0; p < pcpus; p++) for (const isUser of [false, true]) core.forget(v, p, isUser);
      image.u8.fill(0, blockOf(v), blockOf(v) + STATE_BYTES);
    },

    initialise(v, context) {
      // A workload's kernel has no registers.
      return domain.isPaged(vcpu.domain(v)) === 0 ? 0 : begin(v, context);
    },
  };
  stops?.guard(executor, waiting);
  return executor;
}
