/** The x86 core against the processor that the tests run on: the same cases on both, all registers, memory and defined flags compared. */
import { expect } from 'chai';
import fc from 'fast-check';
import { DATA_BASE, DATA_BYTES, describeCase, plainState } from './case.js';
import { coreCpu, PATIENCE } from './core-cpu.js';
import { digest, readCorpus } from './corpus.js';
import type { FeatureSet } from './forms.js';
import { nativeCpu } from './native/cpu.js';
import { randomCase } from './random-code.js';

const DATA_END = DATA_BASE + BigInt(DATA_BYTES);
/** Cases that go to the processor at a time. */
const BATCH = 200;
const BATCHES = 8;

describe('the x86 core', () => {
  // One instruction at a time, and as it runs otherwise; in regions, with a budget that ends in them and without; and so beside others.
  const cores = [coreCpu(1), coreCpu(PATIENCE), coreCpu(7, 0), coreCpu(PATIENCE, 0), coreCpu(PATIENCE, 0, true)];

  const suites: readonly (readonly [string, readonly FeatureSet[]])[] = [
    ['integer instructions', ['integer']],
    ['instructions of SSE and SSE2', ['sse']],
    ['integer instructions and those of SSE and SSE2', ['integer', 'sse']],
    ['instructions of the x87', ['x87']],
    ['instructions of mm registers', ['mmx']],
    ['all instructions', ['integer', 'sse', 'x87', 'mmx']],
  ];
  const faults: readonly (readonly [string, readonly number[], bigint])[] = [
    ['is not aligned, and would be there', [0x66, 0x0f, 0xfe, 0x07], DATA_BASE + 1n],
    ['is not aligned, and is not there', [0x0f, 0x28, 0x07], 0x4000_0001n],
    ['goes from canonical addresses to others', [0x0f, 0x10, 0x07], 0x7fff_ffff_fff8n],
    ['goes from canonical addresses to others, and is no xmm register', [0x48, 0x8b, 0x07], 0x7fff_ffff_fffcn],
    ['is masked out, half of it not there', [0x66, 0x0f, 0xf7, 0xc1], DATA_BASE - 8n],
    ['is an image of FXSAVE, its end not there', [0x0f, 0xae, 0x07], DATA_END - 0x100n],
    ['is an image of FXSAVE, its beginning not there', [0x0f, 0xae, 0x07], DATA_BASE - 0x100n],
    ['is an image of FXRSTOR, nothing of it there', [0x0f, 0xae, 0x0f], DATA_END],
    ['is an image of FXRSTOR and not aligned', [0x0f, 0xae, 0x0f], DATA_BASE + 8n],
    ['is what FNSAVE stores, its end not there', [0xdd, 0x37], DATA_END - 100n],
    ['is what FRSTOR loads, nothing of it there', [0xdd, 0x27], DATA_END],
    ['is an environment, its end not there', [0xd9, 0x37], DATA_END - 27n],
    ['is a number of 80 bits, its end not there', [0xdb, 0x2f], DATA_END - 8n],
    ['is a number of 80 bits, its end not there, and nothing is to be stored', [0xdb, 0x3f], DATA_END - 8n],
  ];
  for (const [what, code, rdi] of faults) {
    it(`raises what the processor raises where an operand ${what}`, function () {
      const native = nativeCpu();
      if (native === undefined) this.skip();
      const c = {
        code: Uint8Array.from(code),
        state: plainState({ gpr: { 7: rdi } }),
        data: new Uint8Array(DATA_BYTES),
      };
      for (const core of cores) expect(native.compare(core.run(c), native.run([c])[0]!, c, 0n)).to.deep.equal([]);
    });
  }

  for (const [what, sets] of suites) {
    it(`does what the processor does, in any sequence of ${what}`, function () {
      const native = nativeCpu();
      if (native === undefined) this.skip();
      const from = fc.sample(fc.nat(1e9), 1)[0]!;
      for (let batch = 0; batch < BATCHES; batch++) {
        const cases = Array.from({ length: BATCH }, (_, n) => from + batch * BATCH + n).map((seed) => ({
          seed,
          ...randomCase(seed, { sets }),
        }));
        const outcomes = native.run(cases.map((c) => c.case));
        for (const [n, c] of cases.entries()) {
          const differences = native.compare(
            cores[batch % cores.length]!.run(c.case),
            outcomes[n]!,
            c.case,
            c.definedFlagsAt(outcomes[n]!.state.rip),
          );
          if (differences.length > 0)
            expect.fail(`case ${c.seed}:\n${describeCase(c.case)}\n${differences.join('\n')}`);
        }
      }
    });
  }

  it('does what a processor did, where there is none to ask', () => {
    for (const [seed, sum, sets] of readCorpus()) {
      const { case: c, definedFlagsAt } = randomCase(seed, { sets });
      const outcome = cores[1]!.run(c);
      if (digest(outcome, definedFlagsAt(outcome.state.rip), sets) !== sum)
        expect.fail(`case ${seed} of ${sets.join()}:\n${describeCase(c)}`);
    }
  });
});
