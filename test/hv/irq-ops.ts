/** Interrupts as a test makes them: lines raised by hand, pirqs by hypercalls, arguments and answers by value. */
import { IRQ_LOCK } from '../../src/hv/context.js';
import { IRQ_LINE } from '../../src/hv/irq-records.js';
import { DEVICE_DEFAULTS, type DeviceConfig } from '../../src/machine/config.js';
import { BIND_PIRQ__WILL_SHARE, EVTCHNOP_bind_pirq } from '../../src/shared/public/event-channel.js';
import * as P from '../../src/shared/public/physdev.js';
import { __HYPERVISOR_event_channel_op, __HYPERVISOR_physdev_op, DOMID_SELF } from '../../src/shared/public/xen.js';
import type { Probe } from './probe.js';

/** Lines of a machine for tests by hand: their devices keep quiet for all of a test. */
export const LEVEL = 16;
export const EDGE = 8;
const HOUR = 3600e9;

export const device = (over: Partial<DeviceConfig> & Pick<DeviceConfig, 'name' | 'kind' | 'irq'>): DeviceConfig => ({
  ...DEVICE_DEFAULTS,
  periodNs: HOUR,
  ...over,
});

export const QUIET_DEVICES: readonly DeviceConfig[] = [
  device({ name: 'level', kind: 'nic', irq: LEVEL }),
  device({ name: 'edge', kind: 'timer', irq: EDGE }),
];

export interface IrqOps {
  /** Lets domain d have a line, as a toolstack does. */
  give(d: number, irq: number): void;
  /** The port, or a negated errno. */
  bind(v: number, pirq: number, share?: boolean): number;
  eoi(v: number, pirq: number): number;
  /** XENIRQSTAT_*, or a negated errno. */
  status(v: number, pirq: number): number;
  /** The pirq, or a negated errno. */
  map(v: number, irq: number, pirq: number, domid?: number, type?: number): number;
  unmap(v: number, pirq: number, domid?: number): number;
  freePirq(v: number): number;
  /** A device asserts a level line, or lets go of it. */
  assert(irq: number): void;
  deassert(irq: number): void;
  pulse(irq: number): void;
  /** The pCPU to which the line's message is under way, -1 = none. */
  underWayTo(irq: number): number;
  line(irq: number): { delivered: number; inFlight: number; unhandled: number; throttled: number; forced: number };
}

export function irqOps(p: Probe): IrqOps {
  const { context, irqs } = p.hv;
  const { keys } = p.sim.built.core;
  const line = context.image.table(IRQ_LINE);
  const physdev = (v: number, cmd: number, puts: Parameters<Probe['arg']>[1]): number =>
    p.call(v, __HYPERVISOR_physdev_op, cmd, p.arg(v, puts));
  const answer = (v: number, rc: number, offset: number): number => (rc < 0 ? rc : p.u32(v, p.scratch(v) + offset));

  function locked(act: () => void): void {
    p.hv.smp.enterTurn(0);
    context.locks.acquire(IRQ_LOCK, 0);
    act();
    context.locks.release(IRQ_LOCK, 0);
    // The end of the turn in which a device would do it.
    keys.set(0, Math.min(keys.key(0), context.machine.now(0) + 1));
  }

  return {
    give(d, irq) {
      irqs.permit(d, irq, true);
      irqs.map(d, irq, irq);
    },
    bind(v, pirq, share = false) {
      const puts = [
        [0, pirq, 4],
        [4, share ? BIND_PIRQ__WILL_SHARE : 0, 4],
      ] as const;
      return answer(v, p.call(v, __HYPERVISOR_event_channel_op, EVTCHNOP_bind_pirq, p.arg(v, puts)), 8);
    },
    eoi: (v, pirq) => physdev(v, P.PHYSDEVOP_eoi, [[0, pirq, 4]]),
    status: (v, pirq) => answer(v, physdev(v, P.PHYSDEVOP_irq_status_query, [[0, pirq, 4]]), 4),
    map(v, irq, pirq, domid = DOMID_SELF, type = P.MAP_PIRQ_TYPE_GSI) {
      const rc = physdev(v, P.PHYSDEVOP_map_pirq, [
        [0, domid, 2],
        [4, type, 4],
        [8, irq, 4],
        [12, pirq, 4],
      ]);
      return answer(v, rc, 12);
    },
    unmap: (v, pirq, domid = DOMID_SELF) =>
      physdev(v, P.PHYSDEVOP_unmap_pirq, [
        [0, domid, 2],
        [4, pirq, 4],
      ]),
    freePirq: (v) => answer(v, physdev(v, P.PHYSDEVOP_get_free_pirq, [[0, P.MAP_PIRQ_TYPE_GSI, 4]]), 4),
    assert: (irq) => locked(() => irqs.assertLocked(irq)),
    deassert: (irq) => locked(() => irqs.deassertLocked(irq)),
    pulse: (irq) => locked(() => irqs.pulseLocked(irq)),
    underWayTo: (irq) => line.sentTo(irq) - 1,
    line: (irq) => ({
      delivered: line.delivered(irq),
      inFlight: line.inFlight(irq),
      unhandled: line.unhandled(irq),
      throttled: line.throttled(irq),
      forced: line.forced(irq),
    }),
  };
}
