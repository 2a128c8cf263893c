/**
 * What the processor under the tests does otherwise than AMD's, as its maker may, and the core does as AMD's do (docs/x86.md): seen on Intel's.
 * - It keeps the x87's last instruction and operand after every instruction, not only where an exception is pending, and fewer bits of them.
 * - A REP of 32-bit addresses that does nothing, or faults before the first time, clears the upper halves of its registers.
 * - An instruction of mm registers that faults has begun to use them: the top of the stack is 0.
 * - A store of 80 bits whose end is not there has written its beginning.
 * - A number that is not stored, as it raises an exception of the x87, need not have a place in memory.
 * - A masked store may say of another of its bytes that it is not there.
 */
import { readFileSync } from 'node:fs';
import { Decoder, DecoderOptions, Mnemonic, OpKind, Register } from 'iced-x86';
import type { Case, Outcome } from '../case.js';

/** Fields of x87Fields that are not compared then. */
export const POINTERS: ReadonlySet<string> = new Set(['fip', 'fdp']);

/** Instructions that store those. */
const STORES_POINTERS: ReadonlySet<Mnemonic> = new Set([
  ...[Mnemonic.Fnstenv, Mnemonic.Fstenv, Mnemonic.Fnsave, Mnemonic.Fsave, Mnemonic.Fxsave, Mnemonic.Fxsave64],
]);
/** Of strings with 32-bit addresses. */
const SHORT_STRINGS: ReadonlySet<OpKind> = new Set([OpKind.MemorySegESI, OpKind.MemorySegEDI, OpKind.MemoryESEDI]);
const FAULTS_OTHERWISE: ReadonlySet<Mnemonic> = new Set([
  ...[
    Mnemonic.Fst,
    Mnemonic.Fstp,
    Mnemonic.Fist,
    Mnemonic.Fistp,
    Mnemonic.Fisttp,
    Mnemonic.Fbstp,
    Mnemonic.Maskmovdqu,
    Mnemonic.Maskmovq,
  ],
]);

/** Whether it is one of AMD's, or of a family of their design. */
export function isAmd(): boolean {
  const vendor = /^vendor_id\s*:\s*(\S+)/m.exec(readFileSync('/proc/cpuinfo', 'latin1'))?.[1];
  return vendor === 'AuthenticAMD' || vendor === 'HygonGenuine';
}

/** Whether such a processor may have done its own thing, as far as registers and memory go. @param outcomes the core's, and its own */
export function isOwnWay({ code, state }: Case, outcomes: readonly Outcome[]): boolean {
  const decoder = new Decoder(64, code, DecoderOptions.None);
  decoder.ip = state.rip;
  try {
    while (decoder.canDecode) {
      const instruction = decoder.decode();
      const { mnemonic, ip } = instruction;
      const hasFaulted = outcomes.some((o) => o.exception !== undefined && o.state.rip === ip);
      const kinds = Array.from({ length: instruction.opCount }, (_, n) => instruction.opKind(n));
      const isMm = kinds.some((kind, n) => {
        if (kind !== OpKind.Register) return false;
        const register = instruction.opRegister(n);
        return register >= Register.MM0 && register <= Register.MM7;
      });
      const isShortString = kinds.some((kind) => SHORT_STRINGS.has(kind));
      const stops =
        STORES_POINTERS.has(mnemonic) || isShortString || (hasFaulted && (isMm || FAULTS_OTHERWISE.has(mnemonic)));
      instruction.free();
      if (stops) return true;
    }
    return false;
  } finally {
    decoder.free();
  }
}
