import { expect } from 'chai';
import { checkExpectations, ExpectationReader, type Verdict } from '../../src/config/expectations.js';
import { YamlFile } from '../../src/config/yaml-file.js';
import type { InterruptResult, RequestLatency, RunResult } from '../../src/machine/result.js';
import { fakeDomain, fakeResult } from '../report/fake-result.js';

const context = {
  domains: new Map([
    ['web', ['web']],
    ['batch', ['batch']],
    ['pair', ['pair-0', 'pair-1']],
  ]),
  pcpus: 2,
};

function check(items: string, result: RunResult = fakeResult()): Verdict[] {
  const yaml = new YamlFile(`expect:\n${items}`, 'x.yaml');
  const { expect: list } = yaml.data as { expect: Record<string, unknown>[] };
  return checkExpectations(new ExpectationReader(yaml, context).read(list), result);
}

function outcome(item: string, result?: RunResult): boolean | undefined {
  return check(`  - ${item}\n`, result)[0]?.ok;
}

function complaint(item: string): string {
  try {
    check(`  - ${item}\n`);
    return 'accepted';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

describe('expectations', () => {
  it('compare with an operator, a tolerance or a range', () => {
    expect(outcome('jain: ">= 0.99"')).to.equal(true);
    expect(outcome('jain: "> 0.9987"')).to.equal(false);
    expect(outcome('share: { domain: batch, is: 50% }')).to.equal(true);
    expect(outcome('share: { domain: batch, is: 48%, within: 2% }')).to.equal(true);
    expect(outcome('share: { domain: batch, is: 48%, within: 1.9% }')).to.equal(false);
    expect(outcome('share: { domain: web, is: 149% .. 150% }')).to.equal(true);
    expect(outcome('steal: { domain: web, is: "< 123ms" }')).to.equal(false);
    expect(outcome('events: "!= 1234567"')).to.equal(false);
  });

  it('accept a decimal tolerance that is inexact in binary', () => {
    const result = fakeResult({ domains: [fakeDomain(1, { name: 'web', share: 0.336 })] });
    expect(outcome('share: { domain: web, is: 33.3%, within: 0.3% }', result)).to.equal(true);
  });

  it('compare a share with what the domain deserves', () => {
    expect(outcome('share: { domain: web, is: fair, within: 2% }')).to.equal(true);
    expect(outcome('share: { domain: web, is: fair, within: 1% }')).to.equal(false);
  });

  it('know fractions of what was delivered, sums over domains and pCPUs, and counters', () => {
    expect(outcome('fraction: { domain: web, is: 75% }')).to.equal(true);
    expect(outcome('share: 200%')).to.equal(true);
    expect(outcome('steals: 5')).to.equal(true);
    expect(outcome('steals: { pcpu: 1, is: 3 }')).to.equal(true);
    expect(outcome('use: "99.5%"')).to.equal(true);
    expect(outcome('counter: { name: vcpu_boost, is: 17 }')).to.equal(true);
    expect(outcome('duration: 10s')).to.equal(true);
  });

  it('give one verdict for each percentile, domain and pCPU meant', () => {
    const wakes = check('  - wake: { domain: web, p50: "< 3us", p99.9: "< 1ms" }\n');
    expect(wakes.map(({ subject, ok }) => [subject, ok])).to.deep.equal([
      ['wake p50 of web', true],
      ['wake p99.9 of web', false],
    ]);
    const pair = fakeResult({
      domains: [fakeDomain(1, { name: 'pair-0' }), fakeDomain(2, { name: 'pair-1', share: 0 })],
    });
    const subjects = (item: string): string[] => check(`  - ${item}\n`, pair).map(({ subject }) => subject);
    expect(subjects('share: { domain: pair, is: 50% }')).to.deep.equal(['share of pair-0', 'share of pair-1']);
    expect(subjects('share: { domain: "pair-*", is: 50% }')).to.have.length(2);
    expect(subjects('use: { pcpu: "*", is: ">= 0%" }')).to.deep.equal(['use of pCPU 0', 'use of pCPU 1']);
  });

  it('are about lines, by number or device, and about devices', () => {
    const latency = { count: 3, p50Ns: 2000, p99Ns: 3000, p999Ns: 3000, maxNs: 4000 };
    const line: InterruptResult = {
      ...{ irq: 16, trigger: 'level' as const, devices: ['nic0'], domains: [1], latency },
      ...{ raised: 5, delivered: 4, handled: 3, unhandled: 0, throttled: 2, merged: 1, forced: 6 },
    };
    const nic = { name: 'nic0', kind: 'nic', irq: 16, arrived: 9, dropped: 2, taken: 7, spurious: 0 } as const;
    const result = fakeResult({
      interrupts: [line, { ...line, irq: 17, devices: ['nic1'], latency: { ...latency, count: 0 } }],
      devices: [nic],
    });
    const holds = (item: string): boolean | undefined => check(`  - ${item}\n`, result)[0]?.ok;
    for (const name of ['nic0', 'irq16']) {
      expect(holds(`irq-raised: { name: ${name}, is: 5 }`)).to.equal(true);
      expect(holds(`irq-throttled: { name: ${name}, is: 2 }`)).to.equal(true);
      expect(holds(`irq-p99: { name: ${name}, is: "< 4us" }`)).to.equal(true);
      expect(holds(`irq-max: { name: ${name}, is: "< 4us" }`)).to.equal(false);
    }
    expect(holds('dropped: { name: nic0, is: 2 }')).to.equal(true);
    expect(holds('taken: { name: nic9, is: ">= 0" }')).to.equal(false);
    expect(holds('irq-p50: { name: nic1, is: "< 1s" }')).to.equal(false);
    expect(complaint('irq-raised: 3')).to.match(/which one\? Add 'name'$/);
  });

  it('fail about what was not measured', () => {
    const [verdict] = check('  - wake: { domain: batch, p99: "< 1s" }\n');
    expect(verdict).to.include({ ok: false, measured: 'not measured' });
    expect(outcome('counter: { name: nonesuch, is: "!= 3" }')).to.equal(false);
    expect(outcome('loops: { domain: web, task: nobody, is: ">= 0" }')).to.equal(false);
  });

  it('are about requests, as the server sees them and as a client does', () => {
    const latency = (ms: number): RequestLatency => ({
      ...{ count: 10, meanNs: ms * 1e6, p50Ns: ms * 1e6, p95Ns: ms * 1.5e6, p99Ns: ms * 2e6 },
      ...{ p999Ns: ms * 3e6, maxNs: ms * 4e6 },
    });
    const result = fakeResult({
      domains: [
        fakeDomain(1, {
          name: 'web',
          services: [
            { name: 'http', latency: latency(1) },
            { name: 'admin', latency: { ...latency(0), count: 0 } },
          ],
        }),
        fakeDomain(2, {
          name: 'batch',
          requests: [
            { to: 'web', service: 'http', latency: latency(1) },
            { to: 'db', service: 'sql', latency: latency(5) },
            { to: 'web', service: 'admin', latency: latency(7) },
          ],
        }),
      ],
    });
    const item =
      '  - service: { domain: web, name: http, p50: 1ms, p95: 1500us, p99: 2ms, p99.9: 3ms, max: 4ms, mean: 1ms, count: 10 }\n';
    const verdicts = check(item, result);
    expect(verdicts.map(({ ok }) => ok)).to.deep.equal(Array.from({ length: 7 }, () => true));
    expect(verdicts.map(({ subject }) => subject)).to.include('service http p95 of web');
    expect(outcome('requests: { domain: batch, name: db, mean: 5ms }', result)).to.equal(true);
    expect(outcome('requests: { domain: batch, name: web/admin, mean: 7ms }', result)).to.equal(true);
    // Which of two, none of that name, never asked: not measured.
    for (const vague of [
      'requests: { domain: batch, name: web, mean: "> 0" }',
      'service: { domain: web, p50: "> 0" }',
      'service: { domain: web, name: ftp, p50: ">= 0" }',
      'service: { domain: web, name: admin, p50: ">= 0" }',
    ])
      expect(outcome(vague, result), vague).to.equal(false);
    expect(complaint('wake: { domain: web, p95: "< 1ms" }')).to.match(/'p95' does not apply here/);
    expect(complaint('wake: { domain: web, name: x, p50: "< 1ms" }')).to.match(/'name' does not apply here/);
    expect(complaint('service: { domain: web, is: 3 }')).to.match(/'is' does not apply here/);
  });

  it('compare words', () => {
    expect(outcome('outcome: horizon')).to.equal(true);
    expect(outcome('outcome: idle')).to.equal(false);
    expect(outcome('hash: 0123456789abcdef')).to.equal(true);
    expect(outcome('ended: { domain: web, is: poweroff }')).to.equal(false);
  });

  it('carry their place and what was wanted and measured', () => {
    const [, second] = check('  - jain: ">= 0.9"\n  - share: { domain: web, is: 33.3%, within: 1% }\n');
    expect(second).to.deep.equal({
      place: { file: 'x.yaml', line: 3, column: 5 },
      ok: false,
      subject: 'share of web',
      expected: '= 33.30 % +- 1.00 %',
      measured: '150.00 %',
    });
  });

  it('are refused with their place when they mean nothing', () => {
    expect(complaint('shares: 3%')).to.match(/^x\.yaml:2:5: unknown quantity 'shares'; known: share, /);
    expect(complaint('share: { domain: nobody, is: 3% }')).to.equal(
      "x.yaml:2:22: no domain named 'nobody'; there are: web, batch, pair-0, pair-1",
    );
    expect(complaint('wake: { p99: "< 1ms" }')).to.match(/^x\.yaml:2:11: whose wake\? Add 'domain: NAME'$/);
    expect(complaint('steals: { domain: web, is: 3 }')).to.match(/:23: 'steals' is not a domain's$/);
    expect(complaint('use: { pcpu: 2, is: 3% }')).to.match(/:18: no pCPU 2: the machine has 2$/);
    expect(complaint('share: { domain: web, is: 0.3 }')).to.match(/expected a percentage.*, got '0\.3'$/);
    expect(complaint('wake: { domain: web, p99: "< 3" }')).to.match(/:31: expected a duration.*, got '< 3'$/);
    expect(complaint('share: { domain: web, p99: 3% }')).to.match(/:27: 'p99' does not apply here/);
    expect(complaint('share: { domain: web, is: "> 3%", within: 1% }')).to.match(/'within' goes with a plain value/);
    expect(complaint('share: { domain: web, is: 5% .. 3% }')).to.match(/the lower end comes first$/);
    expect(complaint('steal: { domain: web, is: fair }')).to.match(/'fair' is for the share of a domain$/);
    expect(complaint('share: { domain: web }')).to.match(/expected a comparison under 'is'$/);
    expect(complaint('share: { domain: web, is: 3%, at: 2 }')).to.match(/:35: unknown key 'at'; known: domain, /);
    expect(complaint('outcome: success')).to.match(/expected one of horizon, idle, stopped, got 'success'$/);
    expect(complaint('{ jain: 1, events: 3 }')).to.match(/^x\.yaml:2:5: one quantity per item$/);
  });
});
