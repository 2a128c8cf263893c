/** The test kernel as domain 0's of Xen 4.17, in QEMU: what it says there is what it says here, but for what differences.json explains. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { linesInXen, missingXen } from '../../perf/x86/xen-in-qemu.js';
import { noWorkload, readKernelFile } from '../../src/config/kernel-file.js';
import { guest, machineConfig } from '../support/in-process.js';
import { runMachine } from '../support/run-machine.js';

const FOLDER = fileURLToPath(new URL('../../../guests/test-kernel/', import.meta.url));
const FILE = join(FOLDER, 'test-kernel.elf');
/** A host with much else to do needs far longer than the few seconds it takes. */
const LIMIT_S = 150;

/** Lines of a section that are not as here. */
interface Difference {
  readonly line: string;
  readonly times: number;
  readonly of: string;
  readonly why: string;
}
const DIFFERENCES = JSON.parse(readFileSync(join(FOLDER, 'differences.json'), 'utf8')) as readonly Difference[];

async function here(vcpus: number): Promise<string[]> {
  const kernel = readKernelFile(FILE, `vcpus=${vcpus} compared=1`);
  const test = guest({ name: 'test', vcpus, memoryMib: 16, workload: noWorkload(FILE), kernel });
  const { domains } = await runMachine(machineConfig({ pcpus: vcpus, durationNs: 1e9, guests: [test] }));
  return domains[0]!.console.trim().split('\n');
}

/** What Xen's lines are, where only what is explained differs. */
function withDifferences(ours: readonly string[], found: readonly string[]): string[] {
  const count = DIFFERENCES.reduce((sum, { times }) => sum + times, 0);
  return ours.flatMap((line) => {
    const [, section] = /^(\w+): ok$/.exec(line) ?? [];
    const differences = DIFFERENCES.filter((difference) => difference.of === section);
    const [, passed] = /^(\d+) passed, 0 failed$/.exec(line) ?? [];
    if (passed !== undefined) return [`${Number(passed) - count} passed, ${count} failed`];
    if (differences.length === 0) return [line];
    const said = differences.flatMap(({ line: pattern, times }) =>
      found
        .filter((text) => new RegExp(`^${pattern}$`).test(text))
        .slice(0, times)
        .concat(Array.from({ length: times }, () => pattern))
        .slice(0, times),
    );
    return [...said, `${section}: FAILED`];
  });
}

describe('the test kernel on Xen 4.17 in QEMU', function () {
  this.timeout(1000 * (LIMIT_S + 30));
  let folder = '';

  before(function () {
    if (missingXen() !== undefined) this.skip();
    folder = mkdtempSync(join(tmpdir(), 'test-kernel-xen-'));
  });
  after(() => {
    if (folder !== '') rmSync(folder, { recursive: true });
  });

  for (const vcpus of [1, 4]) {
    it(`says the same with ${vcpus} VCPU${vcpus === 1 ? '' : 's'}`, async () => {
      const of = { folder, kernel: FILE, commandLine: `vcpus=${vcpus} compared=1`, vcpus };
      const found = (await linesInXen(of, LIMIT_S)).map(({ text }) => text);
      expect(found.at(-1)).to.match(/^\(XEN\) Hardware Dom0 halted/);
      expect(found.slice(0, -1)).to.deep.equal(withDifferences(await here(vcpus), found));
    });
  }
});
