/**
 * Instructions of operating systems as ring 3 has them, with I/O privilege level 0 and without UMIP (Intel SDM vol. 3, 2.8 and 5.9): most
 * raise #GP before anything else, whatever their operands are; a few tell it something. What CPUID does not name is #UD, as is what is so
 * at any level but 0: MONITOR, MWAIT, XSETBV, VMCALL and the like, and SYSENTER, as AMD's processors have it in 64-bit mode.
 */
import { FLAT_RING3_CS32, FLAT_RING3_CS64, FLAT_RING3_DS32 } from '../../../shared/public/arch-x86.js';
import type { Truth, Value } from '../ir.js';
import { ST, VECTOR } from '../state.js';
import { CR0, CR0_OF_XEN, GDTR, IDTR, LDTR, TR } from '../system-registers.js';
import type { Meaning, Writer } from './writer.js';

const PRIVILEGED = [
  ...['Hlt', 'Cli', 'Sti', 'In', 'Out', 'Insb', 'Insw', 'Insd', 'Outsb', 'Outsw', 'Outsd'],
  ...['Rdmsr', 'Wrmsr', 'Rdpmc', 'Clts', 'Lmsw', 'Lgdt', 'Lidt', 'Lldt', 'Ltr', 'Swapgs'],
  ...['Invlpg', 'Invd', 'Wbinvd', 'Wbnoinvd', 'Sysret', 'Sysretq', 'Sysexit', 'Sysexitq'],
];

const privileged: Meaning = (w) => w.trap(w.isZero(w.const(0)), VECTOR.GP);

/** Limit and base of a descriptor table: 10 bytes, all of which are there before any is written. */
const storeTable =
  ({ limit, base }: { readonly limit: number; readonly base: bigint }): Meaning =>
  (w) => {
    const at = w.effectiveAddress();
    const rest = w.add(at, w.const(2));
    w.load(at, 8, true);
    w.load(rest, 8, true);
    const low = BigInt.asUintN(64, (base << 16n) | BigInt(limit));
    w.storePair(at, w.const(low), rest, w.const(base));
  };

const storeStatus: Meaning = (w) => {
  const ts = w.shl(w.fixed(ST.ts, 4), Math.log2(CR0.TS));
  w.write(0, w.or(w.const(CR0_OF_XEN), ts));
};

const storeSelector =
  (selector: number): Meaning =>
  (w) =>
    w.write(0, w.const(selector));

/** Xen's flat segments for ring 3, which can all be read: their access rights as LAR has them. Their limits are all ones. */
const FLAT = [
  { selector: FLAT_RING3_CS32[64], rights: 0xc0fb00, isWritable: false },
  { selector: FLAT_RING3_DS32[64], rights: 0xc0f300, isWritable: true },
  { selector: FLAT_RING3_CS64[64], rights: 0xa0fb00, isWritable: false },
];
const RPL = 3;

/** Whether operand n is the selector of a segment, whatever ring it asks for. */
const isSelectorOf = (w: Writer, selector: Value, of: number): Truth =>
  w.compare('eq', w.or(w.and(selector, w.const(0xffff)), w.const(RPL)), w.const(of | RPL));

const verify =
  (segments: readonly { readonly selector: number }[]): Meaning =>
  (w) => {
    const selector = w.read(0);
    const isAny = segments.map(({ selector: of }) => isSelectorOf(w, selector, of)).reduce((a, b) => w.either(a, b));
    const { result, aux } = w.wordsOf(w.withZero(isAny));
    w.setFlagWords(result, aux);
  };

/** What is known of a segment, if there is one: else the destination stays. */
const look =
  (of: (segment: (typeof FLAT)[number]) => number): Meaning =>
  (w) => {
    const selector = w.read(1);
    const size = w.size(0) === 2 ? 2 : 8;
    let [found, isAny] = [w.operand(0, size), w.compare('ne', w.const(0), w.const(0))];
    for (const segment of FLAT) {
      const is = isSelectorOf(w, selector, segment.selector);
      found = w.select(is, w.const(of(segment)), found);
      isAny = w.either(isAny, is);
    }
    const { result, aux } = w.wordsOf(w.withZero(isAny));
    w.setOperand(0, size, found);
    w.setFlagWords(result, aux);
  };

export const SYSTEM: Readonly<Record<string, Meaning>> = {
  ...Object.fromEntries(PRIVILEGED.map((mnemonic) => [mnemonic, privileged])),
  Sgdt: storeTable(GDTR),
  Sidt: storeTable(IDTR),
  Sldt: storeSelector(LDTR),
  Str: storeSelector(TR),
  Smsw: storeStatus,
  Verr: verify(FLAT),
  Verw: verify(FLAT.filter(({ isWritable }) => isWritable)),
  Lar: look(({ rights }) => rights),
  Lsl: look(() => 0xffff_ffff),
};
