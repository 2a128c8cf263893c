/** What a record says of an x87 instruction: one number, in the place of the immediate that these do not have. */
import iced from 'iced-x86';

const { Mnemonic, OpKind, Register, RegisterExt } = iced;

/** iced-x86's names of all that the core has, FXSAVE and FXRSTOR among them. */
export const X87_MNEMONICS = [
  ...(['Fadd', 'Fiadd', 'Faddp', 'Fsub', 'Fisub', 'Fsubp', 'Fsubr', 'Fisubr', 'Fsubrp'] as const),
  ...(['Fmul', 'Fimul', 'Fmulp', 'Fdiv', 'Fidiv', 'Fdivp', 'Fdivr', 'Fidivr', 'Fdivrp'] as const),
  ...(['Fcom', 'Fcomp', 'Fcompp', 'Ficom', 'Ficomp', 'Fucom', 'Fucomp', 'Fucompp', 'Ftst', 'Fxam'] as const),
  ...(['Fcomi', 'Fcomip', 'Fucomi', 'Fucomip'] as const),
  ...(['Fcmovb', 'Fcmove', 'Fcmovbe', 'Fcmovu', 'Fcmovnb', 'Fcmovne', 'Fcmovnbe', 'Fcmovnu'] as const),
  ...(['Fld', 'Fild', 'Fbld', 'Fst', 'Fstp', 'Fstpnce', 'Fist', 'Fistp', 'Fisttp', 'Fbstp', 'Fxch'] as const),
  ...(['Fld1', 'Fldz', 'Fldpi', 'Fldl2e', 'Fldl2t', 'Fldlg2', 'Fldln2'] as const),
  ...(['Fabs', 'Fchs', 'Fsqrt', 'Frndint', 'Fscale', 'Fxtract', 'Fprem', 'Fprem1'] as const),
  ...(['Fincstp', 'Fdecstp', 'Ffree', 'Ffreep', 'Fnop', 'Fneni', 'Fndisi', 'Fnsetpm', 'Wait'] as const),
  ...(['Fldcw', 'Fnstcw', 'Fnstsw', 'Fnclex', 'Fninit'] as const),
  ...(['Fnstenv', 'Fldenv', 'Fnsave', 'Frstor', 'Fxsave', 'Fxsave64', 'Fxrstor', 'Fxrstor64'] as const),
] as const;
export type X87Mnemonic = (typeof X87_MNEMONICS)[number];

const NUMBERS: ReadonlyMap<number, number> = new Map(X87_MNEMONICS.map((name, n) => [Mnemonic[name], n]));

export interface X87Code {
  readonly mnemonic: X87Mnemonic;
  /** iced-x86's MemorySize of the operand in memory; 0 where there is none. */
  readonly memory: number;
  /** Of ST(i). */
  readonly i: number;
  /** ST(i) is the destination, ST(0) the source. */
  readonly isToSti: boolean;
}

/** Undefined for instructions that are no x87's. */
export function x87Code(instruction: iced.Instruction): bigint | undefined {
  const number = NUMBERS.get(instruction.mnemonic);
  if (number === undefined) return undefined;
  // The code says which of the two is ST(i): that may be ST(0), too.
  const isToSti = iced.Code[instruction.code]!.endsWith('_sti_st0');
  const at = isToSti ? 0 : instruction.opCount - 1;
  const register = at >= 0 && instruction.opKind(at) === OpKind.Register ? instruction.opRegister(at) : Register.ST0;
  const i = RegisterExt.isST(register) ? RegisterExt.number(register) : 0;
  return BigInt(number | (instruction.memorySize << 8) | (i << 16) | (isToSti ? 1 << 20 : 0));
}

export function x87CodeOf(code: number): X87Code {
  return {
    mnemonic: X87_MNEMONICS[code & 0xff]!,
    memory: (code >> 8) & 0xff,
    i: (code >> 16) & 7,
    isToSti: code >> 20 !== 0,
  };
}
