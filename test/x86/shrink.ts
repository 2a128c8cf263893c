/**
 * Makes a failing case smaller: drops instructions, then what is in registers and data, as long as it still fails. Greedy, and
 * the same every time.
 */
import { Code, Decoder, DecoderOptions, type Instruction } from 'iced-x86';
import {
  type Case,
  CODE_BASE,
  CODE_OFFSET,
  type CpuState,
  DATA_BASE,
  endOf,
  MXCSR_INITIAL,
  RFLAGS_SET,
  RSP,
  X87_BYTES,
  X87_INITIAL,
} from './case.js';
import { analyseFlags } from './defined-flags.js';
import { addressOperands, encodeAt, isBranch, pointTo } from './instructions.js';

/**
 * Whether a case fails. What becomes of flags is to be compared only as far as they are defined: fewer instructions leave
 * others undefined than the case did that one began with.
 */
export type Fails = (c: Case, definedFlagsAt: (rip: bigint) => bigint) => boolean;

const NOP = 0x90;

/** An instruction, and where it was. */
interface Piece {
  readonly address: bigint;
  readonly bytes: Uint8Array;
}

function split({ code, state }: Case): Piece[] {
  const decoder = new Decoder(64, code, DecoderOptions.None);
  decoder.ip = state.rip;
  const pieces: Piece[] = [];
  while (decoder.canDecode) {
    const at = decoder.position;
    decoder.decode().free();
    pieces.push({ address: state.rip + BigInt(at), bytes: code.subarray(at, decoder.position) });
  }
  decoder.free();
  return pieces;
}

function decode({ bytes, address }: Piece): Instruction {
  const decoder = new Decoder(64, bytes, DecoderOptions.None);
  decoder.ip = address;
  const instruction = decoder.decode();
  decoder.free();
  return instruction;
}

/** Code of some of the instructions of a case at an address, with jumps and what points to instructions set right. */
function link(c: Case, isKept: (piece: Piece) => boolean, rip: bigint): Uint8Array {
  const pieces = split(c);
  const places = new Set([...pieces.map((p) => p.address), endOf(c)]);
  const targets = (instruction: Instruction): bigint | undefined => {
    if (isBranch(instruction)) return instruction.nearBranch64;
    return addressOperands(instruction)
      .map((i) => instruction.immediate(i))
      .find((value) => places.has(value));
  };
  const kept = pieces.filter(isKept).map((piece) => {
    const instruction = decode(piece);
    const target = targets(instruction);
    const isFixed = instruction.code === Code.INVALID || (target === undefined && !instruction.isIpRelMemoryOperand);
    const length = isFixed ? piece.bytes.length : encodeAt(instruction, piece.address).length;
    return { piece, instruction, target, isFixed, length };
  });
  // What is gone is where the next is that is left.
  const moved = new Map<bigint, bigint>();
  let at = rip;
  let next = 0;
  for (const { address } of pieces) {
    moved.set(address, at);
    if (kept[next]?.piece.address === address) at += BigInt(kept[next++]!.length);
  }
  moved.set(endOf(c), at);
  const code = new Uint8Array(Number(at - rip));
  for (const { piece, instruction, target, isFixed } of kept) {
    const to = moved.get(piece.address)!;
    if (target !== undefined) pointTo(instruction, moved.get(target) ?? target);
    code.set(isFixed ? piece.bytes : encodeAt(instruction, to), Number(to - rip));
    instruction.free();
  }
  return code;
}

/** Values that are simpler than one, the simplest first. */
function simpler(value: bigint): bigint[] {
  const candidates = [0n, 1n, DATA_BASE, value & 0xffn, value & 0xffffn, value & 0xffff_ffffn, value & ~0xfn];
  return candidates.slice(0, candidates.includes(value) ? candidates.indexOf(value) : candidates.length);
}

/** Tries parts of 0 to `length`, halves first, ever smaller ones then. */
function halve(length: number, smallest: number, attempt: (from: number, to: number) => boolean): void {
  for (let size = length; size >= smallest; size = size > smallest ? Math.max(smallest, Math.ceil(size / 2)) : 0)
    for (let from = 0; from < length; from += size) attempt(from, Math.min(length, from + size));
}

