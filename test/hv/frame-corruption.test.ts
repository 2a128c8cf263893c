import { expect } from 'chai';
import type { DomainResult } from '../../src/machine/result.js';
import { offsetsOf } from '../../src/shared/public/layout.js';
import { __HYPERVISOR_set_callbacks } from '../../src/shared/public/xen.js';
import { shared_info } from '../../src/shared/public/xen-layout.js';
import { guest, machineConfig, workload } from '../support/in-process.js';
import { guardAgainstEndlessTurns, type Probe, probe } from './probe.js';

const MS = 1e6;
const DURATION = 300 * MS;
const HOG = { run: 1_000_000 };
/** Sleeps 5 ms and works 1 ms, for ever. */
const SLEEPER = { sleep: { loop: -1, run: 1_000, sleep: 5_000 } };

/** A victim and a bystander, each on a pCPU of its own. */
const start = (victim: object, abi: 32 | 64, vcpus = 1): Probe =>
  probe(
    machineConfig({
      pcpus: vcpus + 1,
      durationNs: DURATION,
      guests: [
        guest({
          name: 'victim',
          abi,
          vcpus,
          workload: workload(victim),
          cpus: Array.from({ length: vcpus }, (_, k) => [k]),
        }),
        guest({ name: 'bystander', workload: workload(SLEEPER), cpus: [[vcpus]] }),
      ],
    }),
    50 * MS,
  );

/** Everything that was measured of the bystander. */
const bystander = (p: Probe): DomainResult => p.sim.result().domains[1]!;

const loops = (p: Probe, name: string): number =>
  p.sim.result().domains[0]!.tasks.find((t) => t.name === `${name}-0`)!.loops;

/** Runs to the end with and without the damage; the bystander must not notice. */
function damage(p: Probe, undamaged: Probe, act: (p: Probe) => void, afterTurn?: (p: Probe) => void): void {
  act(p);
  p.sim.run(DURATION, afterTurn && (() => afterTurn(p)));
  undamaged.run(DURATION);
  expect(bystander(p)).to.deep.equal(bystander(undamaged));
}

