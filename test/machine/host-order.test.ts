/** Where machine code may be run by several workers at the same time. */
import { expect } from 'chai';
import { noWorkload } from '../../src/config/kernel-file.js';
import { readKernel } from '../../src/loader/kernel.js';
import type { MachineConfig } from '../../src/machine/config.js';
import { forHost, hostWarnings, runsTogether } from '../../src/machine/host-order.js';
import { elfOf } from '../support/elf.js';
import { guest, hog, machineConfig } from '../support/in-process.js';

const kernel = guest({
  workload: noWorkload('k'),
  kernel: { file: 'k', image: readKernel(elfOf([0x90])), commandLine: '' },
});
const config = (over: Partial<MachineConfig> = {}): MachineConfig =>
  machineConfig({ pcpus: 4, threads: 4, guests: [kernel], ...over });

describe('machine code and the host', () => {
  it('is run by one worker at a time where the order of memory is not that of x86', () => {
    expect(runsTogether(config(), 'x64')).to.equal(true);
    expect(runsTogether(config(), 'arm64')).to.equal(false);
    expect(forHost(config({ mode: 'free' }), 'arm64').threads).to.equal(1);
    expect(forHost(config({ mode: 'free' }), 'x64').threads).to.equal(4);
    // In ordered mode only one worker runs a guest at a time, whatever the number of them.
    expect(forHost(config(), 'arm64').threads).to.equal(4);
  });

  it('is told where that is so', () => {
    expect(hostWarnings(config({ mode: 'free' }), 'arm64')).to.deep.equal([
      'machine code needs the memory order of x86, which arm64 does not have: all pCPUs are on one worker',
    ]);
    expect(hostWarnings(config(), 'arm64')[0]).to.include('one worker at a time');
    expect(hostWarnings(config(), 'x64')).to.deep.equal([]);
    expect(hostWarnings(config({ threads: 1 }), 'arm64')).to.deep.equal([]);
    expect(
      hostWarnings(machineConfig({ pcpus: 2, threads: 2, guests: [guest({ workload: hog() })] }), 'arm64'),
    ).to.deep.equal([]);
  });
});
