import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import { XEN_DOMCTL_INTERFACE_VERSION } from '../../src/shared/public/domctl.js';
import type { AbiLayout, Width } from '../../src/shared/public/layout.js';
import { layout, offsetsOf, sizeOf, wordBytes } from '../../src/shared/public/layout.js';
import { shared_info } from '../../src/shared/public/xen-layout.js';

/**
 * Every constant and structure that `src/shared/public` exports is compared with Xen's own headers (Debian:
 * libxen-dev). The comparison is generated from the modules' exports, so that nothing can be declared and untested.
 * As the kernel's asm-offsets does, the C compiler only compiles: it leaves each number in the assembly text as an
 * immediate operand. Nothing is linked or run, hence no 32-bit libc is needed.
 */

const HEADERS = '/usr/include/xen';
const WIDTHS: readonly Width[] = [32, 64];
const TOOLS_ONLY = '-D__XEN_TOOLS__'; // selects the latest interface version, and lets domctl.h and sysctl.h in

/** Names that the header leaves to the policy's source: numbered from 1 by the macro that the header gives for it. */
const CREDIT_EVENTS = [
  'SCHED_TASKLET',
  'ACCOUNT_START',
  'ACCOUNT_STOP',
  'STOLEN_UNIT',
  'PICKED_CPU',
  'TICKLE',
  'BOOST_START',
  'BOOST_END',
  'SCHEDULE',
  'RATELIMIT',
  'STEAL_CHECK',
];

const PRELUDE = [
  '#include <stdint.h>', // the compiler's own, with -ffreestanding
  '#include <stddef.h>',
  '#include <xen/xen.h>',
  ...[
    ...['event_channel', 'sched', 'vcpu', 'version', 'callback', 'nmi', 'trace', 'memory'],
    ...['domctl', 'sysctl', 'physdev', 'platform', 'elfnote', 'grant_table'],
  ].map((header) => `#include <xen/${header}.h>`),
  '#define __XEN__', // errno.h shows EINTR and ERESTART to the hypervisor alone
  '#include <xen/errno.h>',
  '#undef __XEN__',
  ...CREDIT_EVENTS.map((name, i) => `#define TRC_CSCHED_${name} TRC_SCHED_CLASS_EVT(CSCHED, ${i + 1})`),
];

/** One number that the headers must confirm, modulo 2^64. */
interface Claim {
  readonly expression: string;
  readonly value: bigint;
}

/** What one width of guest is told: numbers, and names that this ABI must not have. */
interface Claims {
  readonly numbers: Claim[];
  readonly absent: string[];
}

type Exports = Readonly<Record<string, unknown>>;

describe('the public ABI', () => {
  const modules = new Map<string, Exports>();

  before(async () => {
    const room = new URL('../../src/shared/public/', import.meta.url);
    for (const file of readdirSync(room).sort()) {
      if (!file.endsWith('.js') || file === 'layout.js') continue;
      modules.set(file, (await import(new URL(file, room).href)) as Exports);
    }
  });

  for (const width of WIDTHS) {
    it(`has the numbers, sizes and offsets of Xen's headers for ${width}-bit guests`, function () {
      if (!hasHeaders() || !hasCompiler()) this.skip();
      const claims = claimsOf(modules, width);
      expect(claims.numbers).to.have.length.above(700);
      const answers = askCompiler(claims, width);
      const wrong = claims.numbers
        .filter(({ expression, value }) => answers.get(expression) !== value)
        .map(({ expression, value }) => `${expression} is ${answers.get(expression)}, not ${value}`);
      expect(wrong).to.deep.equal([]);
    });
  }

  it('names every export as C does, once', () => {
    const seen = new Map<string, string>();
    const twice: string[] = [];
    for (const [file, exports] of modules) {
      for (const [name, value] of Object.entries(exports)) {
        const earlier = seen.get(name);
        if (earlier !== undefined) twice.push(`${name} in ${earlier} and ${file}`);
        seen.set(name, file);
        if (isLayout(value)) expect(value.name.replace(/^struct /, '')).to.equal(name);
      }
    }
    expect(twice).to.deep.equal([]);
  });

  it('keeps every member inside its structure', () => {
    for (const exports of modules.values()) {
      for (const value of Object.values(exports)) {
        if (!isLayout(value)) continue;
        for (const width of WIDTHS) {
          for (const [field, offset] of Object.entries(offsetsOf(value, width))) {
            // A flexible array member starts at the very end.
            expect(offset, `${value.name}.${field}`).to.be.within(0, sizeOf(value, width));
          }
        }
      }
    }
  });
});

