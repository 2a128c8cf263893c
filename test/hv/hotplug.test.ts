/** pCPUs off line and back while the machine runs (S24). */
import { expect } from 'chai';
import { CPU_TIME } from '../../src/hv/records.js';
import { invariants as findBroken } from '../../src/machine/invariants.js';
import { XEN_EBUSY, XEN_EEXIST, XEN_EINVAL, XEN_EOPNOTSUPP } from '../../src/shared/public/errno.js';
import {
  XEN_PCPU_FLAGS_INVALID,
  XEN_PCPU_FLAGS_ONLINE,
  XENPF_cpu_offline,
  XENPF_cpu_online,
  XENPF_get_cpuinfo,
} from '../../src/shared/public/platform.js';
import { XEN_SYSCTL_cpu_hotplug, XEN_SYSCTL_physinfo } from '../../src/shared/public/sysctl.js';
import { guest, hog, workload } from '../support/in-process.js';
import { type Dom0, dom0Machine } from './dom0-ops.js';

function runChecked(m: Dom0, ns: number, each?: (p: number) => void): void {
  const broken = findBroken(m.p.sim.built);
  m.p.sim.run(m.p.now + ns, (p) => {
    const found = broken();
    if (found.length > 0) expect(found, `at ${m.p.now} ns`).to.deep.equal([]);
    each?.(p);
  });
}

const dom0Guest = () => guest({ name: 'Domain-0', privileged: true, cpus: [[0]], workload: hog() });
/** They leave pCPU 0 to domain 0. */
const hogs = (n: number, cpus: readonly (readonly number[])[] = Array.from({ length: n }, () => [1, 2, 3])) =>
  guest({
    name: 'hogs',
    vcpus: n,
    cpus,
    workload: { ...hog(), tasks: hog().tasks.map((t) => ({ ...t, instance: n })) },
  });

describe('a pCPU that goes off line', () => {
  it('serves nobody from then on, and its VCPUs go on elsewhere', () => {
    const m = dom0Machine({ pcpus: 4, guests: [dom0Guest(), hogs(3)] });
    runChecked(m, 50e6);
    expect(m.offline(2)).to.equal(0);
    // Who was there is off within the latency of the IPI.
    runChecked(m, 10e3);
    const { pcpu, isIdle, runqueues, perfc } = { ...m.p.context, runqueues: m.p.context.queues };
    expect(isIdle(pcpu.current(2))).to.equal(true);
    const switches = pcpu.switches(2);
    const turns: number[] = [];
    runChecked(m, 1.5e9, (p) => turns.push(p));
    expect(pcpu.switches(2)).to.equal(switches);
    expect(turns.filter((p) => p === 2).length).to.be.below(3);
    expect(runqueues.isOnline(2)).to.equal(false);
    expect(perfc.total(0)).to.be.above(0);
    expect(m.sysctl(XEN_SYSCTL_physinfo).get('u.physinfo.nr_cpus')).to.equal(3);
  });

  it('is not counted by the credit scheduler: what is left is shared as before', () => {
    const m = dom0Machine({ pcpus: 4, guests: [dom0Guest(), hogs(6)] });
    m.offline(3);
    runChecked(m, 100e6);
    const ran = (): number[] => [1, 2, 3, 4, 5, 6].map((v) => m.p.hv.runstates.timeIn(v, 0));
    const before = ran();
    runChecked(m, 3e9);
    const shares = ran().map((t, k) => (t - before[k]!) / 3e9);
    const sum = shares.reduce((a, b) => a + b, 0);
    expect(sum).to.be.within(1.99, 2.001);
    for (const s of shares) expect(s).to.be.within(0.29, 0.38);
  });

  it('breaks the affinity of who was pinned there alone, with Xen’s word', () => {
    const m = dom0Machine({ pcpus: 4, guests: [dom0Guest(), hogs(2, [[2], [1, 2]])] });
    runChecked(m, 20e6);
    expect(m.offline(2)).to.equal(0);
    expect(m.console()).to.match(/\(XEN\) Breaking affinity for d1v0\n$/);
    m.getAffinity(1, 0);
    expect(m.readMask(1)).to.deep.equal([0, 1, 2, 3]);
    m.getAffinity(1, 1);
    expect(m.readMask(1)).to.deep.equal([1, 2]);
    runChecked(m, 50e6);
    expect(m.online(2)).to.equal(0);
    runChecked(m, 50e6);
    // Broken is broken.
    m.getAffinity(1, 0);
    expect(m.readMask(1)).to.deep.equal([0, 1, 2, 3]);
  });

  it('leaves its timers to pCPU 0, and they fire in time', () => {
    const m = dom0Machine({
      pcpus: 3,
      guests: [
        dom0Guest(),
        guest({
          name: 's',
          vcpus: 2,
          cpus: [[1], [2]],
          workload: workload({ t: { instance: 2, run: 100, sleep: 9_000 } }),
        }),
      ],
    });
    runChecked(m, 20e6);
    m.offline(2);
    const { machine } = m.p.context;
    expect(m.p.context.pcpu.timers(0)).to.be.above(0);
    const events = machine.events(0);
    runChecked(m, 200e6);
    expect(machine.events(0) - events).to.be.above(60);
  });

  it('cannot be pCPU 0, one that is not there, or one that is off line already', () => {
    const m = dom0Machine();
    const platform = (cmd: number, p: number): number => m.platform(cmd, { 'u.cpu_ol.cpuid': p }).rc;
    expect(m.offline(0)).to.equal(-XEN_EINVAL);
    expect(m.offline(3)).to.equal(-XEN_EINVAL);
    expect(m.online(3)).to.equal(-XEN_EINVAL);
    expect(m.online(1)).to.equal(-XEN_EEXIST);
    expect(m.offline(1)).to.equal(0);
    expect(m.offline(1)).to.equal(-XEN_EEXIST);
    expect(platform(XENPF_cpu_offline, 0)).to.equal(-XEN_EOPNOTSUPP);
    expect(platform(XENPF_cpu_offline, 3)).to.equal(-XEN_EINVAL);
    // The older call takes what is so for what was asked.
    expect(platform(XENPF_cpu_offline, 1)).to.equal(0);
    expect(platform(XENPF_cpu_online, 2)).to.equal(0);
    expect(m.sysctl(XEN_SYSCTL_cpu_hotplug, { 'u.cpu_hotplug.cpu': 2, 'u.cpu_hotplug.op': 3 }).rc).to.equal(
      -XEN_EOPNOTSUPP,
    );
    const flags = (p: number): number =>
      m.platform(XENPF_get_cpuinfo, { 'u.pcpu_info.xen_cpuid': p }).get('u.pcpu_info.flags');
    expect([0, 1, 2, 3].map(flags)).to.deep.equal([
      XEN_PCPU_FLAGS_ONLINE,
      0,
      XEN_PCPU_FLAGS_ONLINE,
      XEN_PCPU_FLAGS_INVALID,
    ]);
  });
});

