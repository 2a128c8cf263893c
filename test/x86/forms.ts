/**
 * Which forms of instructions random code is made of. A form is a `Code` of iced-x86: one row of the manual's opcode tables,
 * such as ADD r/m32, imm8.
 */
import {
  Code,
  CodeExt,
  CpuidFeature,
  EncodingKind,
  Instruction,
  OpCodeOperandKind as Kind,
  MemorySizeExt,
  type Mnemonic,
  type OpCodeInfo,
} from 'iced-x86';

/** What forms belong to, by the CPUID feature they came with. */
const FEATURES = {
  integer: [
    CpuidFeature.INTEL8086,
    CpuidFeature.INTEL186,
    CpuidFeature.INTEL286,
    CpuidFeature.INTEL386,
    CpuidFeature.INTEL486,
    CpuidFeature.X64,
    CpuidFeature.CMOV,
    CpuidFeature.CX8,
    CpuidFeature.CMPXCHG16B,
    CpuidFeature.MULTIBYTENOP,
    CpuidFeature.PAUSE,
    CpuidFeature.PREFETCHW,
  ],
  sse: [CpuidFeature.SSE, CpuidFeature.SSE2, CpuidFeature.CLFSH],
  // With what they need beside the x87 itself.
  x87: [
    ...[CpuidFeature.INTEL8086, CpuidFeature.FPU, CpuidFeature.FPU287, CpuidFeature.FPU387, CpuidFeature.FXSR],
    ...[CpuidFeature.CMOV, CpuidFeature.SSE3],
  ],
  mmx: [CpuidFeature.MMX, CpuidFeature.SSE, CpuidFeature.SSE2, CpuidFeature.X64],
} as const;

/** mm registers, whatever came with them. */
const isMmx = (op: OpCodeInfo, name: string): boolean =>
  name === 'Emms' || hasOperand(Kind.mm_reg, Kind.mm_rm, Kind.mm_or_mem)(op);

/** FWAIT is the 8086's, by its number. */
export const isX87 = (name: string): boolean => /^(F|Wait$)/.test(name);

export type FeatureSet = keyof typeof FEATURES;
export const FEATURE_SETS = Object.keys(FEATURES) as readonly FeatureSet[];

interface Never {
  readonly reason: string;
  readonly is: (op: OpCodeInfo, name: string) => boolean;
}

const named =
  (pattern: RegExp) =>
  (_: OpCodeInfo, name: string): boolean =>
    pattern.test(name);

const hasOperand =
  (...kinds: readonly Kind[]) =>
  (op: OpCodeInfo): boolean =>
    operandKinds(op).some((kind) => kinds.includes(kind));

/** The forms never generated. The first row that fits gives the reason. Those of operating systems are in privileged.test.ts. */
const NEVER: readonly Never[] = [
  { reason: 'privileged', is: (op) => op.isPrivileged },
  { reason: 'input and output are privileged at IOPL 0', is: (op) => op.isInputOutput },
  { reason: 'privileged, or an exception, by the flags of the operating system', is: named(/^(Cli|Sti)$/) },
  { reason: 'control and debug registers are privileged', is: hasOperand(Kind.cr_reg, Kind.dr_reg, Kind.tr_reg) },
  { reason: 'a software interrupt is what the system makes of it', is: named(/^(Int_imm8|Int1)$/) },
  { reason: 'marks the end of the code', is: named(/^Int3$/) },
  { reason: 'always #UD', is: named(/^Ud[012]/) },
  { reason: 'far transfers depend on descriptors', is: named(/^(Call_m16|Jmp_m16|Retf|Iret)/) },
  { reason: 'selectors depend on the system', is: hasOperand(Kind.seg_reg, Kind.fs, Kind.gs) },
  { reason: 'loads a segment', is: named(/^(Lds|Les|Lfs|Lgs|Lss)_/) },
  { reason: 'says what is in the descriptor tables of the system', is: named(/^(Lar|Lsl|Verr|Verw)_/) },
  { reason: 'may be forbidden in user mode (UMIP)', is: named(/^(Sgdt|Sidt|Sldt|Str|Smsw)_/) },
  { reason: 'near branches of 16 bits differ between makers', is: hasOperand(Kind.br16_1, Kind.br16_2) },
  { reason: 'near branches of 16 bits differ between makers', is: named(/^(Call_rm16|Jmp_rm16|Retnw)/) },
  { reason: 'makers differ in how many bytes it reads', is: named(/^Movsxd_r16_/) },
  { reason: 'a later processor may give a reserved NOP a meaning', is: (op) => op.isReservedNop },
  { reason: 'a later processor may give a reserved NOP a meaning', is: named(/^(Reservednop|Prefetchreserved)/) },
  { reason: 'only with an option of the decoder: old, or of one maker', is: (op) => op.decoderOption !== 0 },
  { reason: 'the result is undefined', is: named(/^Bswap_r16$/) },
  { reason: 'reads 2 bytes or 4, by maker', is: named(/^Movsxd_r16_rm16$/) },
  { reason: 'an approximation that differs between makers', is: named(/^(Rcp|Rsqrt)[ps]s_/) },
  { reason: 'two instructions, the first of which is WAIT', is: (op) => op.opCodeString.startsWith('9B ') },
  {
    reason: 'the core has no transcendental functions',
    is: named(/^(F2xm1|Fyl2x|Fyl2xp1|Fptan|Fpatan|Fsin|Fcos|Fsincos)$/),
  },
];

