/** Answers of a processor that were recorded, for hosts without one to ask: what each case comes to, as a digest. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Outcome, x87Fields } from './case.js';
import { FEATURE_SETS, type FeatureSet } from './forms.js';

/** The sources stay where they are; this file has gone to dist/test/x86. */
export const CORPUS = fileURLToPath(new URL('../../../test/x86/corpus.txt', import.meta.url));

/** Sets of instructions of those cases that do not say which. */
const USUAL: readonly FeatureSet[] = ['integer', 'sse'];

/** What cases are made of, and how many there are of each. */
export const GROUPS: readonly { readonly sets: readonly FeatureSet[]; readonly cases: number }[] = [
  { sets: USUAL, cases: 2000 },
  { sets: ['x87'], cases: 1000 },
  { sets: ['x87', 'mmx'], cases: 500 },
];

/** Of all that is compared: registers, those of the x87 where its instructions are, defined flags, memory, how it ended. */
export function digest(
  { state, data, exception, timedOut }: Outcome,
  definedFlags: bigint,
  sets: readonly FeatureSet[],
): string {
  const { gpr, rip, rflags, xmm, mxcsr } = state;
  const x87 = sets.includes('x87') ? Object.values(x87Fields(state.x87!)) : [];
  const words = [...gpr, rip, rflags & definedFlags, BigInt(mxcsr), ...x87].map((x) => x.toString(16));
  const end = timedOut ? 'no end' : exception ? Object.values(exception).join(' ') : 'end';
  return createHash('sha256').update(words.join(' ')).update(xmm).update(data).update(end).digest('hex').slice(0, 16);
}

/** A case's line: seed, digest, and what it is made of where that is not the usual. */
export const corpusLine = (seed: number, sum: string, sets: readonly FeatureSet[]): string =>
  `${seed} ${sum}${sets === USUAL ? '' : ` ${sets.join('+')}`}\n`;

/** Seed, digest and sets of instructions of each case. */
export function readCorpus(): readonly (readonly [seed: number, digest: string, sets: readonly FeatureSet[]])[] {
  return readFileSync(CORPUS, 'utf8')
    .trim()
    .split('\n')
    .map((line) => {
      const [seed, sum, names] = line.split(' ');
      const sets = names === undefined ? USUAL : FEATURE_SETS.filter((set) => names.split('+').includes(set));
      return [Number(seed), sum!, sets] as const;
    });
}
