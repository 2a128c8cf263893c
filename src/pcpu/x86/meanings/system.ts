/**
 * Instructions of operating systems as ring 3 has them, with I/O privilege level 0 and without UMIP (Intel SDM vol. 3, 2.8 and 5.9): most
 * raise #GP before anything else, whatever their operands are; a few tell it something. What CPUID does not name is #UD, as is what is so
 * at any level but 0: MONITOR, MWAIT, XSETBV, VMCALL and the like, and SYSENTER, as AMD's processors have it in 64-bit mode.
 */
import type { Truth, Value } from '../ir.js';
import { SEGMENT_LOOK, ST, VECTOR } from '../state.js';
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

/** Looks at the segment that operand n names. */
function lookedAt(
  w: Writer,
  n: number,
): { readonly is: (what: number) => Truth; readonly rights: Value; readonly limit: Value } {
  w.helper('lookAtSegment', w.and(w.read(n), w.const(0xffff)));
  const kinds = w.fixed(ST.value, 8);
  return {
    is: (what) => w.compare('ne', w.and(kinds, w.const(what)), w.const(0)),
    rights: w.fixed(ST.value + 8, 8),
    limit: w.fixed(ST.address, 8),
  };
}

const verify =
  (what: number): Meaning =>
  (w) => {
    const { result, aux } = w.wordsOf(w.withZero(lookedAt(w, 0).is(what)));
    w.setFlagWords(result, aux);
  };

/** What is known of a segment, if there is one: else the destination stays. */
const look =
  (what: 'rights' | 'limit'): Meaning =>
  (w) => {
    const size = w.size(0) === 2 ? 2 : 8;
    const looked = lookedAt(w, 1);
    const isVisible = looked.is(SEGMENT_LOOK.visible);
    const found = w.select(isVisible, looked[what], w.operand(0, size));
    const { result, aux } = w.wordsOf(w.withZero(isVisible));
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
  Verr: verify(SEGMENT_LOOK.readable),
  Verw: verify(SEGMENT_LOOK.writable),
  Lar: look('rights'),
  Lsl: look('limit'),
};