/** All of the x87, its words, and each of its registers. */
const X87_PARTS: readonly (readonly [from: number, to: number])[] = [
  ...([
    [0, X87_BYTES],
    [0, 2],
    [2, 4],
    [4, 5],
  ] as const),
  ...Array.from({ length: 8 }, (_, i) => [32 + 16 * i, 48 + 16 * i] as const),
];

/** Rounds after which it is good enough. */
const ROUNDS = 4;

/** A case that fails as well, and is no larger. */
export function shrink(failing: Case, fails: Fails): Case {
  let best = failing;
  const isStrict = analyseFlags(failing).isDefined;
  const attempt = (candidate: Case): boolean => {
    const { isDefined, definedAt } = analyseFlags(candidate);
    if ((isStrict && !isDefined) || !fails(candidate, definedAt)) return false;
    best = candidate;
    return true;
  };
  const attemptState = (over: Partial<CpuState>) => attempt({ ...best, state: { ...best.state, ...over } });

  for (let round = 0; round < ROUNDS; round++) {
    const before = best;
    dropInstructions();
    simplifyState();
    clearData();
    if (best === before) break;
  }
  return best;

  /** First with NOPs in their place, so that nothing else moves, then without those. */
  function dropInstructions(): void {
    const pieces = split(best);
    halve(pieces.length, 1, (from, to) => {
      const code = Uint8Array.from(best.code);
      const end = pieces[to]?.address ?? endOf(best);
      code.fill(NOP, Number(pieces[from]!.address - best.state.rip), Number(end - best.state.rip));
      return Buffer.compare(code, best.code) !== 0 && attempt({ ...best, code });
    });
    const isNop = ({ bytes }: Piece) => bytes.length === 1 && bytes[0] === NOP;
    const without = (isKept: (piece: Piece) => boolean) => attemptLinked(isKept, best.state.rip);
    if (split(best).some(isNop) && !without((piece) => !isNop(piece))) {
      for (const nop of split(best).filter(isNop).reverse()) without((piece) => piece.address !== nop.address);
    }
    const usual = CODE_BASE + BigInt(CODE_OFFSET);
    if (best.state.rip !== usual) attemptLinked(() => true, usual);
  }

  function attemptLinked(isKept: (piece: Piece) => boolean, rip: bigint): boolean {
    try {
      return attempt({ ...best, code: link(best, isKept, rip), state: { ...best.state, rip } });
    } catch {
      return false; // a short jump that would have to go too far
    }
  }

  function simplifyState(): void {
    for (let r = 0; r < 16; r++) {
      for (const value of simpler(best.state.gpr[r]!)) {
        if (r === RSP && value === 0n) continue; // the stack is best left where it is
        const gpr = best.state.gpr.slice();
        gpr[r] = value;
        if (attemptState({ gpr })) break;
      }
    }
    halve(256, 4, (from, to) => {
      if (best.state.xmm.subarray(from, to).every((byte) => byte === 0)) return false;
      return attemptState({ xmm: best.state.xmm.slice().fill(0, from, to) });
    });
    if (best.state.rflags !== RFLAGS_SET && !attemptState({ rflags: RFLAGS_SET }))
      for (let bit = 1n; bit <= 0x800n; bit <<= 1n) {
        const rflags = (best.state.rflags & ~bit) | RFLAGS_SET;
        if (rflags !== best.state.rflags) attemptState({ rflags });
      }
    if (best.state.mxcsr !== MXCSR_INITIAL) attemptState({ mxcsr: MXCSR_INITIAL });
    simplifyX87();
  }

  /** As FNINIT leaves it, or the words of it that are, and registers that are 0. */
  function simplifyX87(): void {
    for (const [from, to] of X87_PARTS) {
      const { x87 } = best.state;
      if (x87 === undefined || Buffer.compare(x87.subarray(from, to), X87_INITIAL.subarray(from, to)) === 0) continue;
      const simple = x87.slice();
      simple.set(X87_INITIAL.subarray(from, to), from);
      attemptState({ x87: simple });
    }
  }

  function clearData(): void {
    halve(best.data.length, 8, (from, to) => {
      if (best.data.subarray(from, to).every((byte) => byte === 0)) return false;
      return attempt({ ...best, data: best.data.slice().fill(0, from, to) });
    });
  }
}
