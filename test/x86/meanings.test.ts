/** The table of meanings as data: what they say of flags and faults agrees with what iced-x86 knows of each instruction. */
import { expect } from 'chai';
import iced from 'iced-x86';
import { decoded } from '../../src/pcpu/x86/forms.js';
import type { Step } from '../../src/pcpu/x86/ir.js';
import { MEANINGS, meaningOf } from '../../src/pcpu/x86/meanings/index.js';
import { MMX } from '../../src/pcpu/x86/meanings/mmx.js';
import { hasSelector, SEGMENTS } from '../../src/pcpu/x86/meanings/segments.js';
import { ST } from '../../src/pcpu/x86/state.js';
import { X87_MNEMONICS } from '../../src/pcpu/x86/x87-code.js';
import { randomCase } from './random-code.js';

interface Seen {
  readonly name: string;
  readonly instruction: iced.Instruction;
  readonly steps: readonly Step[];
}

/**
 * What no random case has: MOV of and to segment registers, control and debug registers, PUSH and POP of FS and GS, INT1; and instructions of
 * operating systems.
 */
const OTHERS: readonly (readonly number[])[] = [
  ...[
    [0x8c, 0xd8],
    [0x48, 0x8c, 0xd8],
    [0x66, 0x8c, 0xd8],
    [0x8c, 0x1b],
    [0x48, 0x8c, 0x1b],
  ],
  ...[
    [0x8e, 0xd8],
    [0x48, 0x8e, 0xd8],
    [0x66, 0x8e, 0xd8],
    [0x8e, 0x1b],
    [0x48, 0x8e, 0x1b],
    [0x8e, 0xd0],
  ],
  ...[
    [0x0f, 0xa0],
    [0x0f, 0xa1],
    [0x0f, 0xa8],
    [0x0f, 0xa9],
    [0x66, 0x0f, 0xa0],
    [0x66, 0x0f, 0xa9],
  ],
  ...[[0x0f, 0x20, 0xc0], [0x0f, 0x22, 0xc0], [0x0f, 0x21, 0xc0], [0x0f, 0x23, 0xc0], [0xf1]],
  ...[
    [0x0f, 0x00, 0xe1],
    [0x0f, 0x00, 0xe9],
    [0x0f, 0x02, 0xc1],
    [0x66, 0x0f, 0x02, 0x03],
    [0x0f, 0x03, 0xc1],
  ],
  ...[
    [0x0f, 0x01, 0xe0],
    [0x0f, 0x01, 0x20],
    [0x0f, 0x01, 0x03],
    [0x0f, 0x01, 0x0b],
    [0x0f, 0x00, 0xc8],
    [0x0f, 0x00, 0x03],
  ],
  ...[[0xec], [0xe6, 0x21], [0x6c], [0xf3, 0x6f], [0x0f, 0x30], [0x0f, 0x01, 0xf0], [0x0f, 0x01, 0x13]],
];

/** One instruction of each form that random cases have, and the others. */
function forms(): Seen[] {
  const seen = new Map<string, Seen>();
  const seeds = Array.from({ length: 1500 }, (_, seed) => seed);
  for (const { code, rip } of [
    ...seeds.map((seed) => randomCase(seed, { sets: ['integer'] })),
    ...seeds.map((seed) => randomCase(seed, { sets: ['x87', 'mmx'] })),
  ]
    .map(({ case: c }) => ({ code: c.code, rip: c.state.rip }))
    .concat(OTHERS.map((code) => ({ code: Uint8Array.from(code), rip: 0x100n })))) {
    const decoder = new iced.Decoder(64, code, iced.DecoderOptions.None);
    decoder.ip = rip;
    while (decoder.canDecode) {
      const instruction = decoder.decode();
      // Cases end in the middle of one now and then.
      if (instruction.isInvalid) continue;
      const { form } = decoded(instruction, 0x100);
      if (seen.has(form.key)) continue;
      const steps = meaningOf(form, true);
      if (steps !== undefined) seen.set(form.key, { name: form.key, instruction, steps });
      else expect.fail(`${form.key} has no meaning`);
    }
  }
  return [...seen.values()];
}

describe('meanings', () => {
  let all: Seen[] = [];
  before(() => {
    all = forms();
  });

  it('are there for every form that a case can have', () => {
    expect(all.length).to.be.above(600);
  });

  it('are there for every instruction of the x87 and of mm registers that the core has', () => {
    const seen = new Set(all.map(({ instruction }) => iced.Mnemonic[instruction.mnemonic]));
    for (const mnemonic of [...X87_MNEMONICS, ...Object.keys(MMX)]) expect([...seen]).to.include(mnemonic);
  });

  it('are there for every instruction of segment registers that the core has', () => {
    const seen = all.filter(({ instruction }) => hasSelector(decoded(instruction, 0).form));
    const mnemonics = new Set(seen.map(({ instruction }) => iced.Mnemonic[instruction.mnemonic]));
    expect([...mnemonics]).to.have.members(Object.keys(SEGMENTS));
  });

  it('write flags where the instruction does, and nowhere else', () => {
    for (const { name, instruction, steps } of all) {
      const changed = instruction.rflagsModified & ~(iced.RflagsBits.DF | iced.RflagsBits.AC | iced.RflagsBits.IF);
      // What a function of the core does is not to be seen here.
      if (steps.some(({ op }) => op === 'helper')) continue;
      const isWriting = steps.some((step) => step.op === 'setFixed' && (step.at === ST.aux || step.at === ST.result));
      // Undefined flags may stay.
      const undefinedOnly = (changed & ~instruction.rflagsUndefined) === 0;
      // iced-x86 looks at the count of a shift, which a meaning is for all of.
      const isCounted = steps.some(({ op }) => op === 'imm');
      if (changed === 0 && !isCounted) expect(isWriting, name).to.equal(false);
      else if (changed !== 0 && !undefinedOnly) expect(isWriting, name).to.equal(true);
    }
  });

  it('change nothing before the last step that may fault', () => {
    for (const { name, steps } of all) {
      const first = steps.findIndex(({ op }) => op === 'setOperand' || op === 'setFixed');
      const last = steps.findLastIndex(({ op }) => op === 'load' || op === 'trap' || op === 'helper');
      const lastStore = steps.findLastIndex(({ op }) => op === 'store');
      if (first >= 0) expect(Math.max(last, lastStore), name).to.be.below(first);
    }
  });

  it('are of mnemonics that there are', () => {
    for (const name of Object.keys(MEANINGS)) {
      if (name !== 'String') expect(iced.Mnemonic, name).to.have.property(name);
    }
  });
});
