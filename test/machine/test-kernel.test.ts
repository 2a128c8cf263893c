/** The test kernel (guests/test-kernel): exceptions, upcalls and the way back from them, as a guest sees them. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { noWorkload, readKernelFile } from '../../src/config/kernel-file.js';
import type { GuestConfig, MachineConfig } from '../../src/machine/config.js';
import { VMASST_TYPE_writable_pagetables } from '../../src/shared/public/xen.js';
import { guest, machineConfig, simulate, workload } from '../support/in-process.js';
import { runMachine } from '../support/run-machine.js';

const FOLDER = fileURLToPath(new URL('../../../guests/test-kernel/', import.meta.url));
const NO_COMPILER = 77;

function kernel(name: string, file: string, vcpus = 1, more = ''): GuestConfig {
  const kernelFile = readKernelFile(file, `vcpus=${vcpus}${more}`);
  return guest({ name, vcpus, memoryMib: 16, workload: noWorkload(file), kernel: kernelFile });
}

/** A line a section. */
const PASSED = /^(?:[a-z]+: ok\n){7,}\d+ passed, 0 failed\n$/;

describe('the test kernel', function () {
  this.timeout(300_000);
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

  it('sees what another one writes into a granted page in an order, in ordered mode in one', async () => {
    const kernels = [1, 2].map((id) => {
      const kernelFile = readKernelFile(file, `peer=${3 - id}`);
      return guest({ name: `k${id}`, memoryMib: 16, workload: noWorkload(file), kernel: kernelFile });
    });
    const config: MachineConfig = machineConfig({ pcpus: 2, durationNs: 1e9, debug: false, guests: kernels });
    const said = new Set<string>();
    for (const mode of ['ordered', 'free'] as const) {
      for (const threads of [1, 2, 2]) {
        const { domains, hash } = await runMachine({ ...config, mode, threads });
        for (const { console, ended } of domains) {
          expect(console, `${mode} mode, ${threads} threads`).to.match(
            /^traps: ok\nprivileged: ok\nseen [0-9a-f]+( at once)?\n\d+ passed, 0 failed\n$/,
          );
          expect(ended).to.equal('poweroff');
        }
        if (mode === 'ordered') said.add([hash, ...domains.map((d) => d.console)].join());
      }
    }
    expect([...said]).to.have.length(1);
  });

  it('writes its page tables as if it could, where it has asked for that', () => {
    const sim = simulate(
      machineConfig({ pcpus: 1, durationNs: 1e9, guests: [kernel('test', file, 1, ' writable=1')] }),
    );
    const { context, domains } = sim.built.core.hv;
    context.domain.setVmAssist(domains.find(1), 1 << VMASST_TYPE_writable_pagetables);
    sim.run();
    expect(sim.result().domains[0]!.console).to.match(PASSED);
  });

  it('finds no write in a page table that was written until it became one', async () => {
    const guests = [kernel('race', file, 2, ' rounds=1000')];
    const config = machineConfig({ pcpus: 2, durationNs: 10e9, mode: 'free', threads: 2, debug: false, guests });
    const { domains } = await runMachine(config);
    expect(domains[0]!.console).to.match(PASSED);
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
