/**
 * Code as records (state.ts), by the frame of machine memory that it lies in: decoded when it is first run, a straight line at a time, and
 * forgotten when the frame is written. Each worker has its own, in an area of the image.
 */
import iced from 'iced-x86';
import type { Image } from '../../shared/image.js';
import { decoded, type Form } from './forms.js';
import { SLOT } from './handlers.js';
import { REC, RECORD_BYTES } from './state.js';

const FRAME = 4096;
/** Longest instruction, bytes. */
const LONGEST = 15;
/** Bytes of a frame's table: the record of each of its bytes, or 0. */
const TABLE_BYTES = 4 * FRAME;
/** Instructions of a straight line at most. */
const MOST = 64;
/** Straight lines that are decoded at a time, if code leads to so many: their handlers are then made at once. */
const LINES = 8;
/** The same of a frame that has been written when it had code, as it may be again: no more than is likely to be run. */
const WRITTEN = { most: 16, lines: 1 } as const;

/** What is known of a frame's code. */
export interface FrameCode {
  /** Address of the table of its records. */
  readonly table: number;
  /** Records of the frame: first and last address of each straight line. */
  readonly lines: readonly (readonly [number, number])[];
  /** What its records are of; the others say where a straight line goes on. */
  readonly forms: ReadonlyMap<number, Form>;
}

interface CodeFrame extends FrameCode {
  /** Its version when it was decoded. */
  readonly version: number;
  readonly lines: [number, number][];
  readonly forms: Map<number, Form>;
  /** Records of branches to places in the frame that are not decoded yet. */
  readonly waiting: Map<number, number[]>;
}

export interface CodeCache {
  /** Forgets all code, when no handler runs. */
  flush(): void;
  /** Forgets the code of a frame; handlers that run it come back with a miss. */
  drop(frame: number): void;
  /** Forgets the code of frames that others wrote. */
  dropWritten(): void;
  codeOf(frame: number): FrameCode;
  /** What a record of a frame is of; undefined where it is none. */
  formOf(frame: number, record: number): Form | undefined;
  /** The record of the instruction at an offset of a frame; 0: it goes on in the next frame. */
  recordAt(frame: number, offset: number): number;
  /** The record of an instruction that lies in two frames: until the next such. */
  recordOfTwo(first: number, offset: number, second: number): number;
}

/** What workers tell each other of code: in the image. One word for each frame, and two for all. */
export interface SharedCode {
  /** Whether any worker has decoded the frame since it was last written. */
  hasCode(frame: number): boolean;
  /** The same, behind all that was written before. */
  hasCodeNow(frame: number): boolean;
  /** A frame has code from now on. @returns whether it had none */
  mark(frame: number): boolean;
  /** A frame was written: what is known of its code is not so any more. @returns `writes` before */
  written(frame: number): number;
  /** Grows with each frame that gets code: whoever has a translation for writing must drop it. */
  marks(): number;
  /** Grows with each frame with code that is written. */
  writes(): number;
  /** Grows with each time that this frame was written when it had code. */
  version(frame: number): number;
}

/** Of the words: whether a frame has code; the rest counts. */
const HAS_CODE = 1;

/**
 * @param words image address of two words and one more for each frame
 * @param frames image address of the first frame
 */
export function sharedCode({ i32 }: Image, words: number, frames: number): SharedCode {
  const MARKS = words >> 2;
  const WRITES = MARKS + 1;
  const wordOf = (frame: number): number => WRITES + 1 + ((frame - frames) >> 12);
  return {
    hasCode: (frame) => (Atomics.load(i32, wordOf(frame)) & HAS_CODE) !== 0,
    hasCodeNow: (frame) => (Atomics.or(i32, wordOf(frame), 0) & HAS_CODE) !== 0,
    mark(frame) {
      const isFirst = (Atomics.or(i32, wordOf(frame), HAS_CODE) & HAS_CODE) === 0;
      if (isFirst) Atomics.add(i32, MARKS, 1);
      return isFirst;
    },
    written(frame) {
      const at = wordOf(frame);
      // In one piece: a mark that somebody sets meanwhile must stay.
      for (let seen = Atomics.load(i32, at); ; ) {
        const before = Atomics.compareExchange(i32, at, seen, (seen & ~HAS_CODE) + 2);
        if (before === seen) break;
        seen = before;
      }
      return Atomics.add(i32, WRITES, 1);
    },
    marks: () => Atomics.load(i32, MARKS),
    writes: () => Atomics.load(i32, WRITES),
    version: (frame) => Atomics.load(i32, wordOf(frame)) >> 1,
  };
}

