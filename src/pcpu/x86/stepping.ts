/**
 * One instruction at a time: what the processor looks at between two of them (Intel SDM vol. 3, 6.8.3, 6.9, 17.3.1). Code runs so while TF
 * is set or there are breakpoints, and for one instruction behind a load of SS and where RF is set.
 *
 * A trap belongs to an instruction that began with TF set, or that hit breakpoints for data; it is raised when that is done. An
 * instruction that ends otherwise, by a fault or in the hypervisor, loses its trap.
 */
import type { Image } from '../../shared/image.js';
import type { DebugRegisters } from './debug-registers.js';
import { EXIT, FLAG, ST, VECTOR } from './state.js';

/** Exceptions whose RIP is behind the instruction, so that it is not begun again. */
const TRAPS: readonly number[] = [VECTOR.DB, VECTOR.BP];

export interface Stepping {
  /** Whether the next instruction is to be run by itself. */
  isOn(st: number): boolean;
  /** Before it, `rip` of the block says which. @returns whether #DB is set up, and it is not to be run */
  before(st: number): boolean;
  /** Behind it. @param isDone whether it was, for runs end elsewhere, too @returns whether #DB is set up */
  after(st: number, reason: number, isDone: boolean): boolean;
  /** It has loaded all of the flags, RF among them, which is that of the next one. */
  returned(): void;
  /** It ended in an exception, whatever way it was run. */
  raised(st: number): void;
  /** It was not run: memory that it accesses is not to be touched now. */
  undone(st: number): void;
}

export function stepping({ i32 }: Image, debug: DebugRegisters): Stepping {
  const word = (address: number): number => address >> 2;
  const flags = (st: number): number => i32[word(st + ST.flags)]!;
  const setFlags = (st: number, x: number): number => (i32[word(st + ST.flags)] = x);
  const hits = (st: number): number => i32[word(st + ST.hits)]!;
  const isShadowed = (st: number): boolean => i32[word(st + ST.shadow)] !== 0;

  /** Of the instruction that is run: whether TF was set, whether it is the one behind a load of SS, what that one had hit. */
  let [hadTf, wasShadowed, heldHits] = [false, false, 0];
  let hasLoadedFlags = false;

  function setUp(st: number, breakpoints: number, isSingleStep: boolean): true {
    debug.report(st, breakpoints, isSingleStep);
    i32[word(st + ST.hits)] = 0;
    i32[word(st + ST.vector)] = VECTOR.DB;
    i32[word(st + ST.errorCode)] = 0;
    return true;
  }

  return {
    isOn: (st) =>
      (flags(st) & (FLAG.TF | FLAG.RF)) !== 0 ||
      debug.hasBreakpoints(st) ||
      isShadowed(st) ||
      i32[word(st + ST.syscallStep)] !== 0,

    before(st) {
      const isBehindSyscall = i32[word(st + ST.syscallStep)] !== 0;
      i32[word(st + ST.syscallStep)] = 0;
      hadTf = (flags(st) & FLAG.TF) !== 0;
      // SYSRET with TF set traps before the instruction that it leads to.
      if (isBehindSyscall && hadTf) return setUp(st, 0, true);
      hasLoadedFlags = false;
      wasShadowed = isShadowed(st);
      heldHits = hits(st);
      const isExempt = wasShadowed || (flags(st) & FLAG.RF) !== 0;
      const breakpoints = isExempt ? 0 : debug.atInstruction(st);
      return breakpoints !== 0 && setUp(st, breakpoints, false);
    },

    after(st, reason, isDone) {
      if (reason === EXIT.syscall) {
        i32[word(st + ST.syscallStep)] = hadTf ? 1 : 0;
        i32[word(st + ST.hits)] = 0;
      }
      // An element of a string: the instruction begins again, and is no breakpoint a second time.
      const isElement = reason === EXIT.attend && !isDone;
      if (!isDone && !isElement) return false;
      if (!hasLoadedFlags) setFlags(st, isElement ? flags(st) | FLAG.RF : flags(st) & ~FLAG.RF);
      // One that loads SS behind one that does holds off nothing more.
      if (wasShadowed) i32[word(st + ST.shadow)] = 0;
      if (reason === EXIT.syscall || isShadowed(st) || (!hadTf && hits(st) === 0)) return false;
      return setUp(st, hits(st), hadTf);
    },

    returned() {
      hasLoadedFlags = true;
    },

    raised(st) {
      i32[word(st + ST.shadow)] = 0;
      i32[word(st + ST.hits)] = 0;
      // One that is begun again behind its fault is no breakpoint a second time; one that is done has no RF any more.
      const isTrap = TRAPS.includes(i32[word(st + ST.vector)]!);
      setFlags(st, isTrap ? flags(st) & ~FLAG.RF : flags(st) | FLAG.RF);
    },

    undone(st) {
      i32[word(st + ST.hits)] = heldHits;
    },
  };
}
