/** Puts the stand-in devices into a machine: their lines, their records, and who may have and does serve them. */
import { ARRIVALS, DEVICE, DEVICE_KIND } from '../devices/records.js';
import { TRIGGER } from '../hv/irq-records.js';
import type { ModelMemory } from '../pcpu/model/memory.js';
import type { ProcessorCore } from '../pcpu/processor.js';
import { type DeviceConfig, domainNumber, type MachineConfig } from './config.js';

const triggerOf = ({ kind }: DeviceConfig): number => (kind === 'timer' ? TRIGGER.edge : TRIGGER.level);

/** After the domains were made. */
export function startDevices({ hv, devices }: ProcessorCore, { kv }: ModelMemory, config: MachineConfig): void {
  const { context, irqs } = hv;
  const { domain, queues, image } = context;
  const device = image.table(DEVICE);
  /** The last device of each VCPU, which the next one goes behind. */
  const last = new Map<number, number>();

  /** As a toolstack does for `irqs = [...]` of a guest's configuration. Domain 0 may have all, and asks itself. */
  function giveLine(d: number, irq: number): void {
    if (d === 0) return;
    irqs.permit(d, irq, true);
    if (config.profile !== 'classic') irqs.map(d, irq, irq);
  }

  function serve(n: number, v: number): void {
    device.setVcpu(n, v);
    const before = last.get(v);
    if (before === undefined) kv.setFirstDevice(v, n + 1);
    else device.setNext(before, n + 1);
    last.set(v, n);
  }

  for (const [n, spec] of config.devices.entries()) {
    const guest = config.guests.findIndex(({ name }) => name === spec.domain);
    const d = guest < 0 ? -1 : domainNumber(config.guests, guest);
    // By whose turns it lives: near to who serves it, so that workers that have nothing to do with each other stay so.
    const home = d < 0 ? n % config.pcpus : queues.entry.processor(domain.firstVcpu(d) + spec.vcpu);
    irqs.define(spec.irq, triggerOf(spec), home);
    devices.create(n, {
      ...spec,
      kind: DEVICE_KIND[spec.kind],
      arrivals: ARRIVALS[spec.arrivals],
      seed: config.seed,
      home,
    });
    if (d < 0) continue;
    giveLine(d, spec.irq);
    serve(n, domain.firstVcpu(d) + spec.vcpu);
  }
}
