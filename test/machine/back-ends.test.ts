/** Console rings and xenstore pages as domain 0 serves them, whatever a guest writes there. */
import { expect } from 'chai';
import fc from 'fast-check';
import { noWorkload } from '../../src/config/kernel-file.js';
import { consoleText } from '../../src/hv/guest-console.js';
import { readKernel } from '../../src/loader/kernel.js';
import type { GuestConfig } from '../../src/machine/config.js';
import { invariants } from '../../src/machine/invariants.js';
import { BACK_END, CONSOLE_IN_BYTES } from '../../src/pcpu/model/back-end-records.js';
import { XENCONS, XENCONS_OUT_BYTES } from '../../src/pcpu/model/back-ends.js';
import { RING } from '../../src/xenstore/ring.js';
import { decode, encode, strings, toText, XS_READ } from '../../src/xenstore/wire.js';
import { elfOf } from '../support/elf.js';
import { guest, machineConfig, simulate } from '../support/in-process.js';

/** It does nothing, for ever. */
const idler = (name: string): GuestConfig =>
  guest({
    name,
    memoryMib: 8,
    workload: noWorkload(name),
    kernel: { file: name, image: readKernel(elfOf([0xeb, 0xfe])), commandLine: '' },
  });

function served() {
  const dom0 = guest({ name: 'Domain-0', privileged: true, workload: noWorkload('Domain-0') });
  const sim = simulate(machineConfig({ pcpus: 3, guests: [dom0, idler('one'), idler('two')] }));
  const { image, core } = sim.built;
  const { hv, turns } = core;
  const back = image.table(BACK_END);
  const broken = invariants(sim.built);
  let until = 1_000_000;
  /** Lets domain 0 do what it has to. */
  function run(): void {
    until += 1_000_000;
    sim.run(until, () => expect(broken()).to.deep.equal([]));
  }
  run();
  const i32 = (page: number, at: number): number => (page + at) >> 2;
  return {
    image,
    back,
    run,
    /** The guest sends an event by one of its two ports. */
    kick: (port: number) => turns.interact(0, () => hv.events.setPending(0, port)),
    set(page: number, at: number, x: number): void {
      image.i32[i32(page, at)] = x | 0;
    },
    get: (page: number, at: number): number => image.i32[i32(page, at)]!,
    said: (b: number): string => consoleText(image, hv.context.domain, back.domain(b)),
    /** Types at console b. */
    type(b: number, text: string): void {
      const { base } = image.region('console-in');
      for (const byte of new TextEncoder().encode(text)) {
        image.u8[base + b * CONSOLE_IN_BYTES + (back.typed(b) & (CONSOLE_IN_BYTES - 1))] = byte;
        back.addTyped(b, 1);
      }
    },
  };
}

describe('a console ring', () => {
  it('is read, and its domain told', () => {
    const s = served();
    const page = s.back.console(0);
    // Round its end.
    for (const at of [XENCONS.outCons, XENCONS.outProd]) s.set(page, at, XENCONS_OUT_BYTES - 3);
    const bytes = new TextEncoder().encode('hello');
    for (const [n, byte] of bytes.entries())
      s.image.u8[page + XENCONS.out + ((XENCONS_OUT_BYTES - 3 + n) & (XENCONS_OUT_BYTES - 1))] = byte;
    s.set(page, XENCONS.outProd, XENCONS_OUT_BYTES + 2);
    s.kick(s.back.consolePort(0));
    s.run();
    expect(s.said(0)).to.equal('hello');
    expect(s.said(1)).to.equal('');
    expect(s.get(page, XENCONS.outCons)).to.equal(XENCONS_OUT_BYTES + 2);
  });

  it('has what was typed, as far as there is room, and the rest later', () => {
    const s = served();
    const page = s.back.console(1);
    s.type(1, 'x'.repeat(1500));
    s.kick(s.back.consolePort(1));
    s.run();
    expect(s.get(page, XENCONS.inProd)).to.equal(1024);
    s.set(page, XENCONS.inCons, 1000);
    s.kick(s.back.consolePort(1));
    s.run();
    expect(s.get(page, XENCONS.inProd)).to.equal(1500);
    expect(s.get(s.back.console(0), XENCONS.inProd)).to.equal(0);
  });

  it('does no harm with any indices', () => {
    const s = served();
    fc.assert(
      fc.property(fc.array(fc.integer(), { minLength: 4, maxLength: 4 }), ([a, b, c, d]) => {
        const page = s.back.console(0);
        const values = [
          [XENCONS.inCons, a!],
          [XENCONS.inProd, b!],
          [XENCONS.outCons, c!],
          [XENCONS.outProd, d!],
        ] as const;
        for (const [at, x] of values) s.set(page, at, x);
        s.kick(s.back.consolePort(0));
        s.run();
        expect(s.said(1)).to.equal('');
      }),
      { numRuns: 100 },
    );
    // The other domain's works as before.
    const page = s.back.console(1);
    s.image.u8[page + XENCONS.out] = 0x41;
    s.set(page, XENCONS.outProd, 1);
    s.kick(s.back.consolePort(1));
    s.run();
    expect(s.said(1)).to.equal('A');
  });
});

describe('a xenstore page', () => {
  /** Puts bytes where requests are. */
  function put(s: ReturnType<typeof served>, b: number, bytes: Uint8Array): void {
    const page = s.back.xenstore(b);
    const prod = s.get(page, RING.req_prod);
    for (const [n, byte] of bytes.entries()) s.image.u8[page + RING.req + ((prod + n) & 1023)] = byte;
    s.set(page, RING.req_prod, prod + bytes.length);
    s.kick(s.back.xenstorePort(b));
    s.run();
  }

  it('answers what its domain asks', () => {
    const s = served();
    const ask = (b: number, path: string): string => {
      const page = s.back.xenstore(b);
      const from = s.get(page, RING.rsp_cons);
      put(s, b, encode({ type: XS_READ, reqId: 7, txId: 0, payload: strings(path) }));
      const length = (s.get(page, RING.rsp_prod) - from) >>> 0;
      const bytes = Uint8Array.from({ length }, (_, n) => s.image.u8[page + RING.rsp + ((from + n) & 1023)]!);
      s.set(page, RING.rsp_cons, from + length);
      return toText(decode(bytes)!.payload);
    };
    expect(ask(0, 'name')).to.equal('one');
    expect(ask(1, 'name')).to.equal('two');
    expect(ask(0, 'domid')).to.equal('1');
    expect(ask(0, '/local/domain/2/name'), 'of another').to.match(/^EACCES/);
    expect(ask(0, 'store/port')).to.equal(`${s.back.xenstoreRemote(0)}`);
  });

  it('does no harm with any bytes and indices', () => {
    const s = served();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1024 }), fc.integer(), fc.boolean(), (bytes, index, isWild) => {
        if (isWild) s.set(s.back.xenstore(0), RING.rsp_cons, index);
        put(s, 0, bytes);
      }),
      { numRuns: 100 },
    );
    put(s, 1, encode({ type: XS_READ, reqId: 7, txId: 0, payload: strings('name') }));
    expect(s.get(s.back.xenstore(1), RING.rsp_prod)).to.equal(16 + 3);
  });
});
