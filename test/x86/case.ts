/**
 * A case: a few instructions of x86-64 with everything they may depend on. What executes one, a processor or a core, gives an
 * outcome, and outcomes can be compared.
 *
 * The machine of a case is small. One page of code at CODE_BASE can be read and executed but not written; where it has no code
 * it is full of INT3. DATA_BYTES of data at DATA_BASE can be read and written. Nothing else is mapped, and everything is done
 * in user mode (CPL 3, IOPL 0). The case ends when rip gets to the end of its code, or by an exception.
 */
import { Decoder, DecoderOptions, Formatter, FormatterSyntax } from 'iced-x86';

export const CODE_BASE = 0x1000_0000n;
export const CODE_PAGE_BYTES = 4096;
/** Where in its page code lies that has no reason to lie elsewhere. */
export const CODE_OFFSET = 0x100;
/** Bytes of code at most. */
export const CODE_LIMIT = 512;
export const DATA_BASE = 0x2000_0000n;
export const DATA_BYTES = 8192;
/** What rest of the page the code is in is filled with. */
export const INT3 = 0xcc;

/** From here on up lies the kernel: there is nothing that could be mapped. */
export const KERNEL_BASE = 0xffff_8000_0000_0000n;

export const Flag = {
  CF: 0x1n,
  PF: 0x4n,
  AF: 0x10n,
  ZF: 0x40n,
  SF: 0x80n,
  DF: 0x400n,
  OF: 0x800n,
} as const;
export const STATUS_FLAGS = Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF | Flag.OF;
export const ALL_FLAGS = STATUS_FLAGS | Flag.DF;
/** Bit 1 and IF, the flags that are always set in user mode. */
export const RFLAGS_SET = 0x202n;

/** Exceptions of Intel's manual, volume 3, 6.3.1. */
export const Vector = {
  DE: 0,
  DB: 1,
  BP: 3,
  OF: 4,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  MF: 16,
  AC: 17,
  XM: 19,
} as const;

/** Bits of a page fault's error code. */
export const PageFault = { PRESENT: 1, WRITE: 2, USER: 4, FETCH: 16 } as const;

export const MXCSR_INITIAL = 0x1f80;

