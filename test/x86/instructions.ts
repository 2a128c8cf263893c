/** Small questions about instructions of iced-x86. */
import {
  Code,
  Encoder,
  type Instruction,
  InstructionInfoFactory,
  Mnemonic,
  OpAccess,
  OpKind,
  type Register,
  RegisterExt,
} from 'iced-x86';

const factory = new InstructionInfoFactory();
const encoder = new Encoder(64);

const WRITES: ReadonlySet<OpAccess> = new Set([
  OpAccess.Write,
  OpAccess.CondWrite,
  OpAccess.ReadWrite,
  OpAccess.ReadCondWrite,
]);

/** Its bytes at an address. Throws where the instruction cannot be encoded, such as AH with a REX prefix. */
export function encodeAt(instruction: Instruction, address: bigint): Uint8Array {
  encoder.takeBuffer();
  encoder.encode(instruction, address);
  return encoder.takeBuffer();
}

/** Jumps and calls whose target is in the instruction. */
export const isBranch = (instruction: Instruction): boolean =>
  instruction.opCount > 0 && instruction.op0Kind === OpKind.NearBranch64;

export const isConditional = ({ isJccShortOrNear, isLoop, isLoopcc, isJcxShort }: Instruction): boolean =>
  isJccShortOrNear || isLoop || isLoopcc || isJcxShort;

/** Jumps, calls and returns that do not go on with the next instruction. */
export const isUnconditional = ({ mnemonic }: Instruction): boolean =>
  mnemonic === Mnemonic.Jmp || mnemonic === Mnemonic.Call || mnemonic === Mnemonic.Ret;

/** Number of the general register that a register is (a part of), or undefined. */
export function gprOf(register: Register): number | undefined {
  if (!RegisterExt.isGPR(register)) return undefined;
  return RegisterExt.number(RegisterExt.fullRegister(register));
}

/** General registers an instruction writes, or part of which it does. */
export function gprsWritten(instruction: Instruction): number[] {
  const written: number[] = [];
  const info = factory.info(instruction);
  for (const used of info.usedRegisters()) {
    if (WRITES.has(used.access)) {
      const r = gprOf(used.register);
      if (r !== undefined) written.push(r);
    }
    used.free();
  }
  info.free();
  return written;
}

/** Bits of its first operand, r or r/m. */
export function operandBits(instruction: Instruction): number {
  if (instruction.op0Kind === OpKind.Register) return 8 * RegisterExt.size(instruction.op0Register);
  return Number(/rm(\d+)/.exec(Code[instruction.code])?.[1] ?? 0);
}

/** Indices of its immediates that can hold the address of an instruction. */
export function addressOperands(instruction: Instruction): number[] {
  return [...Array(instruction.opCount).keys()].filter((i) => {
    const kind = instruction.opKind(i);
    return kind === OpKind.Immediate64 || kind === OpKind.Immediate32 || kind === OpKind.Immediate32to64;
  });
}

/** Makes it go, or its immediate point, to another address. */
export function pointTo(instruction: Instruction, to: bigint): void {
  if (isBranch(instruction)) instruction.nearBranch64 = to;
  // The code page is in the lowest 2 GiB: sign extension changes nothing.
  else for (const i of addressOperands(instruction)) instruction.setImmediateI64(i, to);
}
