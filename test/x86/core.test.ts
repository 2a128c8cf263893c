/** The x86 core against the processor that the tests run on: the same cases on both, all registers, memory and defined flags compared. */
import { expect } from 'chai';
import fc from 'fast-check';
import { compare, describeCase } from './case.js';
import { coreCpu } from './core-cpu.js';
import type { FeatureSet } from './forms.js';
import { nativeCpu } from './native/cpu.js';
import { randomCase } from './random-code.js';

/** Cases that go to the processor at a time. */
const BATCH = 250;
const BATCHES = 8;

describe('the x86 core', () => {
  const core = coreCpu();

  const suites: readonly (readonly [string, readonly FeatureSet[]])[] = [
    ['integer instructions', ['integer']],
    ['instructions of SSE and SSE2', ['sse']],
    ['integer instructions and those of SSE and SSE2', ['integer', 'sse']],
  ];
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
          const differences = compare(core.run(c.case), outcomes[n]!, c.definedFlagsAt(outcomes[n]!.state.rip));
          if (differences.length > 0)
            expect.fail(`case ${c.seed}:\n${describeCase(c.case)}\n${differences.join('\n')}`);
        }
      }
    });
  }
});
