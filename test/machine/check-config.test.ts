/** Rules that no scenario can break, for a scenario is read before; a user of the library can. */
import { expect } from 'chai';
import { findConfigProblem } from '../../src/machine/check-config.js';
import type { MachineConfig } from '../../src/machine/config.js';
import { guest, hog, machineConfig } from '../support/in-process.js';

describe('findConfigProblem', () => {
  const problem = (over: Partial<MachineConfig>) =>
    findConfigProblem(machineConfig({ pcpus: 2, guests: [guest({ workload: hog() })], ...over }));

  it('accepts clocks up to their limits', () => {
    expect(problem({})).to.equal(undefined);
    expect(problem({ tscOffsetsNs: [1.9e9, -1.9e9], tscDriftsPpm: [500, -500], platformDriftPpm: -500 })).to.equal(
      undefined,
    );
    expect(problem({ tscOffsetsNs: [undefined, 5], tscDriftsPpm: [undefined] })).to.equal(undefined);
    expect(problem({ synchronise: false, calibration: 'off', checkTime: true })).to.equal(undefined);
  });

  it('names the field of clocks beyond them, and of what is no number', () => {
    for (const beyond of [1.9e9 + 1, -1.9e9 - 1, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(problem({ tscOffsetsNs: [0, beyond] })?.path, `offset ${beyond}`).to.deep.equal(['tscOffsetsNs']);
    }
    for (const beyond of [500.5, -501, Number.NaN]) {
      expect(problem({ tscDriftsPpm: [beyond] })?.path, `drift ${beyond}`).to.deep.equal(['tscDriftsPpm']);
      expect(problem({ platformDriftPpm: beyond })?.path, `platform ${beyond}`).to.deep.equal(['platformDriftPpm']);
    }
    expect(problem({ tscOffsetsNs: [0, 0, 0] })).to.deep.equal({
      path: ['tscOffsetsNs'],
      message: '3 entries for 2 pCPUs',
    });
  });

  it('wants faults on pCPUs that there are', () => {
    const inject = (pcpu: number) => problem({ inject: { kind: 'drift', pcpu, atNs: 0 } });
    expect(inject(0)).to.equal(undefined);
    expect(inject(1)).to.equal(undefined);
    expect(inject(2)).to.deep.equal({ path: ['inject'], message: 'no pCPU 2: the machine has 2' });
    expect(inject(-1)?.path).to.deep.equal(['inject']);
    expect(inject(Number.NaN)?.path).to.deep.equal(['inject']);
  });

  it('lets the classic profile have nothing that Xen 3.0.4 has not', () => {
    const classic = (over: Partial<MachineConfig>) => problem({ profile: 'classic', ...over });
    expect(classic({})).to.equal(undefined);
    expect(classic({ ratelimitUs: 0, calibration: 'rendezvous', boost: false })).to.equal(undefined);
    expect(classic({ tsliceMs: 10 })).to.deep.equal({
      path: ['tsliceMs'],
      message: 'the classic profile (Xen 3.0.4) has a fixed timeslice of 30 ms',
    });
    expect(classic({ ratelimitUs: 500 })?.path).to.deep.equal(['ratelimitUs']);
    expect(classic({ migrationDelayUs: 1 })?.path).to.deep.equal(['migrationDelayUs']);
    const soft = (cpusSoft: readonly (readonly number[] | undefined)[]) =>
      classic({ guests: [guest({ workload: hog(), cpusSoft })] });
    expect(soft([undefined])).to.equal(undefined);
    expect(soft([[1]])).to.deep.equal({
      path: ['guests', 0, 'cpusSoft'],
      message: 'the classic profile (Xen 3.0.4) has no soft affinity',
    });
  });

  it('knows two profiles', () => {
    expect(problem({ profile: 'antique' as MachineConfig['profile'] })).to.deep.equal({
      path: ['profile'],
      message: "unknown profile 'antique'; known: modern, classic",
    });
  });
});
