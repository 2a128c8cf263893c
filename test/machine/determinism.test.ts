/** One result for any number of worker threads, and for the plain loop of the in-process harness. */
import { expect } from 'chai';
import type { MachineConfig } from '../../src/machine/config.js';
import type { RunResult } from '../../src/machine/result.js';
import { simulate } from '../support/in-process.js';
import { runMachine } from '../support/run-machine.js';
import { SCENARIOS } from '../support/scenarios.js';

/** All of a result that must not depend on the host. */
function essence({ host: _host, ...result }: RunResult): unknown {
  // Which worker owns a pCPU is a matter of folding.
  return { ...result, pcpus: result.pcpus.map(({ worker: _worker, ...pcpu }) => pcpu) };
}

describe('ordered mode', () => {
  for (const [name, config] of Object.entries(SCENARIOS)) {
    const threads = [...new Set([1, 2, 4, config.pcpus])].filter((n) => n <= config.pcpus);

    it(`gives one result with ${threads.join(', ')} threads and in process: ${name}`, async () => {
      const simulation = simulate(config);
      simulation.run();
      const wanted = simulation.result();
      expect(wanted.turns).to.be.greaterThan(100);
      for (const n of threads) {
        const result = await runMachine({ ...config, threads: n });
        expect(result.hash, `${n} threads`).to.equal(wanted.hash);
        expect(essence(result), `${n} threads`).to.deep.equal(essence(wanted));
      }
    });

    it(`takes turns in strictly ascending order of (time, pCPU): ${name}`, () => {
      const simulation = simulate(config);
      // Boot takes place before time 0.
      let [lastNs, lastPcpu] = [-Infinity, -1];
      simulation.run(undefined, (pcpu, ns) => {
        const later = ns > lastNs || (ns === lastNs && pcpu > lastPcpu);
        if (!later) expect.fail(`turn of pCPU ${pcpu} at ${ns} after that of pCPU ${lastPcpu} at ${lastNs}`);
        [lastNs, lastPcpu] = [ns, pcpu];
      });
      expect(lastNs).to.be.greaterThan(0);
    });

    it(`has the runstates of each VCPU sum to system time after every turn: ${name}`, () => {
      const simulation = simulate(config);
      const { hv } = simulation.built.core;
      const vcpus = config.guests.reduce((n, g) => n + g.vcpus, 0);
      let turn = 0;
      simulation.run(undefined, (_pcpu, ns) => {
        if (turn++ % 97 !== 0) return;
        for (let v = 0; v < vcpus; v++) {
          const sum = [0, 1, 2, 3].reduce((total, state) => total + hv.runstates.timeIn(v, state), 0);
          if (sum !== ns) expect.fail(`VCPU ${v} at ${ns}: its runstates sum to ${sum}`);
        }
      });
    });

    it(`gives the same hash with and without trace and debug: ${name}`, () => {
      const hashes = [false, true].flatMap((trace) =>
        [false, true].map((debug) => {
          const simulation = simulate({ ...config, trace, debug });
          simulation.run();
          return simulation.result().hash;
        }),
      );
      expect(new Set(hashes)).to.have.property('size', 1);
    });
  }

  it('gives the same hash with trace on worker threads', async () => {
    const config = Object.values(SCENARIOS)[1]!;
    const plain = await runMachine({ ...config, threads: 2, trace: false });
    const traced = await runMachine({ ...config, threads: 2, trace: true });
    expect(traced.hash).to.equal(plain.hash);
  });

  it('gives another hash for another machine', () => {
    const config = Object.values(SCENARIOS)[1]!;
    const hashOf = (over: Partial<MachineConfig>): string => {
      const simulation = simulate({ ...config, ...over });
      simulation.run();
      return simulation.result().hash;
    };
    const hashes = [{}, { latencyNs: 2001 }, { tsliceMs: 29 }, { guestOpNs: 101 }, { durationNs: 299e6 }].map(hashOf);
    expect(new Set(hashes)).to.have.property('size', 5);
  });
});
