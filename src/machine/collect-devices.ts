/** What became of interrupts, read out of the image. */
import { DEVICE } from '../devices/records.js';
import { IRQ_LINE, TRIGGER } from '../hv/irq-records.js';
import type { BuiltMachine } from './build.js';
import { latencyOf } from './collect-latency.js';
import type { MachineConfig } from './config.js';
import type { DeviceResult, InterruptResult } from './result.js';

export interface DeviceResults {
  readonly interrupts: readonly InterruptResult[];
  readonly devices: readonly DeviceResult[];
}

export function collectDevices({ image }: BuiltMachine, config: MachineConfig): DeviceResults {
  const line = image.table(IRQ_LINE);
  const device = image.table(DEVICE);
  const used = [...new Set(config.devices.map(({ irq }) => irq))].sort((a, b) => a - b);
  return {
    interrupts: used.map((irq) => ({
      irq,
      trigger: line.trigger(irq) === TRIGGER.level ? 'level' : 'edge',
      devices: config.devices.filter((d) => d.irq === irq).map(({ name }) => name),
      domains: Array.from({ length: line.nrGuests(irq) }, (_, k) => line.guest(irq, k)),
      raised: line.raised(irq),
      delivered: line.delivered(irq),
      handled: line.handled(irq),
      unhandled: line.unhandled(irq),
      throttled: line.throttled(irq),
      merged: line.merged(irq),
      forced: line.forced(irq),
      latency: latencyOf(image, 'irq-latency', irq),
    })),
    devices: config.devices.map(({ name, kind, irq, domain }, n) => ({
      name,
      kind,
      irq,
      ...(domain === undefined ? {} : { domain }),
      arrived: device.arrived(n),
      dropped: device.dropped(n),
      taken: device.taken(n),
      spurious: device.spurious(n),
    })),
  };
}
