/**
 * Requests between domains: what they cost, by hand, and that none is lost. L, the latency between CPUs, is 2 us; each way of a
 * request takes one. Times in ns.
 */
import { expect } from 'chai';
import { findConfigProblem } from '../../src/machine/check-config.js';
import { EVTCHNSTAT_interdomain } from '../../src/shared/public/event-channel.js';
import { simulate } from '../support/in-process.js';
import { apart, client, domainOf, latencyOf, server } from '../support/requests.js';
import { runMachine } from '../support/run-machine.js';

const L = 2000;
/** Kernel operations of 1 ns, and a clock's rounding. */
const SLACK_NS = 100;

const work = (run: number): object => ({ t: { serve: '', run, respond: '' } });
/** `count` requests, some time apart. */
const asks = (count: number, more: object = {}): object => ({
  t: { loop: 1, phases: { p: { loop: count, request: { to: 'server' }, sleep: 1000 } }, ...more },
});

function run(config: ReturnType<typeof apart>): ReturnType<ReturnType<typeof simulate>['result']> {
  const simulation = simulate(config);
  simulation.run();
  return simulation.result();
}

describe('a request', () => {
  it('takes the work of the server and the latency there and back', () => {
    const latency = latencyOf(run(apart([server(work(1000)), client('c', asks(20))])), 'c');
    expect(latency.count).to.equal(20);
    // The first one may have to wait until the server is up.
    expect(latency.p50Ns).to.be.within(1e6 + 2 * L, (1e6 + 2 * L) * 1.07);
    expect(latency.meanNs).to.be.closeTo(1e6 + 2 * L, SLACK_NS + 1e6 / 20);
  });

  it('carries bytes that are copied into the ring page and out of it, both ways', () => {
    const guests = [
      server({ t: { serve: '', run: 1000, respond: { bytes: 80_000 } } }),
      client('c', { t: { loop: 5, request: { to: 'server', bytes: 8000 }, sleep: 5000 } }),
    ];
    const wanted = 1e6 + 2 * L + 2 * 1000 + 2 * 10_000;
    expect(latencyOf(run(apart(guests)), 'c').maxNs).to.be.closeTo(wanted, SLACK_NS);
  });

  it('waits for those before it where there is one task to serve', () => {
    const guests = [server(work(1000)), ...['a', 'b', 'c'].map((name) => client(name, asks(1)))];
    const result = run(apart(guests));
    const all = ['a', 'b', 'c'].map((name) => latencyOf(result, name).maxNs);
    for (const [n, ns] of all.entries()) expect(ns).to.be.closeTo((n + 1) * 1e6 + 2 * L, 2 * L);
    const [service] = domainOf(result, 'server').services!;
    expect(service).to.deep.include({ name: 'service' });
    expect(service?.latency.count).to.equal(3);
    expect(service?.latency.meanNs).to.be.closeTo(2e6 + 2 * L, 2 * L);
  });

  it('does not where several tasks serve on as many VCPUs', () => {
    const tasks = { t: { instance: 3, serve: '', run: 1000, respond: '' } };
    const guests = [server(tasks, { vcpus: 3 }), ...['a', 'b', 'c'].map((name) => client(name, asks(1)))];
    const result = run(apart(guests));
    // Events come to VCPU 0, which tells the others: one more way between CPUs.
    for (const name of ['a', 'b', 'c']) expect(latencyOf(result, name).maxNs).to.be.closeTo(1e6 + 3 * L, 2 * L);
  });

  it('blocks its task only', () => {
    const tasks = { t: { loop: 1, request: { to: 'server' } }, other: { loop: 1, run: 800 } };
    const result = run(apart([server(work(1000)), client('c', tasks)]));
    const [, other] = domainOf(result, 'c').tasks;
    expect(other?.log[0]?.end).to.be.closeTo(800, 5);
    expect(domainOf(result, 'c').ended).to.equal('poweroff');
  });

  it('waits for a slot when the ring is full, and is answered all the same', () => {
    const result = run(
      apart([server(work(100)), client('c', { t: { instance: 50, loop: 2, request: { to: 'server' } } })]),
    );
    const latency = latencyOf(result, 'c');
    expect(latency.count).to.equal(100);
    // 50 in line, then each again behind all others.
    expect(latency.maxNs).to.be.closeTo(50 * 100e3 + 2 * L, 10 * L);
    expect(domainOf(result, 'c').ended).to.equal('poweroff');
  });

  it('is served in turn: a client with many requests does not keep one with few waiting', () => {
    const many = client('many', { t: { instance: 30, request: { to: 'server' } } });
    const guests = [server(work(100)), many, client('few', asks(20, { delay: 10_000 }))];
    const result = run(apart(guests, { durationNs: 100e6 }));
    // The one under way, one of the other's, its own.
    expect(latencyOf(result, 'few').maxNs).to.be.lessThan(300e3 + 4 * L);
    expect(latencyOf(result, 'many').p50Ns).to.be.greaterThan(2.5e6);
  });

  it('goes on to another domain: a server may be a client', () => {
    const guests = [
      server({ t: { serve: 'sql', run: 1000, respond: 'sql' } }, { name: 'db' }),
      server({ t: { serve: '', run: 100, request: { to: 'db', ref: 'sql' }, respond: '' } }),
      client('c', asks(10)),
    ];
    const result = run(apart(guests));
    expect(latencyOf(result, 'c').p50Ns).to.be.within(1.1e6 + 4 * L, (1.1e6 + 4 * L) * 1.07);
    expect(domainOf(result, 'db').services?.[0]).to.deep.include({ name: 'sql' });
    expect(domainOf(result, 'server').requests?.[0]).to.deep.include({ to: 'db', service: 'sql' });
  });

  it('finds its way in both widths of the guest interface, and past the 32 VCPUs of the shared info page', () => {
    const narrow = { abi: 32 } as const;
    const [a, b] = [{}, narrow].map((over) =>
      latencyOf(run(apart([server(work(300), over), client('c', asks(10), over)])), 'c'),
    );
    expect(b).to.deep.equal(a);
    const wide = run(
      apart([server({ t: { instance: 40, serve: '', run: 300, respond: '' } }, { vcpus: 40 }), client('c', asks(10))]),
    );
    expect(latencyOf(wide, 'c').count).to.equal(10);
  });

  it('waits for ever at a server that is gone', () => {
    const once = { t: { loop: 1, serve: '', run: 10, respond: '' } };
    const result = run(apart([server(once), client('c', asks(3))]));
    expect(latencyOf(result, 'c').count).to.equal(1);
    expect(domainOf(result, 'c').tasks[0]?.state).to.equal('waiting');
  });
});

