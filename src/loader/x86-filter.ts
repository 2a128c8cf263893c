/**
 * The x86 branch filter of .xz files, undone. Before a program is compressed, the filter turns the targets of CALL and JMP from relative to
 * absolute ones: equal targets become equal bytes. What it takes for an instruction is a guess that both sides make alike.
 */

const OPCODE_MASK = 0xfe;
/** E8 CALL rel32, E9 JMP rel32. */
const CALL_OR_JMP = 0xe8;
const OPERAND_BYTES = 4;
/** Of 3 bits: the opcodes among the last three bytes that were no instruction. Whether an operand may follow upon them. */
const IS_ALLOWED = [true, true, true, false, true, false, false, false] as const;
/** Which byte of the operand the latest of them reaches. */
const BYTE_OF = [0, 1, 2, 2, 3, 3, 3, 3] as const;

/** The top byte of a target within 16 MiB, either way. */
const isNear = (byte: number): boolean => byte === 0 || byte === 0xff;

/** @param start what the first byte's address is taken for */
export function undoX86Filter(bytes: Uint8Array, start: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.length - OPERAND_BYTES;
  let seen = 0;
  let last = -1;
  for (let at = 0; at < end; at++) {
    if ((bytes[at]! & OPCODE_MASK) !== CALL_OR_JMP) continue;
    const distance = at - last;
    last = at;
    seen = distance > 3 ? 0 : (seen << (distance - 1)) & 7;
    const isDoubtful = seen !== 0 && (!IS_ALLOWED[seen] || isNear(bytes[at + OPERAND_BYTES - BYTE_OF[seen]!]!));
    if (isDoubtful || !isNear(bytes[at + OPERAND_BYTES]!)) {
      seen = (seen << 1) | 1;
      continue;
    }
    let absolute = view.getUint32(at + 1, true);
    const next = start + at + 1 + OPERAND_BYTES;
    let relative = (absolute - next) | 0;
    if (seen !== 0) {
      const shift = BYTE_OF[seen]! * 8;
      while (isNear((relative >>> (24 - shift)) & 0xff)) {
        absolute = relative ^ (2 ** (32 - shift) - 1);
        relative = (absolute - next) | 0;
      }
    }
    // 25 bits, with their sign.
    view.setInt32(at + 1, (relative << 7) >> 7, true);
    at += OPERAND_BYTES;
  }
}
