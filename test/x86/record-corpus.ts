/** Records what the processor of this host makes of the first cases of each group: `node dist/test/x86/record-corpus.js`. */
import { writeFileSync } from 'node:fs';
import { CORPUS, corpusLine, digest, GROUPS } from './corpus.js';
import { nativeCpu } from './native/cpu.js';
import { randomCase } from './random-code.js';

const native = nativeCpu();
if (native === undefined) throw new Error('there is no processor to ask');
const lines: string[] = [];
for (const { sets, cases: count } of GROUPS) {
  const cases = Array.from({ length: count }, (_, seed) => randomCase(seed, { sets }));
  for (const [seed, outcome] of native.run(cases.map((c) => c.case)).entries()) {
    const sum = digest(outcome, cases[seed]!.definedFlagsAt(outcome.state.rip), sets);
    lines.push(corpusLine(seed, sum, sets));
  }
}
writeFileSync(CORPUS, lines.join(''));
