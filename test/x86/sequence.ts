/**
 * A sequence of instructions as it grows, with what is known at its end whichever way one got there: values of registers, and
 * which status flags are defined.
 */
import { Code, type Instruction, Mnemonic, OpKind } from 'iced-x86';
import { RBP, RSP, STATUS_FLAGS } from './case.js';
import { definedAfter, definedIfFaults } from './defined-flags.js';
import { encodeAt, gprOf, gprsWritten, isConditional, isUnconditional, pointTo } from './instructions.js';

/** Where a jump goes: an instruction that is yet to come, or the end. */
export interface Label {
  /** Index of the instruction, once that is known. */
  index: number;
  /** What is known where jumps to it are taken. */
  readonly from: Knowledge[];
  /** Bytes before it was made: short jumps reach 127 farther. */
  readonly madeAt: number;
}

interface Knowledge {
  readonly known: readonly (bigint | undefined)[];
  readonly defined: bigint;
}

interface Item {
  readonly instruction: Instruction;
  readonly length: number;
  /** Status flags that are defined where it faults. */
  readonly defined: bigint;
  /** What its branch, or its immediate, goes to. */
  readonly label: Label | undefined;
}

export interface Assembled {
  readonly code: Uint8Array;
  /** Status flags that are defined at the end. */
  readonly definedFlags: bigint;
  /** Status flags that are defined where an instruction faults, by its address, and at the end. */
  readonly definedAt: ReadonlyMap<bigint, bigint>;
}

/** Any address: lengths do not depend on it. */
const SOMEWHERE = 0x1000_0000n;

export class Sequence {
  private readonly items: Item[] = [];
  private pending: { label: Label; units: number }[] = [];
  private isReachable = true;
  /** Values of general registers, where they are known. */
  known: (bigint | undefined)[];
  /** Status flags that are defined. */
  defined: bigint = STATUS_FLAGS;
  bytes = 0;
  /** What it is made of, but for what is never executed. */
  readonly codes: Code[] = [];

  constructor(gpr: BigUint64Array) {
    this.known = [...gpr];
  }

  get length(): number {
    return this.items.length;
  }

  /** A label that is to be placed after some more units. */
  label(units: number): Label {
    const label: Label = { index: -1, from: [], madeAt: this.bytes };
    this.pending.push({ label, units });
    return label;
  }

  /** Between units, the only places that jumps go to: those whose values were prepared stay with what they were for. */
  nextUnit(): void {
    const due = this.pending.filter((p) => p.units-- <= 0 || this.bytes - p.label.madeAt > 40);
    this.pending = this.pending.filter((p) => !due.includes(p));
    for (const { label } of due) this.place(label);
  }

  private place(label: Label): void {
    label.index = this.items.length;
    const ways: Knowledge[] = this.isReachable
      ? [{ known: this.known, defined: this.defined }, ...label.from]
      : label.from;
    const [first, ...others] = ways;
    if (!first) return;
    this.isReachable = true;
    this.known = first.known.map((value, r) => (others.every((way) => way.known[r] === value) ? value : undefined));
    this.defined = others.reduce((defined, way) => defined & way.defined, first.defined);
  }

  /**
   * Appends an instruction, which is the sequence's from now on.
   *
   * @param count of a shift, where it is known and not an operand; of a repeated string instruction
   */
  emit(instruction: Instruction, { label, count }: { label?: Label; count?: number } = {}): void {
    const length = encodeAt(instruction, SOMEWHERE).length;
    this.items.push({ instruction, length, defined: definedIfFaults(instruction, this.defined), label });
    this.bytes += length;
    if (this.isReachable) this.codes.push(instruction.code);
    this.learn(instruction, count);
    const isLast = isUnconditional(instruction);
    if (label && this.isReachable && (isLast || isConditional(instruction)))
      label.from.push({ known: [...this.known], defined: this.defined });
    if (isLast) this.isReachable = false;
  }

  private learn(instruction: Instruction, count: number | undefined): void {
    const { mnemonic } = instruction;
    this.defined = definedAfter(instruction, this.defined, count);
    const sp = this.known[RSP];
    const bp = this.known[RBP];
    for (const r of gprsWritten(instruction)) this.known[r] = undefined;
    if (!instruction.isStackInstruction) return;
    const popsIntoRsp =
      mnemonic === Mnemonic.Pop && instruction.op0Kind === OpKind.Register && gprOf(instruction.op0Register) === RSP;
    if (popsIntoRsp) return;
    if (mnemonic === Mnemonic.Leave)
      this.known[RSP] = bp === undefined ? undefined : bp + (instruction.code === Code.Leavew ? 2n : 8n);
    else if (sp !== undefined) this.known[RSP] = BigInt.asUintN(64, sp + BigInt(instruction.stackPointerIncrement));
  }

  /** The code for an address. Frees the instructions. */
  assemble(rip: bigint): Assembled {
    for (const { label } of this.pending) this.place(label);
    this.pending = [];
    const addresses: bigint[] = [rip];
    for (const { length } of this.items) addresses.push(addresses.at(-1)! + BigInt(length));
    const code = new Uint8Array(this.bytes);
    const definedAt = new Map<bigint, bigint>();
    this.items.forEach(({ instruction, defined, label }, i) => {
      const address = addresses[i]!;
      if (label) pointTo(instruction, addresses[label.index]!);
      code.set(encodeAt(instruction, address), Number(address - rip));
      definedAt.set(address, defined);
      instruction.free();
    });
    definedAt.set(addresses.at(-1)!, this.defined);
    return { code, definedFlags: this.defined, definedAt };
  }
}
