/** Reasons for decisions in the trace: they say what was decided, and change nothing. */
import { expect } from 'chai';
import type { GuestConfig, MachineConfig } from '../../src/machine/config.js';
import * as T from '../../src/shared/public/trace.js';
import { NOTE, TRACE, TRACE_FORMATS, traceText } from '../../src/shared/trace-kinds.js';
import { type TraceRecord, traceBases, traceRecords } from '../../src/shared/trace-ring.js';
import { guest, hog, machineConfig, simulate, workload } from '../support/in-process.js';
import { SCENARIOS } from '../support/scenarios.js';

/** Everything that is in the rings at the end, by time. */
function recordsOf(config: MachineConfig): TraceRecord[] {
  const sim = simulate({ ...config, trace: true });
  sim.run();
  const { image } = sim.built;
  return Array.from({ length: config.pcpus }, (_, p) => traceRecords(image.i32, traceBases(image), p))
    .flat()
    .sort((a, b) => a.ns - b.ns || a.pcpu - b.pcpu);
}
const notes = (records: readonly TraceRecord[], kind: number): string[] =>
  records.filter((r) => r.kind === kind).map(({ kind: k, words }) => traceText(k, words));
const run = (guests: readonly GuestConfig[], over: Partial<MachineConfig> = {}): TraceRecord[] =>
  recordsOf(machineConfig({ pcpus: 2, durationNs: 45e6, guests, ...over }));

describe('reasons in the trace', () => {
  it("have Xen's numbers where Xen has them", () => {
    expect(NOTE.acctStart).to.equal(0x22002);
    expect(NOTE.stealCheck).to.equal(0x2200b);
    expect([NOTE.domAdd, NOTE.domRem, NOTE.sleep, NOTE.yield, NOTE.block]).to.deep.equal([
      0x28001, 0x28002, 0x28003, 0x28005, 0x28006,
    ]);
    expect(NOTE.ratelimit).to.equal(T.TRC_CSCHED_RATELIMIT);
  });

  it('have a format for every kind, and no kind twice', () => {
    const kinds = [...Object.values(TRACE), ...Object.values(NOTE)];
    expect(new Set(kinds).size).to.equal(kinds.length);
    expect(
      Object.keys(TRACE_FORMATS)
        .map(Number)
        .sort((a, b) => a - b),
    ).to.deep.equal([...kinds].sort((a, b) => a - b));
    for (const { fields } of Object.values(TRACE_FORMATS)) expect(fields.length).to.be.at.most(3);
    expect(traceText(0x99, [1, 2, 3])).to.equal('0x99 1 2 3');
  });

  it('are no part of the hash', () => {
    for (const [name, config] of Object.entries(SCENARIOS)) {
      const hashes = [true, false].map((trace) => {
        const sim = simulate({ ...config, trace });
        sim.run();
        return sim.result().hash;
      });
      expect(hashes[0], name).to.equal(hashes[1]);
    }
  });

  it('tell who is told of a woken VCPU and by which rule', () => {
    const sleeper = guest({ name: 's', workload: workload({ s: { run: 100, sleep: 5000 } }) });
    expect(notes(run([guest({ workload: hog(), cpus: [[0]] }), sleeper]), NOTE.tickled)).to.include(
      'csched:tickle pcpu=1 v=1 rule=ownIdle',
    );
    const pinned = { ...sleeper, cpus: [[0]] };
    const beside = run([guest({ workload: hog(), cpus: [[0]] }), pinned]);
    expect(notes(beside, NOTE.tickled)).to.include('csched:tickle pcpu=0 v=1 rule=pushed');
    expect(notes(beside, NOTE.boost)).to.include('csched:boost v=1');
    expect(notes(beside, NOTE.block)).to.include('block v=1');
  });

  it('tell who joins and leaves the accounting', () => {
    const records = run([
      guest({ workload: hog() }),
      guest({ name: 'rare', workload: workload({ t: { run: 15_000, sleep: 5000 } }) }),
    ]);
    expect(notes(records, NOTE.acctStart)).to.include('csched:acct_start v=0 d=1 active=1');
    const late = run([guest({ workload: workload({ t: { run: 15_000, sleep: 200_000 } }) })], { durationNs: 600e6 });
    expect(notes(late, NOTE.acctStop)).to.include('csched:acct_stop v=0 d=1 active=0');
  });

  it('tell what was looked at and taken by a thief', () => {
    const records = run([guest({ vcpus: 3, workload: workload({ h: { instance: 3, run: 1e6 } }) })], {
      durationNs: 200e6,
    });
    expect(notes(records, NOTE.stolen).length).to.be.above(0);
    for (const text of notes(records, NOTE.stolen))
      expect(text).to.match(/^csched:stolen from=[01] v=[0-2] step=hard$/);
    expect(notes(records, NOTE.stealCheck)).to.include('csched:steal_check peer=0 result=found');
    expect(notes(records, NOTE.schedule)).to.satisfy((all: string[]) => all.some((text) => text.endsWith('stolen=1')));
  });

  it('tell why a VCPU went where it went', () => {
    const topology = { sockets: 1, cores: 2, threads: 2 };
    const records = run([guest({ vcpus: 2, workload: workload({ h: { instance: 2, run: 1e6 } }) })], {
      pcpus: 4,
      topology,
    });
    // Both begin on one core; the first tick finds the other one better.
    expect(notes(records, NOTE.moves)).to.satisfy((all: string[]) => all.some((text) => text.endsWith('why=better')));
    expect(notes(records, NOTE.picked)).to.satisfy((all: string[]) =>
      all.some((text) => text.endsWith('why=neighbours')),
    );
  });

  it('tell whom the ratelimit kept', () => {
    const records = run(
      [
        guest({ workload: hog(), cpus: [[0]] }),
        guest({ name: 's', cpus: [[0]], workload: workload({ s: { run: 50, sleep: 400 } }) }),
      ],
      { pcpus: 1 },
    );
    expect(notes(records, NOTE.ratelimit)).to.satisfy((all: string[]) =>
      all.some((text) => /^csched:ratelimit v=0 ran_ns=\d+$/.test(text)),
    );
  });
});
