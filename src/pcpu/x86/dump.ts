/** What a VCPU was at when its domain crashed: registers, the exception, and the instruction, as Xen prints them on its console. */
import iced from 'iced-x86';
import type { Image } from '../../shared/image.js';
import { codeAtRip } from './fetch.js';
import type { Mmu } from './mmu.js';
import { readRflags } from './rflags.js';
import { GPR_NAMES, HAS_ERROR_CODE, SEGMENT, ST, VECTOR } from './state.js';

/** The order of Xen's dump. */
const ROWS = [
  ['rax', 'rbx', 'rcx'],
  ['rdx', 'rsi', 'rdi'],
  ['rbp', 'rsp', 'r8'],
  ['r9', 'r10', 'r11'],
  ['r12', 'r13', 'r14'],
  ['r15'],
];
const SELECTORS = ['DS', 'ES', 'FS', 'GS', 'SS', 'CS'] as const;
const LONGEST = 15;

const hex = (x: bigint): string => x.toString(16).padStart(16, '0');

/** Instructions whose meaning it is to be none. */
const UNDEFINED: readonly number[] = [iced.Mnemonic.Ud0, iced.Mnemonic.Ud1, iced.Mnemonic.Ud2];

interface Instruction {
  readonly text: string;
  /** Whether processors have it. */
  readonly isKnown: boolean;
}

/** The instruction at rip, if its bytes can be read. */
function instructionAt(image: Image, st: number, paging: Mmu, rip: bigint): Instruction {
  let isKnown = false;
  const bytes = codeAtRip(image, paging, st, LONGEST);
  if (bytes.length === 0) return { text: '(its code cannot be read)', isKnown };
  const decoder = new iced.Decoder(64, Uint8Array.from(bytes), iced.DecoderOptions.None);
  decoder.ip = rip;
  const instruction = decoder.decode();
  isKnown = !instruction.isInvalid && !UNDEFINED.includes(instruction.mnemonic);
  const formatter = new iced.Formatter(iced.FormatterSyntax.Nasm);
  const code = bytes.slice(0, instruction.length).map((byte) => byte.toString(16).padStart(2, '0'));
  const text = instruction.isInvalid ? '(bad)' : formatter.format(instruction);
  for (const used of [decoder, instruction, formatter]) used.free();
  return { text: `${text}  (${code.join(' ')})`, isKnown };
}

export function registerDump(image: Image, st: number, paging: Mmu): string[] {
  const view = new DataView(image.buffer);
  const register = (name: string): bigint => view.getBigUint64(st + ST.gpr + 8 * GPR_NAMES.indexOf(name), true);
  const [vector, errorCode] = [view.getInt32(st + ST.vector, true), view.getInt32(st + ST.errorCode, true)];
  const rip = view.getBigUint64(st + ST.rip, true);
  const selector = (n: number): string =>
    view
      .getUint16(st + ST.selectors + 2 * n, true)
      .toString(16)
      .padStart(4, '0');
  const name = Object.entries(VECTOR).find(([, n]) => n === vector)?.[0] ?? String(vector);
  const code = HAS_ERROR_CODE.has(vector) ? `(${errorCode.toString(16).padStart(4, '0')})` : '';
  const where = vector === VECTOR.PF ? ` at ${hex(view.getBigUint64(st + ST.cr2, true))}` : '';
  const { text, isKnown } = instructionAt(image, st, paging, rip);
  return [
    ...(vector === VECTOR.UD && isKnown ? [`x86: not implemented: ${text}`] : []),
    ...(vector === VECTOR.kept ? [] : [`unhandled #${name}${code}${where}`]),
    `RIP: ${hex(rip)}  ${text}`,
    `RFLAGS: ${hex(BigInt(readRflags(view, st)))}`,
    ...ROWS.map((row) => row.map((n) => `${n.padStart(3)}: ${hex(register(n))}`).join('  ')),
    SELECTORS.map((segment) => `${segment.toLowerCase()}: ${selector(SEGMENT[segment])}`).join('   '),
  ];
}