/** Registers in the order of their numbers in the machine's encoding. */
export const GPR_NAMES = [
  ...['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'],
  ...['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
] as const;
export const [RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI] = [0, 1, 2, 3, 4, 5, 6, 7] as const;

/** The head of an FXSAVE image: control, status and tag words, pointers, and the eight registers of 16 bytes each. */
export const X87_BYTES = 160;
/** As FNINIT leaves it, registers zero. */
export const X87_INITIAL: Uint8Array = Uint8Array.from({ length: X87_BYTES }, (_, i) => [0x7f, 0x03][i] ?? 0);

export interface CpuState {
  readonly gpr: BigUint64Array;
  readonly rip: bigint;
  /** Status flags and DF; the other bits are RFLAGS_SET. */
  readonly rflags: bigint;
  /** 16 registers of 16 bytes. */
  readonly xmm: Uint8Array;
  readonly mxcsr: number;
  /** The first X87_BYTES of an FXSAVE image, without mxcsr. @default X87_INITIAL */
  readonly x87?: Uint8Array;
}

export interface Case {
  readonly code: Uint8Array;
  /** rip, where the code lies and begins, is in the code page. */
  readonly state: CpuState;
  /** DATA_BYTES from DATA_BASE on. */
  readonly data: Uint8Array;
  /** Begins with TF set. @default false */
  readonly isStepped?: boolean;
}

/** Single steps: how many, and a digest of rip and the general registers behind each. */
export interface Steps {
  readonly count: number;
  readonly digest: bigint;
}

export interface Exception {
  readonly vector: number;
  /** 0 where the exception has none. */
  readonly errorCode: number;
  /** CR2 after a page fault, otherwise 0. */
  readonly address: bigint;
}

export interface Outcome {
  /** rip is the end of the code, or what the exception saved: the instruction for faults, the next one for traps (#BP). */
  readonly state: CpuState;
  readonly data: Uint8Array;
  /** None: the end was reached. */
  readonly exception?: Exception;
  readonly steps?: Steps;
  /** It ran until the executor lost patience; the state is that of any moment. */
  readonly timedOut?: true;
}

/** The state that cases begin with which have no reason for another: all zero, the stack pointer amid the data. */
export function plainState(
  over: Partial<Omit<CpuState, 'gpr'>> & { gpr?: Readonly<Record<number, bigint>> } = {},
): CpuState {
  const gpr = new BigUint64Array(16);
  gpr[RSP] = DATA_BASE + BigInt(DATA_BYTES / 2);
  for (const [r, value] of Object.entries(over.gpr ?? {})) gpr[Number(r)] = value;
  return {
    rip: CODE_BASE + BigInt(CODE_OFFSET),
    rflags: RFLAGS_SET,
    xmm: new Uint8Array(256),
    mxcsr: MXCSR_INITIAL,
    ...over,
    gpr,
  };
}

export function endOf({ code, state }: Case): bigint {
  return state.rip + BigInt(code.length);
}

export const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

/** A register of 16 bytes as a number. */
export function xmmValue(xmm: Uint8Array, r: number): bigint {
  const view = new DataView(xmm.buffer, xmm.byteOffset + r * 16, 16);
  return view.getBigUint64(0, true) | (view.getBigUint64(8, true) << 64n);
}

/** What is compared of the head of an FXSAVE image: all but the opcode. */
export function x87Fields(image: Uint8Array): Readonly<Record<string, bigint>> {
  const view = new DataView(image.buffer, image.byteOffset, X87_BYTES);
  const fields: Record<string, bigint> = {
    fcw: BigInt(view.getUint16(0, true)),
    fsw: BigInt(view.getUint16(2, true)),
    ftw: BigInt(view.getUint8(4)),
    fip: view.getBigUint64(8, true),
    fdp: view.getBigUint64(16, true),
  };
  for (let i = 0; i < 8; i++)
    fields[`st${i}`] = view.getBigUint64(32 + 16 * i, true) | (BigInt(view.getUint16(40 + 16 * i, true)) << 64n);
  return fields;
}

const flagNames = (rflags: bigint): string =>
  Object.entries(Flag)
    .filter(([, bit]) => rflags & bit)
    .map(([name]) => name)
    .join(' ') || '-';

const exceptionText = (outcome: Outcome): string => {
  if (outcome.timedOut) return 'no end';
  const e = outcome.exception;
  if (!e) return 'the end';
  const name = Object.entries(Vector).find(([, vector]) => vector === e.vector)?.[0] ?? `exception ${e.vector}`;
  return `#${name}(${e.errorCode})${e.vector === Vector.PF ? ` at ${hex(e.address)}` : ''}`;
};

/** Every difference of `a` to `b`, "rax: 0x1 instead of 0x2"; of the flags only those of a mask. @param but fields of the x87 not looked at */
export function compare(a: Outcome, b: Outcome, definedFlags: bigint, but: ReadonlySet<string> = new Set()): string[] {
  const found: string[] = [];
  const look = (name: string, is: bigint | number | string, shall: bigint | number | string) => {
    if (is === shall) return;
    const text = (v: bigint | number | string) => (typeof v === 'string' ? v : hex(v));
    found.push(`${name}: ${text(is)} instead of ${text(shall)}`);
  };
  look('ends by', exceptionText(a), exceptionText(b));
  look('rip', a.state.rip, b.state.rip);
  GPR_NAMES.forEach((name, r) => {
    look(name, a.state.gpr[r]!, b.state.gpr[r]!);
  });
  for (const [name, bit] of Object.entries(Flag)) {
    const [is, shall] = [a.state.rflags & bit, b.state.rflags & bit];
    if (definedFlags & bit && is !== shall) found.push(`${name}: ${is ? 1 : 0} instead of ${shall ? 1 : 0}`);
  }
  for (let r = 0; r < 16; r++) look(`xmm${r}`, xmmValue(a.state.xmm, r), xmmValue(b.state.xmm, r));
  look('mxcsr', a.state.mxcsr, b.state.mxcsr);
  if (a.state.x87 !== undefined && b.state.x87 !== undefined) {
    const [is, shall] = [x87Fields(a.state.x87), x87Fields(b.state.x87)];
    for (const [name, value] of Object.entries(is)) if (!but.has(name)) look(name, value, shall[name]!);
  }
  if (a.steps !== undefined && b.steps !== undefined) {
    look('steps', a.steps.count, b.steps.count);
    look('digest of steps', a.steps.digest, b.steps.digest);
  }
  // Data compares equal nearly always, and there is much of it.
  if (Buffer.compare(a.data, b.data) !== 0)
    for (let i = 0; i < DATA_BYTES; i++)
      if (a.data[i] !== b.data[i]) look(hex(DATA_BASE + BigInt(i)), a.data[i]!, b.data[i]!);
  return found;
}

/** The instructions of a case, one a line, with their addresses. */
export function disassemble({ code, state }: Case): string[] {
  const decoder = new Decoder(64, code, DecoderOptions.None);
  const formatter = new Formatter(FormatterSyntax.Nasm);
  formatter.hexPrefix = '0x';
  formatter.hexSuffix = '';
  formatter.uppercaseHex = false;
  decoder.ip = state.rip;
  const lines: string[] = [];
  while (decoder.canDecode) {
    const at = decoder.position;
    const instruction = decoder.decode();
    const bytes = Buffer.from(code.subarray(at, decoder.position)).toString('hex');
    lines.push(`${hex(instruction.ip)}  ${bytes.padEnd(22)}  ${formatter.format(instruction)}`);
    instruction.free();
  }
  formatter.free();
  decoder.free();
  return lines;
}

/** A case for people: its instructions, and what in its state and data is not zero (or as usual). */
export function describeCase(c: Case): string {
  const { gpr, rflags, xmm, mxcsr, rip } = c.state;
  const lines = disassemble(c);
  lines.push(`end ${hex(endOf(c))}`);
  if (rip !== CODE_BASE + BigInt(CODE_OFFSET)) lines.push(`rip ${hex(rip)}`);
  GPR_NAMES.forEach((name, r) => {
    if (gpr[r] !== 0n) lines.push(`${name} ${hex(gpr[r]!)}`);
  });
  if (rflags !== RFLAGS_SET) lines.push(`rflags ${hex(rflags)} ${flagNames(rflags)}`);
  for (let r = 0; r < 16; r++) if (xmmValue(xmm, r) !== 0n) lines.push(`xmm${r} ${hex(xmmValue(xmm, r))}`);
  if (mxcsr !== MXCSR_INITIAL) lines.push(`mxcsr ${hex(mxcsr)}`);
  const usual = x87Fields(X87_INITIAL);
  for (const [name, value] of Object.entries(c.state.x87 === undefined ? {} : x87Fields(c.state.x87)))
    if (value !== usual[name]) lines.push(`${name} ${hex(value)}`);
  for (let i = 0; i < DATA_BYTES; i += 16) {
    const row = c.data.subarray(i, i + 16);
    if (row.some((byte) => byte !== 0))
      lines.push(`${hex(DATA_BASE + BigInt(i))}: ${Buffer.from(row).toString('hex')}`);
  }
  return lines.join('\n');
}
