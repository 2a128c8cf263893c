import { expect } from 'chai';
import type { Verdict } from '../../src/config/expectations.js';
import type { InterruptResult } from '../../src/machine/result.js';
import { jsonReport } from '../../src/report/json-report.js';
import { coloured, paintFor } from '../../src/report/table.js';
import { textReport } from '../../src/report/text-report.js';
import { fakeDomain, fakeResult } from './fake-result.js';

const place = { file: 'x.yaml', line: 12, column: 5 };
const held: Verdict = { place, ok: true, subject: 'jain', expected: '>= 0.9000', measured: '0.9987' };
const failed: Verdict = { place, ok: false, subject: 'share of web', expected: '= 33.30 %', measured: '150.00 %' };

// biome-ignore lint/suspicious/noControlCharactersInRegex: colour is control characters
const COLOUR = /\u001b\[/;

describe('the text report', () => {
  const text = textReport(fakeResult(), [held, failed], { title: 'x.yaml' });
  const lines = text.split('\n');

  it('says who got what, in aligned columns', () => {
    expect(text).to.contain('x.yaml: 10.00 s simulated on 2 pCPUs, the duration is over');
    const web = lines.find((line) => line.startsWith('web'));
    expect(web?.split(/\s{2,}/)).to.deep.equal([
      ...['web', '1', '256', 'none', '152.0 %', '150.0 %', '15.00 s', '4.900 s', '123.5 ms'],
    ]);
    const header = lines.find((line) => line.startsWith('domain'));
    expect(header?.length).to.equal(web?.length);
  });

  it('shows no latency for a domain that never woke', () => {
    const batch = lines.filter((line) => line.startsWith('batch'))[1];
    expect(batch?.split(/\s{2,}/).slice(0, 6)).to.deep.equal(['batch', '0', '-', '-', '-', '-']);
  });

  it('names the hash, the fairness, the host speed and every expectation with its line', () => {
    expect(text).to.match(/trace hash\s+0123456789abcdef/);
    expect(text).to.match(/Jain fairness\s+0\.9987/);
    expect(text).to.match(/host time\s+812\.3 ms on 2 threads, after a start of 41\.50 ms/);
    expect(text).to.match(/host speed\s+1\.52 M events\/s, 12 simulated s per host s/);
    expect(text).to.contain('Expectations: 1 of 2 failed');
    expect(text).to.match(/FAILED\s+share of web\s+= 33\.30 %\s+150\.00 %\s+line 12/);
  });

  it('stays within 100 columns for long names and large numbers', () => {
    const big = fakeDomain(3, {
      name: 'a-domain-with-a-rather-long-name',
      cap: 12800,
      share: 128,
      expectedShare: 128,
      virtualTimeNs: 1.28e14,
      switches: 1_234_567_890,
      wake: { count: 987_654_321, p50Ns: 12_345, p99Ns: 123_456, p999Ns: 999_999_999, maxNs: 59_999_999_999 },
    });
    const wide = textReport(fakeResult({ domains: [big] }), [failed], { title: 'x.yaml' });
    for (const line of wide.split('\n')) expect(line.length, line).to.be.at.most(100);
  });

  it('sums up the pCPUs of a large machine', () => {
    const pcpus = Array.from({ length: 128 }, (_, id) => ({ id, worker: 0, use: id / 127, switches: id, steals: 0 }));
    const large = textReport(fakeResult({ pcpus }), [], { title: 'x.yaml' });
    expect(large).to.match(/128 pCPUs\s+least\s+mean\s+most/);
    expect(large).to.match(/use\s+0\.0 %\s+50\.0 %\s+100\.0 %/);
  });

  it('says of a machine with devices what became of its interrupts, within 100 columns', () => {
    expect(text).to.not.contain('Interrupts');
    const latency = { count: 987_654_321, p50Ns: 2047, p99Ns: 999_999_999, p999Ns: 1e9, maxNs: 59_999_999_999 };
    const n = 1_234_567_890;
    const line: InterruptResult = {
      ...{
        irq: 255,
        trigger: 'level' as const,
        devices: ['a-device-with-a-rather-long-name', 'b'],
        domains: [1],
        latency,
      },
      ...{ raised: n, delivered: n, handled: n, unhandled: n, throttled: n, merged: n, forced: n },
    };
    const idle = { ...line, irq: 9, latency: { ...latency, count: 0 } };
    const nic = { name: 'nic0', kind: 'nic', irq: 255, arrived: n, dropped: n, taken: n, spurious: n } as const;
    const report = textReport(fakeResult({ interrupts: [line, idle], devices: [nic] }), [], { title: 'x.yaml' });
    for (const each of report.split('\n')) expect(each.length, each).to.be.at.most(100);
    expect(report).to.match(/^ +9 +level .* - +- +- +-$/m);
    expect(report).to.match(/^nic0 +nic +255 +none/m);
  });

  it('uses colour only where asked for', () => {
    expect(text).to.not.match(COLOUR);
    expect(textReport(fakeResult(), [held], { title: 'x', paint: coloured })).to.match(COLOUR);
    expect(paintFor({ isTTY: true }, {})('red', 'x')).to.match(COLOUR);
    expect(paintFor({ isTTY: true }, { NO_COLOR: '1' })('red', 'x')).to.equal('x');
    expect(paintFor({}, {})('red', 'x')).to.equal('x');
  });
});

describe('the JSON report', () => {
  it('holds the whole result under its schema, with the verdicts', () => {
    const result = fakeResult();
    const report = JSON.parse(jsonReport(result, [held], 'x.yaml'));
    expect(report).to.deep.equal({ ...result, scenario: 'x.yaml', expectations: [held] });
    expect(Object.keys(report)[0]).to.equal('schema');
  });
});
