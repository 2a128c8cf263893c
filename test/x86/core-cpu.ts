/** The x86 core as something that runs cases (case.ts). */
import { EXIT, FLAG, SEGMENT, ST, VECTOR } from '../../src/pcpu/x86/state.js';
import { putFx, takeFx } from '../../src/pcpu/x86/x87-images.js';
import { X87Registers } from '../../src/pcpu/x86/x87-registers.js';
import { bareMachine, registers } from './bench-machine.js';
import {
  type Case,
  CODE_BASE,
  CODE_PAGE_BYTES,
  DATA_BASE,
  DATA_BYTES,
  endOf,
  INT3,
  type Outcome,
  RFLAGS_SET,
  type Steps,
  X87_BYTES,
  X87_INITIAL,
} from './case.js';

/** Instructions after which a case is given up. */
export const PATIENCE = 100_000;

export interface CoreCpu {
  run(c: Case): Outcome;
}

/** The words that say a flag are the core's own: flags go in and out by code, POPFQ and PUSHFQ on a page that no case sees. */
const STACK = 0x3000_0000n;
const FLAGS_CODE = 0x3100_0000n;
const POPFQ = [0x9d];
const PUSHFQ = [0x9c];

/** What Linux has its applications load. */
const LINUX_SELECTORS = { code: [0x23, 0x33], data: [0x2b] } as const;
const [LINUX_CS, LINUX_SS] = [0x33, 0x2b];

/** DR7: breakpoints 0 and 1 for reads and writes of 8 bytes. */
const ACCESS_OF_8 = 0xbb_0005n;

const dataViewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/**
 * @param budget instructions at a time
 * @param hot instructions after which code is made a region
 * @param isParallel with locked accesses as among others
 * @param isWatched with breakpoints at both pages of data, whose traps are counted as steps
 */