describe('a channel', () => {
  it('is bound between client and server by their own hypercalls, one for each service', () => {
    const guests = [
      server({ t: { serve: 'x', respond: 'x' }, u: { serve: 'y', respond: 'y' } }),
      client('c', { t: { request: { to: 'server', ref: 'x' }, request1: { to: 'server', ref: 'y' }, sleep: 100 } }),
    ];
    const simulation = simulate(apart(guests, { durationNs: 50e6 }));
    simulation.run();
    const { events, context } = simulation.built.core.hv;
    const bound = (d: number): number[][] =>
      Array.from({ length: events.portLimit(d) - 1 }, (_, port) => events.record(d, port + 1))
        .filter((r) => context.evtchn.state(r) === EVTCHNSTAT_interdomain)
        .map((r) => [context.evtchn.remote(r), context.evtchn.remotePort(r)]);
    expect(bound(1).map(([remote]) => remote)).to.deep.equal([2, 2]);
    expect(bound(2).map(([remote]) => remote)).to.deep.equal([1, 1]);
  });

  it('is kicked only when the other side waits', () => {
    // A server that always has something to do looks into the ring by itself.
    const guests = [server(work(100)), client('c', { t: { instance: 8, request: { to: 'server' } } })];
    const result = run(apart(guests, { durationNs: 200e6 }));
    const answers = latencyOf(result, 'c').count;
    expect(answers).to.be.greaterThan(1900);
    // Wake-ups of the client are one for each answer; of the server hardly any.
    expect(domainOf(result, 'server').wake.count).to.be.lessThan(50);
  });

  it('is boosted as any event: a client is answered in time by a server that shares its pCPU with a hog', () => {
    const guests = [server(work(200)), client('c', asks(400)), client('hog', { hog: { run: 1_000_000 } })].map(
      (each) => ({ ...each, cpus: [[each.name === 'c' ? 1 : 0]] }),
    );
    const config = { ...apart(guests, { durationNs: 1e9 }), pcpus: 2, guests };
    const withBoost = latencyOf(run(config), 'c');
    const without = latencyOf(run({ ...config, boost: false }), 'c');
    expect(withBoost.p50Ns).to.be.lessThan(2e6);
    expect(without.p50Ns).to.be.greaterThan(10e6);
  });
});

describe('requests', () => {
  for (const [name, over] of Object.entries({
    'with workers that were separate until the first request': { jitterSeed: 0 },
    'with jitter': { jitterSeed: 11 },
  }))
    it(`are none lost in free mode, ${name}`, async () => {
      const task = (to: string): object => ({ t: { instance: 3, loop: 100, request: { to, bytes: 400 }, run: 20 } });
      const guests = [
        server({ t: { instance: 2, serve: '', run: 10, respond: { bytes: 800 } } }, { vcpus: 2 }),
        client('a', task('server'), { vcpus: 2 }),
        client('b', task('server')),
        client('c', task('other')),
        server(work(15), { name: 'other' }),
      ];
      const result = await runMachine(apart(guests, { mode: 'free', threads: 2, seed: 1, durationNs: 5e9, ...over }));
      for (const client of ['a', 'b', 'c']) {
        expect(domainOf(result, client).ended, client).to.equal('poweroff');
        expect(latencyOf(result, client).count, client).to.equal(300);
        // 10 or 15 us of work, six tasks at most in line, windows of 100 us.
        expect(latencyOf(result, client).p50Ns, client).to.be.lessThan(1e6);
      }
    });

  it('that nobody could answer are refused before the run', () => {
    const ask = (to: string, ref: string): unknown =>
      findConfigProblem(apart([server(work(1)), client('c', { t: { run: 1, request: { to, ref } } })]));
    const path = ['guests', 1, 'workload', 'tasks', 0, 0, 1];
    expect(ask('nobody', 'service')).to.deep.equal({ path, message: "no domain named 'nobody'; there are: server, c" });
    expect(ask('server', 'sql')).to.deep.equal({
      path,
      message: "server has no service 'sql'; it serves service",
    });
    expect(ask('c', 'service')).to.have.property('message').that.contains('does not ask itself');
    const crowd = Array.from({ length: 257 }, (_, n) => client(`c${n}`, asks(1)));
    const { guests } = apart([server(work(1))]);
    expect(findConfigProblem({ ...apart([server(work(1))]), guests: [...guests, ...crowd] })).to.deep.equal({
      path: ['guests', 0, 'workload'],
      message: '257 links to services and clients; a domain has at most 256',
    });
  });
});
