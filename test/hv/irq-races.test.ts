/** Interrupts in free mode: what two workers do with one line at the same time, in every order (interleave.ts). */
import { expect } from 'chai';
import { DEVICE } from '../../src/devices/records.js';
import { IRQ_LINE } from '../../src/hv/irq-records.js';
import type { DeviceConfig } from '../../src/machine/config.js';
import type { FreeMachine } from './free-machine.js';
import { busy, interleave, START, start } from './interleave.js';
import { invariants } from './invariants.js';
import { device } from './irq-ops.js';

const IRQ = 16;

/** A domain on each of two workers, and a NIC each, on one line; packets come when the test says so. */
function sharing(): { readonly m: FreeMachine } {
  const nic = (name: string, domain: string): DeviceConfig =>
    device({ name, kind: 'nic', irq: IRQ, domain, handlerNs: 500 });
  const guests = [busy(1, { name: 'a', cpus: [[0]] }), busy(1, { name: 'b', cpus: [[1]] })];
  const m = start(guests, { devices: [nic('nic-a', 'a'), nic('nic-b', 'b')] });
  expect(m.context.image.table(IRQ_LINE).nrGuests(IRQ)).to.equal(2);
  return { m };
}

/** A packet for the device of pCPU p's domain. */
const packet = (m: FreeMachine, p: number, ns: number): void => m.act(p, ns, ({ devices }) => devices.due(p, p));

/** Both got what came for them, and the line is free. */
function isServed(m: FreeMachine, packets: readonly [number, number], how: unknown): void {
  m.run(START + 200_000);
  const line = m.context.image.table(IRQ_LINE);
  const nic = m.context.image.table(DEVICE);
  expect([nic.taken(0), nic.taken(1)], JSON.stringify(how)).to.deep.equal(packets);
  expect([line.asserted(IRQ), line.inFlight(IRQ), line.forced(IRQ)], JSON.stringify(how)).to.deep.equal([0, 0, 0]);
  invariants(m).check();
}

describe('a line that is shared by domains of two workers', () => {
  it('serves both, whose devices raise it at the same time', () => {
    const ways = interleave(
      sharing,
      [({ m }) => packet(m, 0, START + 100), ({ m }) => packet(m, 1, START + 100)],
      ({ m }, how) => isServed(m, [1, 1], how),
    );
    expect(ways).to.be.above(4);
  });

  it('serves a packet that comes while the other domain takes its own and acknowledges', () => {
    const ways = interleave(
      () => {
        const { m } = sharing();
        packet(m, 0, START + 10);
        return { m };
      },
      [
        // Message, handler, end of the handler: two times L and what the handler takes.
        ({ m }) => m.runWorker(0, START + 3500),
        ({ m }) => packet(m, 1, START + 100),
      ],
      ({ m }, how) => isServed(m, [1, 1], how),
    );
    expect(ways).to.be.above(12);
  });

  it('is free when both acknowledge at the same time', () => {
    const ways = interleave(
      () => {
        const { m } = sharing();
        packet(m, 0, START + 10);
        packet(m, 1, START + 10);
        // Both are in their handlers.
        m.run(START + 2200);
        return { m };
      },
      [({ m }) => m.runWorker(0, START + 3500), ({ m }) => m.runWorker(1, START + 6500)],
      ({ m }, how) => isServed(m, [1, 1], how),
    );
    expect(ways).to.be.above(12);
  });
});
