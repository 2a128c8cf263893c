/** The processor this program runs on, as an executor of cases: what it does is what a core has to do. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type Case,
  CODE_BASE,
  CODE_LIMIT,
  CODE_PAGE_BYTES,
  type CpuState,
  compare,
  DATA_BYTES,
  KERNEL_BASE,
  type Outcome,
  Vector,
  X87_BYTES,
  X87_INITIAL,
} from '../case.js';
import { isAmd, isOwnWay, POINTERS } from './maker.js';

export interface NativeCpu {
  /** Runs cases, each by itself, and waits for them. Outcomes share a buffer, and with their cases data that did not change. */
  run(cases: readonly Case[]): Outcome[];
  /** Every difference of what a core did in a case to what this processor did, but for what is its maker's own. See compare. */
  compare(core: Outcome, native: Outcome, c: Case, definedFlags: bigint): string[];
}

// Records of harness.c.
const FX_BYTES = 512;
const [FX_MXCSR, FX_XMM] = [24, 160];
const [IN_STEPPED, IN_RIP, IN_RFLAGS, IN_GPR, IN_FX] = [4, 8, 16, 24, 152];
const IN_CODE = IN_FX + FX_BYTES;
const IN_DATA = IN_CODE + CODE_LIMIT;
const IN_BYTES = IN_DATA + DATA_BYTES;
const [OUT_VECTOR, OUT_ERROR, OUT_ADDRESS, OUT_RIP, OUT_RFLAGS, OUT_GPR, OUT_FX] = [4, 8, 16, 24, 32, 40, 168];
const [OUT_STEPS, OUT_TRACE] = [OUT_FX + FX_BYTES, OUT_FX + FX_BYTES + 8];
const OUT_CHANGED = OUT_TRACE + 8;
const OUT_BLOCKS = OUT_CHANGED + DATA_BYTES / 64 / 8;
const BLOCK = 64;
const [EXCEPTION, TIMEOUT] = [1, 2];

/** Cases to one process of the harness: starting one takes 10 ms. */
const BATCH = 4096;
/** Used again and again: fresh memory is what costs most. */
const inputs = Buffer.alloc(BATCH * IN_BYTES);

/** Bits of mxcsr that every processor has. */
const MXCSR_BITS = 0xffff;

/** Pushes an error code: all others have what the kernel left there. */
const HAS_ERROR_CODE: ReadonlySet<number> = new Set([
  Vector.DF,
  Vector.TS,
  Vector.NP,
  Vector.SS,
  Vector.GP,
  Vector.PF,
  Vector.AC,
]);

let native: NativeCpu | undefined | null = null;

/** Undefined where there is none: no x86-64 Linux, or no gcc to build the harness with. */
export function nativeCpu(): NativeCpu | undefined {
  if (native === null) native = open();
  return native;
}

