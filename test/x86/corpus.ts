/** Answers of a processor that were recorded, for hosts without one to ask: what each case comes to, as a digest. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Outcome } from './case.js';

/** The sources stay where they are; this file has gone to dist/test/x86. */
export const CORPUS = fileURLToPath(new URL('../../../test/x86/corpus.txt', import.meta.url));

/** Of all that is compared: registers, defined flags, memory, how it ended. */
export function digest({ state, data, exception, timedOut }: Outcome, definedFlags: bigint): string {
  const { gpr, rip, rflags, xmm, mxcsr } = state;
  const words = [...gpr, rip, rflags & definedFlags, BigInt(mxcsr)].map((x) => x.toString(16));
  const end = timedOut ? 'no end' : exception ? Object.values(exception).join(' ') : 'end';
  return createHash('sha256').update(words.join(' ')).update(xmm).update(data).update(end).digest('hex').slice(0, 16);
}

/** Seed and digest of each case. */
export function readCorpus(): readonly (readonly [seed: number, digest: string])[] {
  return readFileSync(CORPUS, 'utf8')
    .trim()
    .split('\n')
    .map((line) => {
      const [seed, sum] = line.split(' ');
      return [Number(seed), sum!] as const;
    });
}
