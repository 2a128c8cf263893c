/**
 * Speed of the x86 core beside the host's processor, v86 and QEMU's TCG.
 *
 *   node dist/perf/x86-bench.js [--div N] [--only KERNEL] [--rivals none|v86,qemu] [--runs N]
 *
 * Kernels in million guest instructions a second: each a process of its own, after a tenth of its iterations. All run the same object
 * code but v86, which has a 32-bit build of the same source and counts its own. With --runs, medians, and ratios of runs side by side.
 * Then, without --only, what single events cost. A checksum that is wrong, and what fails or takes too long, makes the exit code 1.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { eventsTable } from './x86/events-table.js';
import { KERNELS, kernelsTable } from './x86/kernels-table.js';
import { PLACES, type PlaceName } from './x86/places.js';
import { missing, RIVALS, type Rival } from './x86/rivals.js';

const USAGE = 'usage: x86-bench [--div N] [--only KERNEL] [--rivals none|v86,qemu] [--runs N]';
const NO_COMPILER = 77;

function fail(problem: string): never {
  console.error(`${problem}\n${USAGE}`);
  process.exit(2);
}

function count(name: string, given: string): number {
  const x = Number(given);
  return /^\d+$/.test(given) && x >= 1 && x <= 1e6 ? x : fail(`--${name}: ${given} is no number of 1 to 1000000`);
}

function options(): { div: number; runs: number; kernels: readonly string[]; rivals: readonly Rival[] } {
  const { values } = given();
  const rivals = values.rivals === 'none' ? [] : values.rivals.split(',');
  const strange = rivals.find((name) => !(RIVALS as readonly string[]).includes(name));
  if (strange !== undefined) fail(`--rivals: there is no ${strange || 'rival without a name'}`);
  if (values.only !== undefined && !(KERNELS as readonly string[]).includes(values.only))
    fail(`--only: there is no ${values.only}, but ${KERNELS.join(', ')}`);
  return {
    div: count('div', values.div),
    runs: count('runs', values.runs),
    kernels: values.only === undefined ? KERNELS : [values.only],
    rivals: rivals as Rival[],
  };
}

function given() {
  try {
    return parseArgs({
      options: {
        div: { type: 'string', default: '5' },
        runs: { type: 'string', default: '1' },
        only: { type: 'string' },
        rivals: { type: 'string', default: RIVALS.join(',') },
      },
    });
  } catch (error) {
    return fail((error as Error).message);
  }
}

const { rivals, ...rest } = options();
const folder = mkdtempSync(join(tmpdir(), 'x86-bench-'));
try {
  execFileSync(join(fileURLToPath(new URL('../../perf/x86/', import.meta.url)), 'build.sh'), [folder, 'compared'], {
    stdio: 'inherit',
  });
  console.log(`${cpus()[0]?.model ?? 'unknown CPU'}, ${cpus().length} cores, Node ${process.version}`);
  const present = rivals.filter((rival) => {
    const what = missing(rival);
    if (what !== undefined) console.log(`${rival} is left out: it needs ${what}`);
    return what === undefined;
  });
  const places = (Object.keys(PLACES) as PlaceName[]).filter((name) => {
    const { rival } = PLACES[name];
    return rival === undefined || present.includes(rival);
  });
  console.log('\nmillion guest instructions a second');
  if (!(await kernelsTable({ ...rest, folder, places }))) process.exitCode = 1;
  if (rest.kernels.length > 1) {
    console.log('\nns of an event');
    if (!(await eventsTable(folder, present))) process.exitCode = 1;
  }
} catch (error) {
  if ((error as { status?: number }).status !== NO_COMPILER) throw error;
  console.error('the kernels cannot be built: there is no gcc');
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}
