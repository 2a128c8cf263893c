/**
 * Registers as GDB knows those of amd64 (gdb/features/i386): their order and sizes, the description of them that it is sent, and where each
 * is in a VCPU's block.
 */
import { readRflags, writeRflags } from '../pcpu/x86/rflags.js';
import { GPR_NAMES, SEGMENT, ST } from '../pcpu/x86/state.js';
import { X87Registers } from '../pcpu/x86/x87-registers.js';

export interface Register {
  readonly name: string;
  readonly bytes: number;
  readonly type: string;
  /** Its bytes, and others. */
  read(view: DataView, st: number): Uint8Array;
  write(view: DataView, st: number, data: Uint8Array): void;
}

/** GDB's order of the general registers. */
const GENERAL = ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rsp'].concat(
  Array.from({ length: 8 }, (_, n) => `r${8 + n}`),
);
const SEGMENTS = ['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const;
/** Bits of RFLAGS that there are: all that POPF and the hypervisor know. */
const RFLAGS_BITS = 0x25_7fd7;
const EXTENDED_BYTES = 10;

/** So many bytes at an offset of the block. */
const plain = (name: string, bytes: number, type: string, offset: number): Register => ({
  name,
  bytes,
  type,
  read: (view, st) => new Uint8Array(view.buffer, st + offset, bytes).slice(),
  write: (view, st, data) => new Uint8Array(view.buffer, st + offset, bytes).set(data),
});

/** A word of 4 bytes that is put together. */
const word = (
  name: string,
  type: string,
  read: (view: DataView, st: number) => number,
  write: (view: DataView, st: number, x: number) => void,
): Register => ({
  name,
  bytes: 4,
  type,
  read(view, st) {
    const data = new Uint8Array(4);
    new DataView(data.buffer).setUint32(0, read(view, st) >>> 0, true);
    return data;
  },
  write: (view, st, data) => write(view, st, new DataView(data.buffer, data.byteOffset).getUint32(0, true)),
});

function x87Of(view: DataView, st: number): X87Registers {
  const x87 = new X87Registers(view.buffer);
  x87.select(st);
  return x87;
}

const selector = (name: (typeof SEGMENTS)[number]): Register => {
  const at = ST.selectors + 2 * SEGMENT[name.toUpperCase() as keyof typeof SEGMENT];
  return word(
    name,
    'int32',
    (view, st) => view.getUint16(st + at, true),
    (view, st, x) => view.setUint16(st + at, x, true),
  );
};

/** ST(i), whatever its tag says. */
const stackRegister = (i: number): Register => {
  const place = (view: DataView, st: number): Uint8Array =>
    new Uint8Array(view.buffer, st + ST.fpr + 16 * ((x87Of(view, st).top + i) & 7), EXTENDED_BYTES);
  return {
    name: `st${i}`,
    bytes: EXTENDED_BYTES,
    type: 'i387_ext',
    read: (view, st) => place(view, st).slice(),
    write: (view, st, data) => place(view, st).set(data),
  };
};

const low = (x: bigint): number => Number(BigInt.asUintN(32, x));
const high = (x: bigint): number => Number(x >> 32n);
const whole = (upper: number, lower: number): bigint => (BigInt(upper >>> 0) << 32n) | BigInt(lower >>> 0);
/** What is not kept: it reads 0. */
const none = (name: string): Register =>
  word(
    name,
    'int',
    () => 0,
    () => {},
  );

/** In 64-bit mode the selectors are the upper halves of the addresses, as FXSAVE64 has them. */
const x87Control: readonly Register[] = [
  word(
    'fctrl',
    'int',
    (view, st) => x87Of(view, st).controlWord,
    (view, st, x) => {
      x87Of(view, st).controlWord = x;
    },
  ),
  word(
    'fstat',
    'int',
    (view, st) => x87Of(view, st).statusWord,
    (view, st, x) => {
      x87Of(view, st).statusWord = x & 0xffff;
    },
  ),
  word(
    'ftag',
    'int',
    (view, st) => x87Of(view, st).tagWord,
    (view, st, x) => {
      x87Of(view, st).tagWord = x;
    },
  ),
  word(
    'fiseg',
    'int',
    (view, st) => high(x87Of(view, st).lastInstruction),
    (view, st, x) => {
      const x87 = x87Of(view, st);
      x87.lastInstruction = whole(x, low(x87.lastInstruction));
    },
  ),
  word(
    'fioff',
    'int',
    (view, st) => low(x87Of(view, st).lastInstruction),
    (view, st, x) => {
      const x87 = x87Of(view, st);
      x87.lastInstruction = whole(high(x87.lastInstruction), x);
    },
  ),
  word(
    'foseg',
    'int',
    (view, st) => high(x87Of(view, st).lastOperand),
    (view, st, x) => {
      const x87 = x87Of(view, st);
      x87.lastOperand = whole(x, low(x87.lastOperand));
    },
  ),
  word(
    'fooff',
    'int',
    (view, st) => low(x87Of(view, st).lastOperand),
    (view, st, x) => {
      const x87 = x87Of(view, st);
      x87.lastOperand = whole(high(x87.lastOperand), x);
    },
  ),
  none('fop'),
];

const core: readonly Register[] = [
  ...GENERAL.map((name) => {
    const type = name === 'rsp' || name === 'rbp' ? 'data_ptr' : 'int64';
    return plain(name, 8, type, ST.gpr + 8 * GPR_NAMES.indexOf(name));
  }),
  plain('rip', 8, 'code_ptr', ST.rip),
  word('eflags', 'i386_eflags', readRflags, (view, st, x) => writeRflags(view, st, x & RFLAGS_BITS)),
  ...SEGMENTS.map(selector),
  ...Array.from({ length: 8 }, (_, i) => stackRegister(i)),
  ...x87Control,
];

const sse: readonly Register[] = [
  ...Array.from({ length: 16 }, (_, n) => plain(`xmm${n}`, 16, 'vec128', ST.xmm + 16 * n)),
  word(
    'mxcsr',
    'i386_mxcsr',
    (view, st) => view.getUint32(st + ST.mxcsr, true),
    // The bits that LDMXCSR takes.
    (view, st, x) => view.setUint32(st + ST.mxcsr, x & 0xffff, true),
  ),
];

const segments: readonly Register[] = [
  plain('fs_base', 8, 'int64', ST.fsBase),
  plain('gs_base', 8, 'int64', ST.gsBase),
];

/** All, by GDB's numbers. */
export const REGISTERS: readonly Register[] = [...core, ...sse, ...segments];
const ALL_BYTES = REGISTERS.reduce((sum, { bytes }) => sum + bytes, 0);

export function readAll(view: DataView, st: number): Uint8Array {
  return Uint8Array.from(REGISTERS.flatMap((register) => [...register.read(view, st)]));
}

/** False: it is not as long as all of them are. */
export function writeAll(view: DataView, st: number, data: Uint8Array): boolean {
  if (data.length !== ALL_BYTES) return false;
  const writeSome = (isOne: (register: Register) => boolean): void => {
    let at = 0;
    for (const register of REGISTERS) {
      if (isOne(register)) register.write(view, st, data.slice(at, at + register.bytes));
      at += register.bytes;
    }
  };
  // Which register ST(0) is, is said behind it.
  writeSome(({ name }) => name === 'fstat');
  writeSome(({ name }) => name !== 'fstat');
  return true;
}

const EFLAGS: readonly (readonly [string, number])[] = [
  ...([
    ['CF', 0],
    ['', 1],
    ['PF', 2],
    ['AF', 4],
    ['ZF', 6],
    ['SF', 7],
    ['TF', 8],
    ['IF', 9],
  ] as const),
  ...([
    ['DF', 10],
    ['OF', 11],
    ['NT', 14],
    ['RF', 16],
    ['VM', 17],
    ['AC', 18],
    ['VIF', 19],
    ['VIP', 20],
    ['ID', 21],
  ] as const),
];
const MXCSR: readonly (readonly [string, number])[] = [
  ...([
    ['IE', 0],
    ['DE', 1],
    ['ZE', 2],
    ['OE', 3],
    ['UE', 4],
    ['PE', 5],
    ['DAZ', 6],
    ['IM', 7],
    ['DM', 8],
  ] as const),
  ...([
    ['ZM', 9],
    ['OM', 10],
    ['UM', 11],
    ['PM', 12],
    ['FZ', 15],
  ] as const),
];

const flagsType = (id: string, flags: typeof EFLAGS): string =>
  `<flags id="${id}" size="4">${flags
    .map(([name, bit]) => `<field name="${name}" start="${bit}" end="${bit}"/>`)
    .join('')}</flags>`;

const vectors = [
  ...[
    ['v4f', 'ieee_single', 4],
    ['v2d', 'ieee_double', 2],
    ['v16i8', 'int8', 16],
  ],
  ...[
    ['v8i16', 'int16', 8],
    ['v4i32', 'int32', 4],
    ['v2i64', 'int64', 2],
  ],
] as const;
const vectorTypes =
  vectors.map(([id, type, count]) => `<vector id="${id}" type="${type}" count="${count}"/>`).join('') +
  '<union id="vec128">' +
  [
    ['v4_float', 'v4f'],
    ['v2_double', 'v2d'],
    ['v16_int8', 'v16i8'],
    ['v8_int16', 'v8i16'],
    ['v4_int32', 'v4i32'],
  ]
    .concat([
      ['v2_int64', 'v2i64'],
      ['uint128', 'uint128'],
    ])
    .map(([name, type]) => `<field name="${name}" type="${type}"/>`)
    .join('') +
  '</union>';

const groupOf = (name: string): string =>
  /^(st\d|f(ctrl|stat|tag|iseg|ioff|oseg|ooff|op))$/.test(name)
    ? ' group="float"'
    : name === 'mxcsr'
      ? ' group="vector"'
      : '';

function feature(name: string, types: string, registers: readonly Register[], first: number): string {
  const all = registers.map(
    (r, n) =>
      `<reg name="${r.name}" bitsize="${8 * r.bytes}" type="${r.type}" regnum="${first + n}"${groupOf(r.name)}/>`,
  );
  return `<feature name="org.gnu.gdb.i386.${name}">${types}${all.join('')}</feature>`;
}

/** What GDB is told of them: target.xml. */
export const TARGET_XML = [
  '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target>',
  '<architecture>i386:x86-64</architecture>',
  feature('core', flagsType('i386_eflags', EFLAGS), core, 0),
  feature('sse', vectorTypes + flagsType('i386_mxcsr', MXCSR), sse, core.length),
  feature('segments', '', segments, core.length + sse.length),
  '</target>',
].join('\n');