/**
 * @param area image addresses of the room for tables and records
 * @param handlerOf the table's slot for a form
 * @param pairOf the slot for two in a row, where they have one handler
 * @param onFlush everything was forgotten
 */
export function codeCache(
  image: Image,
  area: { readonly base: number; readonly bytes: number },
  handlerOf: (form: Form) => number,
  pairOf: (first: Form, second: Form) => number | undefined,
  onFlush: () => void,
  shared: SharedCode,
): CodeCache {
  const { i32, u8 } = image;
  const view = new DataView(image.buffer);
  const word = (address: number): number => address >> 2;
  const frames = new Map<number, CodeFrame>();
  /** Frames that have been written when they had code, and their tables: all zero, and theirs, as TLBs may still name them. */
  const written = new Map<number, number>();
  const scratch = area.base;
  let scratchForm: Form | undefined;
  let next = area.base + 2 * RECORD_BYTES;
  const end = area.base + area.bytes;

  /** Room for so many bytes, of which somebody has seen that they are there. */
  function take(bytes: number): number {
    const at = next;
    next += bytes;
    return at;
  }

  function flush(): void {
    frames.clear();
    written.clear();
    next = area.base + 2 * RECORD_BYTES;
    onFlush();
  }

  function frameOf(frame: number): CodeFrame {
    const known = frames.get(frame);
    if (known !== undefined) return known;
    let table = written.get(frame);
    if (table === undefined) {
      const room = TABLE_BYTES + (MOST + 1) * RECORD_BYTES;
      if (next + room > end) flush();
      table = take(TABLE_BYTES);
      i32.fill(0, word(table), word(table + TABLE_BYTES));
    }
    // Before the bytes are read: a write from now on is seen.
    shared.mark(frame);
    const made: CodeFrame = { table, version: shared.version(frame), lines: [], forms: new Map(), waiting: new Map() };
    frames.set(frame, made);
    return made;
  }

  function write(at: number, record: Uint8Array, handler: number): void {
    u8.set(record, at);
    i32[word(at + REC.handler)] = handler;
  }

  /** A record that is no instruction: goes on at `offset` of the frame, which may be the next one's. */
  function writeLink(at: number, offset: number, record: number): void {
    u8.fill(0, at, at + RECORD_BYTES);
    i32[word(at + REC.handler)] = SLOT.link;
    view.setUint16(at + REC.offset, offset, true);
    i32[word(at + REC.disp)] = record;
    view.setBigInt64(at + REC.imm, BigInt(offset), true);
  }

  const decoderOf = (bytes: Uint8Array, offset: number): iced.Decoder => {
    const decoder = new iced.Decoder(64, bytes, iced.DecoderOptions.None);
    decoder.ip = BigInt(offset);
    return decoder;
  };

  /** Decodes a frame from `offset` on; false where the first instruction lies in two frames. */
  function decode(
    code: CodeFrame,
    offset: number,
    decoder: iced.Decoder,
    instruction: iced.Instruction,
    most: number,
  ): boolean {
    decoder.position = offset;
    decoder.ip = BigInt(offset);
    const from = next;
    let at = offset;
    let isOpen = true;
    let before: { readonly form: Form; readonly record: number } | undefined;
    for (let n = 0; n < most && isOpen && at < FRAME; n++) {
      const known = i32[word(code.table) + at]!;
      if (known !== 0) break;
      decoder.decodeOut(instruction);
      if (instruction.isInvalid && decoder.lastError === iced.DecoderError.NoMoreBytes) {
        if (n === 0 && FRAME - at < LONGEST) return false;
        break;
      }
      const { form, record, length, endsBlock } = decoded(instruction, at);
      const here = take(RECORD_BYTES);
      write(here, record, instruction.isInvalid ? SLOT.undefined : handlerOf(form));
      code.forms.set(here, form);
      // The second keeps a handler of its own: code may jump to it.
      const pair = before === undefined || instruction.isInvalid ? undefined : pairOf(before.form, form);
      if (pair !== undefined) i32[word(before!.record + REC.handler)] = pair;
      before = pair === undefined ? { form, record: here } : undefined;
      i32[word(code.table) + at] = here;
      if (form.operands[0]?.kind === 'branch') lead(code, here);
      for (const branch of code.waiting.get(at) ?? []) i32[word(branch + REC.disp)] = here;
      code.waiting.delete(at);
      at += length;
      isOpen = !endsBlock && !instruction.isInvalid;
    }
    if (isOpen) writeLink(take(RECORD_BYTES), at, at < FRAME ? i32[word(code.table) + at]! : 0);
    code.lines.push([from, next]);
    return true;
  }

  /** Where a branch leads in its own frame. */
  function lead(code: CodeFrame, record: number): void {
    const target = view.getBigInt64(record + REC.imm, true);
    if (target < 0n || target >= BigInt(FRAME)) return;
    const to = Number(target);
    const known = i32[word(code.table) + to]!;
    if (known !== 0) i32[word(record + REC.disp)] = known;
    else code.waiting.set(to, [...(code.waiting.get(to) ?? []), record]);
  }

  function drop(frame: number): void {
    const code = frames.get(frame);
    if (code === undefined) return;
    for (const [from, to] of code.lines) {
      for (let at = from; at < to; at += RECORD_BYTES) {
        i32[word(at + REC.handler)] = SLOT.miss;
        const offset = view.getUint16(at + REC.offset, true);
        if (offset < FRAME) i32[word(code.table) + offset] = 0;
      }
    }
    frames.delete(frame);
    written.set(frame, code.table);
  }

  return {
    flush,
    drop,
    dropWritten() {
      for (const [frame, { version }] of frames) if (shared.version(frame) !== version) drop(frame);
    },
    codeOf: frameOf,
    formOf: (frame, record) => (record === scratch ? scratchForm : frameOf(frame).forms.get(record)),
    recordAt(frame, offset) {
      let code = frameOf(frame);
      const known = i32[word(code.table) + offset]!;
      if (known !== 0) return known;
      if (next + (MOST + 1) * RECORD_BYTES > end) {
        flush();
        code = frameOf(frame);
      }
      const { most, lines } = written.has(frame) ? WRITTEN : { most: MOST, lines: LINES };
      // iced-x86 copies what it reads, and not from shared memory.
      const bytes = lines > 1 ? FRAME : Math.min(FRAME, offset + most * LONGEST);
      const decoder = decoderOf(u8.slice(frame, frame + bytes), 0);
      const instruction = new iced.Instruction();
      let decodedLines = 1;
      if (decode(code, offset, decoder, instruction, most)) {
        for (const to of code.waiting.keys()) {
          if (++decodedLines > lines || next + (MOST + 1) * RECORD_BYTES > end) break;
          decode(code, to, decoder, instruction, most);
        }
      }
      decoder.free();
      instruction.free();
      return i32[word(code.table) + offset]!;
    },
    recordOfTwo(first, offset, second) {
      const bytes = new Uint8Array(2 * LONGEST);
      bytes.set(u8.subarray(first + offset, first + FRAME));
      bytes.set(u8.subarray(second, second + LONGEST), FRAME - offset);
      const decoder = decoderOf(bytes.slice(0, LONGEST), offset);
      const instruction = decoder.decode();
      const { form, record, length } = decoded(instruction, offset);
      write(scratch, record, instruction.isInvalid ? SLOT.undefined : handlerOf(form));
      writeLink(scratch + RECORD_BYTES, offset + length, 0);
      scratchForm = form;
      decoder.free();
      instruction.free();
      return scratch;
    },
  };
}