for (const abi of [32, 64] as const) {
  const s = abi === 64 ? offsetsOf(shared_info, 64) : offsetsOf(shared_info, 32);
  const page = (p: Probe): number => p.context.domain.sharedInfo(p.domainOf(0));

  describe(`a ${abi}-bit guest`, () => {
    it('whose upcalls are masked in its vcpu_info is told of no event: its sleepers sleep for ever', () => {
      const tasks = { ...SLEEPER, hog: HOG };
      const [p, undamaged] = [start(tasks, abi), start(tasks, abi)];
      const before = loops(p, 'sleep');
      damage(p, undamaged, ({ context }) => {
        context.image.u8[context.vcpu.infoAddr(0) + 1] = 1;
      });
      expect(loops(undamaged, 'sleep') - before).to.be.above(10);
      expect(loops(p, 'sleep') - before).to.be.at.most(1);
      expect(p.sim.result().domains[0]!.share).to.be.above(0.9);
    });

    it('whose timer port is masked in its shared info page sleeps for ever', () => {
      const [p, undamaged] = [start(SLEEPER, abi), start(SLEEPER, abi)];
      const before = loops(p, 'sleep');
      damage(p, undamaged, ({ context, view }) => {
        const port = context.vcpu.virqPort(0, 0);
        view.setUint32(page(p) + s.evtchn_mask, 1 << port, true);
      });
      expect(loops(p, 'sleep') - before).to.be.at.most(1);
      expect(p.isBlocked(0)).to.equal(true);
    });

    it('whose pending bits are cleared before it looks loses those events', () => {
      const tasks = { ...SLEEPER, hog: HOG };
      const [p, undamaged] = [start(tasks, abi), start(tasks, abi)];
      const before = loops(p, 'sleep');
      const lose = ({ context, view, sim, now }: Probe): void => {
        const info = context.vcpu.infoAddr(0);
        const came = view.getUint8(info) !== 0;
        // Masked while it waits for the next, so that it does not look before the bits are gone; then it looks at once.
        view.setUint8(info + 1, came ? 0 : 1);
        if (!came) return;
        view.setUint32(page(p) + s.evtchn_pending, 0, true);
        sim.built.core.keys.set(0, now + 1);
      };
      damage(p, undamaged, lose, lose);
      expect(loops(undamaged, 'sleep') - before).to.be.above(10);
      expect(loops(p, 'sleep') - before).to.be.at.most(3);
    });

    it('with a stale upcall flag in its vcpu_info is never woken', () => {
      const [p, undamaged] = [start(SLEEPER, abi), start(SLEEPER, abi)];
      while (!p.isBlocked(0)) p.run(p.now + 100_000);
      const before = loops(p, 'sleep');
      damage(p, undamaged, ({ context, view }) => view.setUint8(context.vcpu.infoAddr(0), 1));
      expect(loops(p, 'sleep')).to.equal(before);
      expect(p.isBlocked(0)).to.equal(true);
    });

    it('whose tsc_to_system_mul is halved oversleeps and overruns', () => {
      const tasks = { clocked: { loop: -1, runtime: 10_000 }, ...SLEEPER };
      const [p, undamaged] = [start(tasks, abi), start(tasks, abi)];
      const [clocked, sleep] = [loops(p, 'clocked'), loops(p, 'sleep')];
      const at = (q: Probe): number => q.context.vcpu.infoAddr(0) + 32 + 24;
      const right = p.view.getUint32(at(p), true);
      const halve = (q: Probe): void => q.view.setUint32(at(q), right / 2, true);
      damage(p, undamaged, halve, halve);
      const ratio = (name: string, before: number): number =>
        (loops(p, name) - before) / (loops(undamaged, name) - before);
      expect(ratio('clocked', clocked)).to.be.within(0.4, 0.6);
      expect(ratio('sleep', sleep)).to.be.within(0.3, 0.7);
    });

    it('that registers a wrong callback crashes with that reason, alone', () => {
      const [p, undamaged] = [start(SLEEPER, abi), start(SLEEPER, abi)];
      while (!p.isRunning(0)) p.run(p.now + 100_000);
      damage(p, undamaged, () => {
        expect(p.call(0, __HYPERVISOR_set_callbacks, 0xdead, 0xdead, 0, 0)).to.equal(0);
      });
      expect(p.sim.result().domains[0]!.ended).to.equal('crash: the event callback is not an address of its code');
      expect(p.context.vcpu.runstate(0)).to.equal(3);
    });

    it('without a callback crashes with that reason, alone', () => {
      const [p, undamaged] = [start(SLEEPER, abi), start(SLEEPER, abi)];
      while (!p.isRunning(0)) p.run(p.now + 100_000);
      damage(p, undamaged, () => {
        p.call(0, __HYPERVISOR_set_callbacks, 0, 0, 0, 0);
      });
      expect(p.sim.result().domains[0]!.ended).to.equal(
        'crash: an event was pending and no event callback is registered',
      );
    });

    it('that crashes on two VCPUs at the same instant ends, and the machine goes on', () => {
      const tasks = { hog: { ...HOG, instance: 2 } };
      const [p, undamaged] = [start(tasks, abi, 2), start(tasks, abi, 2)];
      guardAgainstEndlessTurns(p);
      damage(p, undamaged, () => {
        for (const v of [0, 1]) {
          expect(p.call(v, __HYPERVISOR_set_callbacks, 0xdead, 0xdead, 0, 0)).to.equal(0);
          // Their tickers fire together, or within one latency.
          p.context.pcpu.setPeriodicAt(v, 60 * MS);
        }
      });
      expect(p.sim.result().domains[0]!.ended).to.match(/^crash/);
    });
  });
}
