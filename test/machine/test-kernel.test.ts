/** The test kernel (guests/test-kernel): exceptions, upcalls and the way back from them, as a guest sees them. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { noWorkload, readKernelFile } from '../../src/config/kernel-file.js';
import type { GuestConfig, MachineConfig } from '../../src/machine/config.js';
import { guest, machineConfig, workload } from '../support/in-process.js';
import { runMachine } from '../support/run-machine.js';

const FOLDER = fileURLToPath(new URL('../../../guests/test-kernel/', import.meta.url));
const NO_COMPILER = 77;

function kernel(name: string, file: string, vcpus = 1): GuestConfig {
  const kernelFile = readKernelFile(file, `vcpus=${vcpus}`);
  return guest({ name, vcpus, memoryMib: 16, workload: noWorkload(file), kernel: kernelFile });
}

const PASSED = /^traps: ok\nprivileged: ok\nevents: ok\nuser: ok\ndescriptors: ok\nvcpus: ok\n\d+ passed, 0 failed\n$/;

describe('the test kernel', function () {
  this.timeout(120_000);
  const file = join(FOLDER, 'test-kernel.elf');

  it('finds everything as it is to be', async () => {
    const { domains } = await runMachine(machineConfig({ pcpus: 1, durationNs: 1e9, guests: [kernel('test', file)] }));
    expect(domains[0]!.console).to.match(PASSED);
    expect(domains[0]!.ended).to.equal('poweroff');
  });

  it('finds it among others in either mode, for any number of threads, in ordered mode with one hash', async () => {
    const web = guest({
      name: 'web',
      vcpus: 4,
      workload: workload({ w: { instance: 6, loop: 20, run: 150, sleep: 250 } }),
    });
    const guests = [kernel('a', file), kernel('b', file), kernel('c', file, 4), web];
    const config: MachineConfig = machineConfig({ pcpus: 4, durationNs: 1e9, debug: false, guests });
    const hashes = new Set<string>();
    for (const mode of ['ordered', 'free'] as const) {
      for (const threads of [1, 2, 4]) {
        const { domains, hash } = await runMachine({ ...config, mode, threads });
        if (mode === 'ordered') hashes.add(hash);
        for (const { name, console: said } of domains.slice(0, 3))
          expect(said, `${name}, ${mode} mode, ${threads} threads`).to.match(PASSED);
      }
    }
    expect(hashes.size).to.equal(1);
  });

  it('does so built anew', async function () {
    const folder = mkdtempSync(join(tmpdir(), 'test-kernel-'));
    try {
      execFileSync(join(FOLDER, 'build.sh'), [folder], { stdio: 'inherit' });
      const anew = kernel('test', join(folder, 'test-kernel.elf'));
      const { domains } = await runMachine(machineConfig({ pcpus: 1, durationNs: 1e9, guests: [anew] }));
      expect(domains[0]!.console).to.match(PASSED);
    } catch (error) {
      if ((error as { status?: number }).status === NO_COMPILER) this.skip();
      throw error;
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
