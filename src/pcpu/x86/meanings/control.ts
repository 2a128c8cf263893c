/** Where code goes on, flags by themselves, and what does nothing (Intel SDM vol. 1, 7.3.8, 7.3.13). */
import iced from 'iced-x86';
import type { Value } from '../ir.js';
import { EXIT, FLAG, RSP, ST, VECTOR } from '../state.js';
import { CONDITIONS, type Meaning, type Writer } from './writer.js';

const RCX = ST.gpr + 8;
const R11 = ST.gpr + 8 * 11;

/** An address to go on at, which is refused here where it is none: the instruction faults, not what it leads to. */
function checked(w: Writer, to: Value): Value {
  const extended = w.binary('shr_s', w.binary('shl', to, w.const(16)), w.const(16));
  w.trap(w.compare('ne', extended, to), VECTOR.GP);
  return to;
}

const target = (w: Writer): Value => checked(w, w.read(0));

const jump: Meaning = (w) => {
  if (w.form.operands[0]!.kind === 'branch') w.branch();
  else w.jump(target(w));
};

const jumpIf: Meaning = (w) => w.branch(w.condition(w.form.condition));

const call: Meaning = (w) => {
  const to = w.form.operands[0]!.kind === 'branch' ? undefined : target(w);
  const top = w.sub(w.rsp(), w.const(8));
  w.store(top, 8, w.nextRip());
  w.setFixed(RSP, 8, top);
  if (to === undefined) w.branch();
  else w.jump(to);
};

const ret: Meaning = (w) => {
  const top = w.rsp();
  const to = checked(w, w.load(top, 8));
  const more =
    w.form.operands[0]?.kind === 'immediate' ? w.add(w.const(8), w.and(w.imm(), w.const(0xffff))) : w.const(8);
  w.setFixed(RSP, 8, w.add(top, more));
  w.jump(to);
};

function loop(condition: 'e' | 'ne' | undefined): Meaning {
  return (w) => {
    // The count is as wide as addresses.
    const size = iced.Code[w.form.code]!.endsWith('_ECX') ? 4 : 8;
    const rest = w.mask(w.sub(w.fixed(RCX, size), w.const(1)), size);
    const goesOn = w.compare('ne', rest, w.const(0));
    const when = condition === undefined ? goesOn : w.both(goesOn, w.condition(condition));
    w.setFixed(RCX, 8, rest);
    w.branch(when);
  };
}

const setCarry =
  (how: (w: Writer) => Value): Meaning =>
  (w) => {
    const aux = w.aux();
    w.setFixed(ST.aux, 8, w.auxWith(aux, how(w), w.number(w.overflow())));
  };

const nothing: Meaning = () => {};

const raise =
  (vector: number): Meaning =>
  (w) =>
    w.trap(w.isZero(w.const(0)), vector);

/** The return address and flags as SYSCALL leaves them; the rest is the hypervisor's. */
const systemCall: Meaning = (w) => {
  w.setFixed(RCX, 8, w.nextRip());
  const flags = w.and(w.fixed(ST.flags, 4), w.const(~FLAG.RF));
  w.setFixed(R11, 8, w.or(w.or(flags, w.shl(w.fixed(ST.df, 4), 10)), w.or(w.statusFlags(), w.const(2))));
  w.exit(EXIT.syscall);
};

export const CONTROL: Readonly<Record<string, Meaning>> = {
  Jmp: jump,
  Call: call,
  Ret: ret,
  Loop: loop(undefined),
  Loope: loop('e'),
  Loopne: loop('ne'),
  Jrcxz: (w) => w.branch(w.isZero(w.fixed(RCX, 8))),
  Jecxz: (w) => w.branch(w.isZero(w.fixed(RCX, 4))),
  Clc: setCarry((w) => w.const(0)),
  Stc: setCarry((w) => w.const(1)),
  Cmc: setCarry((w) => w.xor(w.carry(), w.const(1))),
  Cld: (w) => w.setFixed(ST.df, 4, w.const(0)),
  Std: (w) => w.setFixed(ST.df, 4, w.const(1)),
  Nop: nothing,
  Reservednop: nothing,
  Pause: nothing,
  Endbr64: nothing,
  Lfence: nothing,
  Sfence: nothing,
  Mfence: (w) => w.fence(),
  Prefetchnta: nothing,
  Prefetcht0: nothing,
  Prefetcht1: nothing,
  Prefetcht2: nothing,
  Prefetchw: nothing,
  Prefetch: nothing,
  Prefetchwt1: nothing,
  Int1: raise(VECTOR.DB),
  Int3: raise(VECTOR.BP),
  // The gate, in the interrupt descriptor table: ring 3 may not use it.
  Int(w) {
    const vector = w.and(w.read(0), w.const(0xff));
    w.trap(w.isZero(w.const(0)), VECTOR.GP, w.or(w.shl(vector, 3), w.const(2)));
  },
  Iret: (w) => w.helper('interruptReturn', w.const(2)),
  Iretd: (w) => w.helper('interruptReturn', w.const(4)),
  Iretq: (w) => w.helper('interruptReturn', w.const(8)),
  Ud2: raise(VECTOR.UD),
  Syscall: systemCall,
  // Serialising: all stores before it are seen.
  Cpuid(w) {
    w.fence();
    w.helper('cpuid');
  },
  Rdtsc: (w) => w.helper('rdtsc'),
  String: (w) => w.helper('string'),
  ...Object.fromEntries(CONDITIONS.map((cc) => [`J${cc}`, jumpIf])),
};
