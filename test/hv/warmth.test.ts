/** What it costs to run where one's caches are not. */
import { expect } from 'chai';
import { findConfigProblem } from '../../src/machine/check-config.js';
import type { MachineConfig } from '../../src/machine/config.js';
import type { RunResult } from '../../src/machine/result.js';
import { guest, hog, machineConfig, simulate, workload } from '../support/in-process.js';

const CACHE = { coreNs: 100_000, socketNs: 400_000, displacedNs: 1_000_000 };
const two = [guest({ name: 'a', workload: hog() }), guest({ name: 'b', workload: hog() })];

function resultOf(config: MachineConfig): RunResult {
  const sim = simulate(config);
  sim.run();
  return sim.result();
}
const sum = (result: RunResult, of: (d: RunResult['domains'][number]) => number): number =>
  result.domains.reduce((total, d) => total + of(d), 0);

describe('cache warmth', () => {
  it('costs who comes back after others a whole refill, or as much of it as they displaced', () => {
    for (const [displacedNs, part] of [
      [1e6, 1],
      [60e6, 0.5],
    ] as const) {
      const result = resultOf(machineConfig({ durationNs: 3e9, cache: { ...CACHE, displacedNs }, guests: two }));
      for (const { refillNs, switches, workNs, virtualTimeNs } of result.domains) {
        // Never the first time; slices of 30 ms, a few of which accounting cuts short.
        expect(refillNs! / (switches - 1)).to.be.closeTo(part * CACHE.coreNs, part === 1 ? 0 : 0.1 * CACHE.coreNs);
        // What was not settled yet is less than a tick.
        expect(workNs + refillNs!).to.be.closeTo(virtualTimeNs, 11e6);
      }
      expect(result.pcpus[0]!.refillNs).to.equal(sum(result, (d) => d.refillNs!));
    }
  });

  it('costs nothing who is alone, and nobody where it is not asked for', () => {
    expect(resultOf(machineConfig({ cache: CACHE, guests: [two[0]!] })).domains[0]!.refillNs).to.equal(0);
    const plain = resultOf(machineConfig({ guests: two }));
    expect(plain.domains[0]).to.not.have.property('refillNs');
    const free = { coreNs: 0, socketNs: 0, displacedNs: 1 };
    expect(resultOf(machineConfig({ guests: two, cache: free })).hash).to.equal(plain.hash);
  });

  it('goes by the distance of a move', () => {
    const sim = simulate(
      machineConfig({
        pcpus: 8,
        topology: { sockets: 2, cores: 2, threads: 2 },
        cache: CACHE,
        durationNs: 1e9,
        guests: [guest({ workload: hog(), cpus: [[0]] })],
      }),
    );
    const { hv, turns } = sim.built.core;
    let now = 10e6;
    sim.run(now);
    const costOf = (to: number): number => {
      const before = sim.result().domains[0]!.refillNs!;
      turns.interact(0, () => hv.sched.setAffinity(0, [to]));
      now += 10e6;
      sim.run(now);
      expect(hv.context.queues.entry.processor(0)).to.equal(to);
      return sim.result().domains[0]!.refillNs! - before;
    };
    expect(costOf(1), 'the sibling').to.equal(0);
    expect(costOf(2), 'another core').to.equal(100_000);
    expect(costOf(5), 'another socket').to.equal(500_000);
    expect(costOf(4), 'the sibling there').to.equal(0);
  });

  it('is what the migration delay is for', () => {
    const guests = [1, 2, 3, 4, 5].map((n) =>
      guest({ name: `w${n}`, workload: workload({ t: { run: 1000, sleep: 300 } }) }),
    );
    const workWith = (costs: boolean, migrationDelayUs: number): number =>
      sum(
        resultOf(
          machineConfig({
            pcpus: 4,
            seed: 1,
            durationNs: 2e9,
            migrationDelayUs,
            guests,
            cache: costs ? { ...CACHE, coreNs: 300_000 } : undefined,
          }),
        ),
        (d) => d.workNs,
      );
    // Where moving is free it only keeps pCPUs idle.
    expect(workWith(false, 5000) / workWith(false, 0)).to.be.below(0.95);
    expect(workWith(true, 5000) / workWith(true, 0)).to.be.above(1.1);
  });

  it('is within limits', () => {
    const problem = (cache: MachineConfig['cache']) => findConfigProblem(machineConfig({ cache, guests: two }))?.path;
    expect(problem(CACHE)).to.equal(undefined);
    expect(problem({ ...CACHE, coreNs: -1 })).to.deep.equal(['cache', 'coreNs']);
    expect(problem({ ...CACHE, socketNs: 1e9 })).to.deep.equal(['cache', 'socketNs']);
    expect(problem({ ...CACHE, displacedNs: 0 })).to.deep.equal(['cache', 'displacedNs']);
  });
});