describe('a pCPU that comes back', () => {
  for (const calibration of ['rendezvous', 'local', 'off'] as const) {
    it(`has its clock in step before anything runs there (calibration ${calibration})`, () => {
      const m = dom0Machine({
        pcpus: 3,
        calibration,
        checkTime: true,
        guests: [dom0Guest(), hogs(2)],
        latencyNs: 2000,
        ...(calibration === 'off' ? { tscDriftsPpm: [0, 0, 0], platformDriftPpm: 0 } : { tscDriftsPpm: [20, -40, 50] }),
      });
      m.offline(2);
      runChecked(m, 7.3e9);
      expect(m.online(2)).to.equal(0);
      if (calibration === 'rendezvous') {
        expect(m.online(2)).to.equal(-XEN_EBUSY);
        expect(m.offline(2)).to.equal(-XEN_EBUSY);
      }
      const { queues, pcpu, isIdle } = m.p.context;
      const cpu = m.p.context.image.table(CPU_TIME);
      let least = Infinity;
      runChecked(m, 3e9, () => {
        if (!queues.isOnline(2) || !isIdle(pcpu.current(2))) least = Math.min(least, m.p.now);
        if (!isIdle(pcpu.current(2))) expect(queues.isOnline(2)).to.equal(true);
      });
      expect(queues.isOnline(2)).to.equal(true);
      expect(isIdle(pcpu.current(2))).to.equal(false);
      // Within the bound that every calibration keeps.
      expect(Math.abs(m.p.hv.time.systemTime(2) - m.p.hv.time.systemTime(0))).to.be.below(2000);
      expect(cpu.calibrations(2) > 0).to.equal(calibration !== 'off');
      for (const check of m.p.sim.result().time?.findings ?? []) expect(check.violations, check.check).to.equal(0);
    });
  }

  it('may go and come any number of times, with the machine the same every time', () => {
    const run = (): readonly [number, number[]] => {
      const m = dom0Machine({
        pcpus: 4,
        guests: [
          dom0Guest(),
          hogs(2),
          guest({
            name: 's',
            vcpus: 3,
            cpus: [1, 2, 3].map(() => [1, 2, 3]),
            workload: workload({ t: { instance: 4, run: 300, sleep: 500 } }),
          }),
        ],
      });
      for (let n = 0; n < 30; n++) {
        const p = 1 + (n % 3);
        m.offline(p);
        runChecked(m, 1 + ((n * 37_123) % 900_000));
        m.online(p);
        runChecked(m, 1 + ((n * 91_337) % 900_000));
      }
      return [m.p.now, [1, 2, 3, 4, 5].map((v) => m.p.hv.runstates.timeIn(v, 0))];
    };
    expect(run()).to.deep.equal(run());
  });

  for (const scheduler of ['sedf', 'null', 'credit'] as const) {
    it(`works under ${scheduler}`, () => {
      const m = dom0Machine({ pcpus: 3, scheduler, guests: [dom0Guest(), hogs(2)] });
      runChecked(m, 20e6);
      m.offline(1);
      runChecked(m, 100e6);
      m.online(1);
      runChecked(m, 100e6);
      expect(m.p.context.queues.isOnline(1)).to.equal(true);
    });
  }

  it('works in the classic profile', () => {
    const m = dom0Machine({
      pcpus: 3,
      profile: 'classic',
      calibration: 'local',
      ratelimitUs: 1000,
      guests: [dom0Guest(), hogs(3)],
    });
    m.offline(1);
    runChecked(m, 2.5e9);
    m.online(1);
    runChecked(m, 2.5e9);
  });
});