describe('a layout', () => {
  const sample = layout('struct sample', [12, 24], { flags: [0, 0], pointer: [4, 8], only32: [8, null] });

  it('gives the offsets of the width that is asked for as plain numbers', () => {
    const { flags, pointer } = offsetsOf(sample, 64);
    expect([flags, pointer]).to.deep.equal([0, 8]);
    expect(offsetsOf(sample, 32)).to.deep.equal({ flags: 0, pointer: 4, only32: 8 });
  });

  it('leaves out a member that the ABI lacks', () => {
    expect(offsetsOf(sample, 64)).to.not.have.property('only32');
    // @ts-expect-error 64-bit guests have no such member
    expect(offsetsOf(sample, 64).only32).to.equal(undefined);
  });

  it('offers the members that both ABIs have when the width is known at run time only', () => {
    for (const width of WIDTHS) {
      const { evtchn_pending, evtchn_mask } = offsetsOf(shared_info, width);
      const bitmapBytes = wordBytes(width) * width;
      expect(evtchn_mask - evtchn_pending).to.equal(bitmapBytes);
    }
  });

  it('gives the size for each width', () => {
    expect(WIDTHS.map((width) => sizeOf(sample, width))).to.deep.equal([12, 24]);
  });

  it('cannot be changed', () => {
    expect(offsetsOf(sample, 32)).to.be.frozen;
  });
});

function isLayout(value: unknown): value is AbiLayout {
  return typeof value === 'object' && value !== null && 'offsets' in value;
}

/** Everything that the modules say about one width; an export of a kind that cannot be checked is an error. */
function claimsOf(modules: ReadonlyMap<string, Exports>, width: Width): Claims {
  const claims: Claims = { numbers: [], absent: [] };
  const claim = (expression: string, value: number | bigint): void => {
    claims.numbers.push({ expression, value: BigInt.asUintN(64, BigInt(value)) });
  };
  for (const [file, exports] of modules) {
    for (const [name, value] of Object.entries(exports)) {
      if (isLayout(value)) {
        claim(`sizeof(${value.name})`, sizeOf(value, width));
        for (const [field, offset] of Object.entries(offsetsOf(value, width))) {
          claim(`offsetof(${value.name}, ${field})`, offset);
        }
      } else if (isConstant(value)) {
        claim(name, value);
      } else if (isPerWidth(value)) {
        const own = value[width];
        if (own === undefined) claims.absent.push(name);
        else claim(name, own);
      } else {
        throw new Error(`${file} exports ${name}, which is neither a constant nor a layout`);
      }
    }
  }
  return claims;
}

function isConstant(value: unknown): value is number | bigint {
  return typeof value === 'number' || typeof value === 'bigint';
}

/** A constant of one ABI, or with a value for each. */
function isPerWidth(value: unknown): value is Partial<Record<Width, number | bigint>> {
  if (typeof value !== 'object' || value === null) return false;
  const entries = Object.entries(value);
  return entries.length > 0 && entries.every(([key, own]) => (key === '32' || key === '64') && isConstant(own));
}

/** Whether the headers are there and of the release that the tables describe: domctl's version changes with each. */
function hasHeaders(): boolean {
  if (!existsSync(`${HEADERS}/xen.h`)) return false;
  const version = /define XEN_DOMCTL_INTERFACE_VERSION (0x[0-9a-f]+)/.exec(readFileSync(`${HEADERS}/domctl.h`, 'utf8'));
  return Number(version?.[1]) === XEN_DOMCTL_INTERFACE_VERSION;
}

function hasCompiler(): boolean {
  try {
    execFileSync('gcc', ['-m32', '-ffreestanding', '-S', '-o', '-', '-xc', '-'], { input: '', stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
}

/** The value of each expression in the guest ABI of that width. Throws, with gcc's words, on an unknown name. */
function askCompiler({ numbers, absent }: Claims, width: Width): Map<string, bigint> {
  const program = [
    ...PRELUDE,
    ...absent.flatMap((name) => [`#ifdef ${name}`, `#error ${name} exists in this ABI`, '#endif']),
    'void numbers(void) {',
    ...numbers.map(({ expression }, i) => {
      // Two halves, because an operand of a 32-bit guest's instruction has 32 bits.
      const [low, high] = [`(uint32_t)(${expression})`, `(uint32_t)((uint64_t)(${expression}) >> 32)`];
      return `  asm volatile("->${i} %c0 %c1" : : "i"(${low}), "i"(${high}));`;
    }),
    '}',
  ].join('\n');
  const options = [`-m${width}`, '-std=gnu99', '-ffreestanding', '-fno-pie', '-O1', TOOLS_ONLY];
  const assembly = execFileSync('gcc', [...options, '-S', '-o', '-', '-xc', '-'], {
    input: program,
    encoding: 'utf8',
    stdio: 'pipe',
    maxBuffer: 1 << 24,
  });
  const answers = new Map<string, bigint>();
  for (const [, index, low, high] of assembly.matchAll(/->(\d+) (-?\d+) (-?\d+)/g)) {
    const value = BigInt.asUintN(32, BigInt(low!)) | (BigInt.asUintN(32, BigInt(high!)) << 32n);
    answers.set(numbers[Number(index)]!.expression, value);
  }
  return answers;
}