export function coreCpu(budget = 1, hot?: number, isParallel = false, isWatched = false): CoreCpu {
  const m = bareMachine(128, undefined, isParallel, hot, { over: { selectors: LINUX_SELECTORS } });
  const r = registers(m);
  m.map({ virtual: CODE_BASE, bytes: CODE_PAGE_BYTES, isWritable: false, isExecutable: true });
  m.map({ virtual: DATA_BASE, bytes: DATA_BYTES });
  m.map({ virtual: STACK, bytes: 4096 });
  m.map({ virtual: FLAGS_CODE, bytes: 4096, isExecutable: true, isWritable: false });
  const { u8, buffer } = m.image;
  const view = new DataView(buffer);
  const [code, data] = [m.at(CODE_BASE), m.at(DATA_BASE)];
  if (m.at(DATA_BASE + 4096n) !== data + 4096) throw new Error('the pages of data do not follow each other');
  if (isWatched) {
    m.core.setDebugRegister(m.st, 0, DATA_BASE + 64n);
    m.core.setDebugRegister(m.st, 1, DATA_BASE + 4096n);
    m.core.setDebugRegister(m.st, 7, ACCESS_OF_8);
  }
  u8.set([...POPFQ, ...PUSHFQ], m.at(FLAGS_CODE));

  /** Runs one instruction of the page for flags. */
  function flagsBy(offset: bigint): void {
    r.set(4, STACK + 64n + (offset === 0n ? 0n : 8n));
    r.rip = FLAGS_CODE + offset;
    if (m.core.run(m.st, 1) !== EXIT.budget) throw new Error('flags cannot be had');
  }
  /** Selectors as they are when a case begins. */
  function resetSelectors(): void {
    for (const n of Object.values(SEGMENT)) view.setUint16(m.st + ST.selectors + 2 * n, 0, true);
    view.setUint16(m.st + ST.selectors + 2 * SEGMENT.CS, LINUX_CS, true);
    view.setUint16(m.st + ST.selectors + 2 * SEGMENT.SS, LINUX_SS, true);
  }

  function setTrapFlag(isSet: boolean): void {
    const flags = r.word(ST.flags) & ~FLAG.TF;
    view.setInt32(m.st + ST.flags, isSet ? flags | FLAG.TF : flags, true);
  }

  /** Runs on through single steps. */
  function runSteps(budget: number): { readonly reason: number; readonly steps: Steps } {
    let [count, digest] = [0, 0n];
    const add = (x: bigint): void => {
      digest = BigInt.asUintN(64, (digest ^ x) * 0x100000001b3n);
    };
    for (let left = budget; ; left = r.word(ST.left)) {
      const reason = left === 0 ? EXIT.budget : m.core.run(m.st, left);
      if (reason !== EXIT.exception || r.word(ST.vector) !== VECTOR.DB) return { reason, steps: { count, digest } };
      count++;
      add(r.rip);
      for (let n = 0; n < 16; n++) add(r.get(n));
    }
  }

  const word = m.at(STACK + 64n);
  const x87 = new X87Registers(buffer);
  x87.select(m.st);

  return {
    run(c) {
      u8.fill(INT3, code, code + CODE_PAGE_BYTES);
      u8.set(c.code, code + Number(c.state.rip - CODE_BASE));
      u8.set(c.data, data);
      m.core.codeChanged(code);
      view.setBigUint64(word, c.state.rflags, true);
      flagsBy(0n);
      resetSelectors();
      setTrapFlag(c.isStepped === true);
      for (let n = 0; n < 16; n++) r.set(n, c.state.gpr[n]!);
      u8.set(c.state.xmm, m.st + ST.xmm);
      view.setUint32(m.st + ST.mxcsr, c.state.mxcsr, true);
      takeFx(x87, dataViewOf(c.state.x87 ?? X87_INITIAL), true);
      r.rip = c.state.rip;
      const end = endOf(c);
      let reason: number = EXIT.budget;
      let left = PATIENCE;
      let steps: Steps | undefined;
      if (budget < PATIENCE && c.isStepped !== true) {
        // The end is an instruction like any other: it is looked for before each run.
        while ((r.rip !== end || end === CODE_BASE + BigInt(CODE_PAGE_BYTES)) && left > 0) {
          reason = m.core.run(m.st, budget);
          left -= budget - r.word(ST.left);
          if (reason !== EXIT.budget) break;
        }
      } else {
        ({ reason, steps } = runSteps(PATIENCE));
        left = r.word(ST.left);
      }
      // What follows the end is a breakpoint, where it has gone on.
      if (reason === EXIT.exception && r.word(ST.vector) === VECTOR.BP && r.rip === end + 1n) {
        reason = EXIT.budget;
        r.rip = end;
      }
      const rip = r.rip;
      const gpr = BigUint64Array.from({ length: 16 }, (_, n) => r.get(n));
      const exception =
        reason === EXIT.exception
          ? {
              vector: r.word(ST.vector),
              errorCode: r.word(ST.errorCode),
              address: r.word(ST.vector) === VECTOR.PF ? r.wide(ST.cr2) : 0n,
            }
          : undefined;
      const image = new Uint8Array(X87_BYTES);
      putFx(x87, dataViewOf(image), true);
      setTrapFlag(false);
      flagsBy(1n);
      const flags =
        view.getBigUint64(word, true) & BigInt(FLAG.CF | FLAG.PF | FLAG.AF | FLAG.ZF | FLAG.SF | FLAG.OF | FLAG.DF);
      return {
        state: {
          gpr,
          rip,
          rflags: flags | RFLAGS_SET,
          xmm: u8.slice(m.st + ST.xmm, m.st + ST.xmm + 256),
          mxcsr: view.getUint32(m.st + ST.mxcsr, true),
          x87: image,
        },
        data: u8.slice(data, data + DATA_BYTES),
        ...(exception === undefined ? {} : { exception }),
        ...(steps === undefined ? {} : { steps }),
        ...(left <= 0 ? { timedOut: true as const } : {}),
      };
    },
  };
}