function open(): NativeCpu | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined;
  const folder = mkdtempSync(join(tmpdir(), 'x86-harness-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const program = join(folder, 'harness');
  // Sources stay where they are; this file has gone to dist/test/x86/native.
  const source = fileURLToPath(new URL('../../../../test/x86/native/harness.c', import.meta.url));
  try {
    execFileSync('gcc', ['-O2', '-Wall', '-Wextra', '-fpie', '-pie', '-o', program, source]);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const isLike = isAmd();
  return {
    compare(core, native, c, definedFlags) {
      if (isLike) return compare(core, native, definedFlags);
      return isOwnWay(c, [core, native]) ? [] : compare(core, native, definedFlags, POINTERS);
    },
    run(cases) {
      const outcomes: Outcome[] = [];
      for (let i = 0; i < cases.length; i += BATCH) outcomes.push(...runBatch(program, cases.slice(i, i + BATCH)));
      return outcomes;
    },
  };
}

function runBatch(program: string, cases: readonly Case[]): Outcome[] {
  const input = inputs.subarray(0, cases.length * IN_BYTES);
  cases.forEach((c, i) => {
    encode(c, input, i * IN_BYTES);
  });
  const maxBuffer = cases.length * (OUT_BLOCKS + DATA_BYTES) + 1;
  const { stdout, stderr, status, signal, error } = spawnSync(program, { input, maxBuffer });
  if (error) throw error;
  if (status !== 0) throw new Error(`the harness ended with ${signal ?? status}: ${stderr}`);
  // Views of 64-bit words need its alignment.
  const output = stdout.byteOffset % 8 === 0 ? stdout : Buffer.from(new Uint8Array(stdout).buffer);
  let at = 0;
  return cases.map((c) => {
    const outcome = decode(output, at, c);
    at += OUT_BLOCKS + outcome.blocks * BLOCK;
    return outcome.outcome;
  });
}

function encode({ code, state, data, isStepped }: Case, to: Buffer, at: number): void {
  const offset = Number(state.rip - CODE_BASE);
  if (code.length > CODE_LIMIT || !(offset >= 0 && offset + code.length <= CODE_PAGE_BYTES))
    throw new RangeError(`${code.length} bytes of code at 0x${state.rip.toString(16)}`);
  if (data.length !== DATA_BYTES) throw new RangeError(`${data.length} bytes of data`);
  if (state.mxcsr & ~MXCSR_BITS) throw new RangeError(`mxcsr 0x${state.mxcsr.toString(16)}`);
  to.writeUInt32LE(code.length, at);
  to.writeUInt32LE(isStepped === true ? 1 : 0, at + IN_STEPPED);
  to.writeBigUInt64LE(state.rip, at + IN_RIP);
  to.writeBigUInt64LE(state.rflags, at + IN_RFLAGS);
  new BigUint64Array(to.buffer, to.byteOffset + at + IN_GPR, 16).set(state.gpr);
  to.set(state.x87 ?? X87_INITIAL, at + IN_FX);
  to.writeUInt32LE(state.mxcsr, at + IN_FX + FX_MXCSR);
  to.set(state.xmm, at + IN_FX + FX_XMM);
  to.set(code, at + IN_CODE);
  to.set(data, at + IN_DATA);
}

/** Data the case has not changed stays the case's own array. */
function decodeData(from: Buffer, at: number, before: Uint8Array): { data: Uint8Array; blocks: number } {
  let data = before;
  let blocks = 0;
  for (let i = 0; i < DATA_BYTES / BLOCK; i++) {
    if (!(from[at + OUT_CHANGED + (i >> 3)]! & (1 << (i & 7)))) continue;
    if (blocks === 0) data = Uint8Array.from(before);
    const block = at + OUT_BLOCKS + blocks++ * BLOCK;
    data.set(from.subarray(block, block + BLOCK), i * BLOCK);
  }
  return { data, blocks };
}

function decode(from: Buffer, at: number, c: Case): { outcome: Outcome; blocks: number } {
  const view = (offset: number, bytes: number) => new Uint8Array(from.buffer, from.byteOffset + at + offset, bytes);
  const state: CpuState = {
    gpr: new BigUint64Array(from.buffer, from.byteOffset + at + OUT_GPR, 16),
    rip: from.readBigUInt64LE(at + OUT_RIP),
    rflags: from.readBigUInt64LE(at + OUT_RFLAGS),
    xmm: view(OUT_FX + FX_XMM, 256),
    mxcsr: from.readUInt32LE(at + OUT_FX + FX_MXCSR),
    x87: view(OUT_FX, X87_BYTES),
  };
  const { data, blocks } = decodeData(from, at, c.data);
  const steps = { count: Number(from.readBigUInt64LE(at + OUT_STEPS)), digest: from.readBigUInt64LE(at + OUT_TRACE) };
  const ending = from.readUInt32LE(at);
  if (ending === TIMEOUT) return { outcome: { state, data, steps, timedOut: true }, blocks };
  if (ending !== EXCEPTION) return { outcome: { state, data, steps }, blocks };
  const vector = from.readUInt32LE(at + OUT_VECTOR);
  const address = vector === Vector.PF ? from.readBigUInt64LE(at + OUT_ADDRESS) : 0n;
  let errorCode = HAS_ERROR_CODE.has(vector) ? Number(from.readBigUInt64LE(at + OUT_ERROR)) : 0;
  // Linux says of all its own addresses that they are present.
  if (vector === Vector.PF && address >= KERNEL_BASE) errorCode &= ~1;
  return { outcome: { state, data, steps, exception: { vector, errorCode, address } }, blocks };
}