/** A form that is generated, with what is needed of it. */
export interface Form {
  readonly code: Code;
  readonly name: string;
  readonly mnemonic: Mnemonic;
  readonly operands: readonly Kind[];
  /** Bytes its memory operand has. */
  readonly memoryBytes: number;
  readonly isStack: boolean;
  readonly canLock: boolean;
  readonly canRep: boolean;
  readonly canRepne: boolean;
}

export function operandKinds(op: OpCodeInfo): Kind[] {
  return Array.from({ length: op.opCount }, (_, i) => op.opKind(i));
}

const codes: readonly (readonly [string, Code])[] = Object.entries(Code).filter(
  (entry): entry is [string, Code] => typeof entry[1] === 'number',
);

function featuresOf(code: Code): readonly CpuidFeature[] {
  const instruction = new Instruction();
  instruction.code = code;
  const features = [...instruction.cpuidFeatures()];
  instruction.free();
  return features;
}

interface Entry {
  readonly set: FeatureSet;
  readonly status: Form | string;
}

function classify(): ReadonlyMap<Code, Entry> {
  const entries = new Map<Code, Entry>();
  for (const [name, code] of codes) {
    const op = CodeExt.opCode(code);
    const features = featuresOf(code);
    const set = FEATURE_SETS.find(
      (s) =>
        (s === 'x87') === isX87(name) &&
        (s === 'mmx') === isMmx(op, name) &&
        features.every((f) => (FEATURES[s] as readonly CpuidFeature[]).includes(f)),
    );
    if (set && op.isInstruction && op.encoding === EncodingKind.Legacy && op.isAvailableInMode(64)) {
      const never = NEVER.find(({ is }) => is(op, name));
      entries.set(code, {
        set,
        status: never?.reason ?? {
          code,
          name,
          mnemonic: op.mnemonic,
          operands: operandKinds(op),
          memoryBytes: MemorySizeExt.size(op.memorySize),
          isStack: op.isStackInstruction,
          canLock: op.canUseLockPrefix,
          canRep: op.canUseRepPrefix,
          canRepne: op.canUseRepnePrefix,
        },
      });
    }
    op.free();
  }
  return entries;
}

const entries = classify();

/** The forms of 64-bit mode that belong to a set, generated or not. */
export function formsOf(set: FeatureSet): Code[] {
  return [...entries].filter(([, entry]) => entry.set === set).map(([code]) => code);
}

/** Whether a form is generated, or why not. */
export function formStatus(code: Code): string {
  const status = entries.get(code)?.status ?? 'belongs to no set of features';
  return typeof status === 'string' ? status : 'generated';
}

/** The forms of a set that are generated. */
export function generatedForms(set: FeatureSet): Form[] {
  const all = [...entries.values()].filter((entry) => entry.set === set).map(({ status }) => status);
  return all.filter((status): status is Form => typeof status !== 'string');
}
