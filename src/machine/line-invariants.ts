/** What must hold of interrupt lines between any two turns (invariants.ts). */
import { DEVICE } from '../devices/records.js';
import type { Hypervisor } from '../hv/hypervisor.js';
import { IRQ_LINE, PIRQ, TRIGGER } from '../hv/irq-records.js';

export function lineInvariants({ context, irqs }: Hypervisor): () => string[] {
  const { image, shape } = context;
  const line = image.table(IRQ_LINE);
  const pirq = image.table(PIRQ);
  const device = image.table(DEVICE);
  const broken: string[] = [];

  function must(holds: boolean, what: string): void {
    if (!holds) broken.push(what);
  }

  function checkGuests(irq: number): void {
    let masked = 0;
    let bound = 0;
    for (let d = 0; d < shape.domains; d++) {
      for (let n = 0; n < shape.irqs; n++) {
        if (irqs.irqOf(d, n) !== irq || irqs.portOf(d, n) === 0) continue;
        bound++;
        masked += pirq.isMasked(d * shape.irqs + n);
      }
    }
    must(bound === line.nrGuests(irq), `line ${irq} has ${line.nrGuests(irq)} domains, found ${bound}`);
    must(masked === line.inFlight(irq), `line ${irq} is in flight for ${line.inFlight(irq)} domains, found ${masked}`);
  }

  function checkLevel(irq: number): void {
    let asserting = 0;
    for (let n = 0; n < shape.devices; n++) if (device.irq(n) === irq) asserting += device.isAsserting(n);
    must(asserting === line.asserted(irq), `line ${irq} is asserted by ${line.asserted(irq)}, found ${asserting}`);
    const isHeard = line.sentTo(irq) !== 0 || line.masks(irq) !== 0 || line.inFlight(irq) !== 0;
    must(asserting === 0 || isHeard, `line ${irq} is asserted and nobody is told`);
  }

  return () => {
    broken.length = 0;
    for (let irq = 1; irq < shape.irqs; irq++) {
      checkGuests(irq);
      if (line.trigger(irq) === TRIGGER.level) checkLevel(irq);
    }
    return broken;
  };
}
