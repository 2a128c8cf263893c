import { expect } from 'chai';
import fc from 'fast-check';
import { Image, layOut } from '../../src/shared/image.js';
import {
  lastTrace,
  setTraceGroup,
  TRACE,
  TRACE_RECORDS,
  type TraceKind,
  traceBases,
  traceHash,
  traceRegions,
  tracer,
} from '../../src/shared/trace-ring.js';

interface Entry {
  readonly pcpu: number;
  readonly ns: number;
  readonly kind: TraceKind;
  readonly a: number;
  readonly b: number;
}

function run(entries: readonly Entry[], keep: boolean) {
  const image = Image.create(layOut(traceRegions(4, 1, 1)));
  const bases = traceBases(image);
  const trace = tracer(image.i32, bases, { keep, ordered: true, me: 0, groups: 1 });
  for (const { pcpu, ns, kind, a, b } of entries) {
    trace.turn(pcpu, ns);
    trace.record(kind, a, b);
  }
  return {
    hash: traceHash(image.i32, bases.hash, 1),
    last: (pcpu: number, most: number) => lastTrace(image.i32, bases, pcpu, most),
  };
}

const entry: fc.Arbitrary<Entry> = fc.record({
  pcpu: fc.nat(3),
  ns: fc.maxSafeNat(),
  kind: fc.constantFrom(...Object.values(TRACE)),
  a: fc.nat(5000),
  b: fc.nat(5000),
});

describe('the trace hash', () => {
  it('is the same for the same stream, whether records are kept or not', () => {
    fc.assert(
      fc.property(fc.array(entry), (entries) => {
        expect(run(entries, true).hash).to.equal(run(entries, false).hash);
      }),
    );
  });

  it('changes when two different interactions change places', () => {
    fc.assert(
      fc.property(fc.array(entry, { minLength: 2, maxLength: 20 }), fc.nat(18), (entries, at) => {
        const k = at % (entries.length - 1);
        const [x, y] = [entries[k]!, entries[k + 1]!];
        fc.pre(JSON.stringify(x) !== JSON.stringify(y));
        expect(run(entries.toSpliced(k, 2, y, x), false).hash).to.not.equal(run(entries, false).hash);
      }),
    );
  });

  it('changes with the time, the pCPU, the kind and both operands of any interaction', () => {
    fc.assert(
      fc.property(fc.array(entry, { minLength: 1, maxLength: 20 }), fc.nat(), (entries, at) => {
        const k = at % entries.length;
        const e = entries[k]!;
        const kind = e.kind === TRACE.wake ? TRACE.park : TRACE.wake;
        for (const other of [{ ns: e.ns + 1 }, { pcpu: e.pcpu ^ 1 }, { kind }, { a: e.a + 1 }, { b: e.b + 1 }]) {
          expect(run(entries.with(k, { ...e, ...other }), false).hash).to.not.equal(run(entries, false).hash);
        }
      }),
    );
  });

  it('is 16 hexadecimal digits', () => {
    expect(run([{ pcpu: 1, ns: 5, kind: TRACE.wake, a: 1, b: 2 }], false).hash).to.match(/^[0-9a-f]{16}$/);
  });
});

describe('the trace hash of groups', () => {
  /** pCPUs 0 and 2 are one group, 1 and 3 the other. Each runner takes the turns of one group, or one all of them. */
  function runGroups(entries: readonly Entry[], runnerOf: (pcpu: number) => number): string {
    const image = Image.create(layOut(traceRegions(4, 2, 2)));
    const bases = traceBases(image);
    for (let p = 0; p < 4; p++) setTraceGroup(image.i32, bases, p, p % 2);
    const traces = [0, 1].map((me) => tracer(image.i32, bases, { keep: false, ordered: true, me, groups: 2 }));
    for (const { pcpu, ns, kind, a, b } of entries) {
      const trace = traces[runnerOf(pcpu)]!;
      trace.turn(pcpu, ns);
      trace.record(kind, a, b);
    }
    return traceHash(image.i32, bases.hash, 2);
  }
  const oneOf = (entries: readonly Entry[]): string => runGroups(entries, () => 0);

  it('is the same however their streams lie to each other, and whoever takes them', () => {
    fc.assert(
      fc.property(fc.array(entry), (entries) => {
        const groups = [0, 1].map((g) => entries.filter(({ pcpu }) => pcpu % 2 === g));
        const wanted = oneOf(entries);
        expect(oneOf(groups.flat())).to.equal(wanted);
        expect(runGroups(groups.toReversed().flat(), (pcpu) => pcpu % 2)).to.equal(wanted);
      }),
    );
  });

  it('changes when two different interactions of one group change places, or one goes to the other group', () => {
    const two: Entry[] = [0, 2].map((pcpu) => ({ pcpu, ns: 5, kind: TRACE.wake, a: 1, b: 2 }));
    expect(oneOf(two.toReversed())).to.not.equal(oneOf(two));
    expect(oneOf([two[0]!, { ...two[1]!, pcpu: 1 }])).to.not.equal(oneOf(two));
    expect(oneOf(two.map((e) => ({ ...e, pcpu: e.pcpu + 1 })))).to.not.equal(oneOf(two));
  });

  it('takes what is recorded on behalf of a pCPU, without a turn of it, as its group’s', () => {
    const image = Image.create(layOut(traceRegions(4, 1, 2)));
    const bases = traceBases(image);
    for (let p = 0; p < 4; p++) setTraceGroup(image.i32, bases, p, p % 2);
    const trace = tracer(image.i32, bases, { keep: false, ordered: true, me: 0, groups: 2 });
    const lanes = (g: number): number => image.i32[(bases.hash >> 2) + 16 * g]!;
    trace.turn(1, 5);
    const [, second] = [lanes(0), lanes(1)];
    trace.enter(0);
    trace.record(TRACE.wake, 1, 2);
    expect(lanes(1)).to.equal(second);
    expect(lanes(0)).to.not.equal(0);
  });
});

describe('the trace rings', () => {
  const stream = Array.from({ length: TRACE_RECORDS + 10 }, (_, n): Entry => {
    return { pcpu: n % 2, ns: 2 ** 33 + n, kind: TRACE.wake, a: n, b: 7 };
  });

  it("show a pCPU's newest records, oldest first, with time, pCPU, kind and operands", () => {
    const last = run(stream, true).last(1, 3);
    expect(last).to.deep.equal([
      '8.589935623 p1 wake v=1031 pcpu=7',
      '8.589935625 p1 turn',
      '8.589935625 p1 wake v=1033 pcpu=7',
    ]);
  });

  it('hold no more than their size and overwrite the oldest', () => {
    const last = run(stream, true).last(0, 10 * TRACE_RECORDS);
    expect(last).to.have.length(TRACE_RECORDS);
    expect(last.at(-1)).to.contain('wake v=1032 pcpu=7');
  });

  it('stay empty when records are not kept', () => {
    expect(run(stream, false).last(0, 10)).to.deep.equal([]);
  });
});
