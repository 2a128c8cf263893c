/** Records what the processor of this host makes of the first cases: `node dist/test/x86/record-corpus.js`. */
import { writeFileSync } from 'node:fs';
import { CORPUS, digest } from './corpus.js';
import { nativeCpu } from './native/cpu.js';
import { randomCase } from './random-code.js';

const CASES = 2000;

const native = nativeCpu();
if (native === undefined) throw new Error('there is no processor to ask');
const cases = Array.from({ length: CASES }, (_, seed) => randomCase(seed));
const outcomes = native.run(cases.map((c) => c.case));
const lines = outcomes.map(
  (outcome, seed) => `${seed} ${digest(outcome, cases[seed]!.definedFlagsAt(outcome.state.rip))}\n`,
);
writeFileSync(CORPUS, lines.join(''));
