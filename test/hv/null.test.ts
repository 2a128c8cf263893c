/** The null scheduler: a pCPU for every VCPU, and a queue of those for whom there is none. */
import { expect } from 'chai';
import type { GuestConfig, MachineConfig } from '../../src/machine/config.js';
import { guest, hog, machineConfig, simulate, workload } from '../support/in-process.js';
import { runMachine } from '../support/run-machine.js';

const MS = 1e6;
const config = (guests: readonly GuestConfig[], over: Partial<MachineConfig> = {}): MachineConfig =>
  machineConfig({ scheduler: 'null', pcpus: 2, durationNs: 400 * MS, guests, ...over });

/** A domain that computes for so long, on one VCPU, and ends. */
const job = (name: string, ms: number, over: Partial<GuestConfig> = {}): GuestConfig =>
  guest({ name, workload: workload({ t: { loop: 1, run: ms * 1000 } }), ...over });

const sleepers = (name: string, vcpus: number): GuestConfig =>
  guest({ name, vcpus, workload: workload({ t: { instance: 2 * vcpus, run: 300, sleep: 700 } }) });

describe('null', () => {
  it('keeps every VCPU on a pCPU of its own, whatever it does', async () => {
    const { domains, pcpus } = await runMachine(config([sleepers('a', 2), sleepers('b', 2)], { pcpus: 4 }));
    for (const { vcpus } of domains) for (const { migrations } of vcpus) expect(migrations).to.equal(0);
    for (const { steals, switches } of pcpus) {
      expect(steals).to.equal(0);
      expect(switches).to.be.above(100);
    }
  });

  it('takes no pCPU away from one that sleeps', () => {
    const sim = simulate(config([sleepers('a', 2), guest({ name: 'late', workload: hog() })]));
    sim.run();
    const { vcpu, domain } = sim.built.core.hv.context;
    const late = domain.firstVcpu(2);
    expect(vcpu.runstateTime(late, 0)).to.equal(0);
    expect(vcpu.runstate(late)).to.equal(1);
  });

  it('keeps no pCPU for a VCPU that is down', () => {
    const sim = simulate(
      config([guest({ name: 'a', vcpus: 1, maxVcpus: 3, workload: hog() }), guest({ name: 'b', workload: hog() })]),
    );
    sim.run();
    for (const { name, share } of sim.result().domains) expect(share, name).to.be.above(0.99);
  });

  it('gives the pCPU of a domain that ended to the first that waits, wherever that is', async () => {
    const { domains } = await runMachine(
      config([job('short', 100), job('long', 1000), job('third', 50), job('fourth', 50)], { seed: 0 }),
    );
    const share = domains.map(({ share: s, name }) => [name, Math.round(s * 400)]);
    expect(share[0]).to.deep.equal(['short', 100]);
    expect(share[1]![1]).to.be.closeTo(400, 2);
    // One after the other on the pCPU that became free.
    expect(share[2]![1]).to.be.closeTo(50, 2);
    expect(share[3]![1]).to.be.closeTo(50, 2);
  });

  it('fetches who waits in the queue of a pCPU whose own VCPU sleeps', async () => {
    // Both wait where the sleeper is; pCPU 1 becomes free after 100 ms.
    const { domains } = await runMachine(
      config([
        guest({ name: 'sleeper', cpus: [[0]], workload: workload({ t: { run: 1, sleep: 50_000 } }) }),
        job('short', 100, { cpus: [[1]] }),
        job('waits', 50, { cpus: [[0, 1]] }),
        job('never', 50, { cpus: [[0]] }),
      ]),
    );
    const ran = Object.fromEntries(domains.map(({ name, share }) => [name, Math.round(share * 400)]));
    expect(ran.waits).to.be.closeTo(50, 2);
    expect(ran.never).to.equal(0);
  });

  it('moves a VCPU that may not be where it is any more, and lets the next one in', () => {
    const sim = simulate(config([guest({ name: 'a', workload: hog(), cpus: [[0]] }), job('b', 20, { cpus: [[0]] })]));
    sim.run(10 * MS);
    const { core } = sim.built;
    const { vcpu, queues } = core.hv.context;
    expect([vcpu.runstate(0), vcpu.runstate(1)]).to.deep.equal([0, 1]);
    core.turns.interact(0, () => core.hv.sched.setAffinity(0, [1]));
    sim.run(12 * MS);
    expect([queues.entry.processor(0), queues.entry.processor(1)]).to.deep.equal([1, 0]);
    expect([vcpu.runstate(0), vcpu.runstate(1)]).to.deep.equal([0, 0]);
  });

  it('lets one that waits go where nobody is, as soon as it may', () => {
    const pinnedTo0 = (name: string): GuestConfig => guest({ name, workload: hog(), cpus: [[0]] });
    const sim = simulate(config([pinnedTo0('a'), pinnedTo0('b')]));
    sim.run(10 * MS);
    const { core } = sim.built;
    const { vcpu, queues } = core.hv.context;
    expect(vcpu.runstate(1)).to.equal(1);
    core.turns.interact(0, () => core.hv.sched.setAffinity(1, [0, 1]));
    sim.run(11 * MS);
    expect([vcpu.runstate(1), queues.entry.processor(1)]).to.deep.equal([0, 1]);
  });

  it('runs in free mode, too', async () => {
    const { domains } = await runMachine(
      config([job('short', 100), job('long', 1000), job('third', 50), job('fourth', 50)], {
        mode: 'free',
        threads: 2,
        jitterSeed: 3,
      }),
    );
    expect(domains.map(({ share }) => Math.round(share * 40))).to.deep.equal([10, 40, 5, 5]);
  });
});
