/**
 * Stand-in devices: a timer card, a NIC and a disk, as far as an interrupt line and its handler can tell. They are outside of
 * hypervisor and guests: they live by simulation time, raise lines, and have registers that a driver reads and writes.
 *
 * Each is of one pCPU's turns, where its timer sits; anything else of it is under the IRQ lock.
 */
import { IRQ_LOCK } from '../hv/context.js';
import type { Hypervisor } from '../hv/hypervisor.js';
import { timersOfLines } from '../hv/irq.js';
import { IRQ_LINE } from '../hv/irq-records.js';
import { addSample, HISTOGRAM_BYTES } from '../shared/histogram.js';
import { ARRIVALS, DEVICE, DEVICE_KIND } from './records.js';

export interface DeviceSpec {
  readonly kind: number;
  readonly arrivals: number;
  readonly irq: number;
  readonly home: number;
  readonly seed: number;
  readonly periodNs: number;
  readonly handlerNs: number;
  readonly itemNs: number;
  readonly burst: number;
  readonly ring: number;
  readonly startNs: number;
  readonly stopNs: number;
}

export interface Devices {
  /** Makes device n and starts it. At boot. */
  create(n: number, spec: DeviceSpec): void;
  /** Its timer fires on p. */
  due(n: number, p: number): void;
  /** The driver looks at it, at the start of a handler: how many ticks, packets or finished requests there are. */
  look(n: number): number;
  /** The driver takes some of them; the device lets go of its line when none are left. */
  take(n: number, items: number): void;
  /** The driver gives a disk a request. */
  submit(n: number): void;
}

/** One of a xorshift generator's numbers after `x`, which is never 0. */
function nextRandom(x: number): number {
  let y = x;
  y ^= y << 13;
  y ^= y >>> 17;
  y ^= y << 5;
  return y;
}

/** A state for a generator out of a seed and a number: spread over all bits, never 0. */
const seedFor = (seed: number, n: number): number => Math.imul(seed + n + 1, 0x9e3779b1) ^ 0x5bd1e995 || 1;

export function devices(hv: Hypervisor): Devices {
  const { image, locks, now, shape } = hv.context;
  const { irqs, timers, smp } = hv;
  const device = image.table(DEVICE);
  const line = image.table(IRQ_LINE);
  const latencies = image.region('irq-latency').base >> 2;
  const FIRST_TIMER = timersOfLines(shape.irqs);

  const lock = (): void => locks.acquire(IRQ_LOCK, smp.self());
  const unlock = (): void => locks.release(IRQ_LOCK, smp.self());

  /** Time to the next arrival, or that a request takes, ns. */
  function draw(n: number): number {
    const mean = device.periodNs(n) * (device.arrivals(n) === ARRIVALS.burst ? device.burst(n) : 1);
    if (device.arrivals(n) === ARRIVALS.periodic) return mean;
    device.setRandom(n, nextRandom(device.random(n)));
    // In (0, 1): the logarithm is finite.
    const uniform = ((device.random(n) >>> 0) + 0.5) / 2 ** 32;
    return Math.max(1, Math.round(-Math.log(uniform) * mean));
  }

  function arm(n: number): void {
    if (device.nextAt(n) < device.stopNs(n)) timers.setHost(FIRST_TIMER + n, device.home(n), device.nextAt(n));
  }

  /** Items have come at `nextAt`: the line is told. */
  function raise(n: number, items: number): void {
    const room = device.kind(n) === DEVICE_KIND.nic ? device.ring(n) - device.ready(n) : items;
    const kept = Math.min(items, room);
    device.addArrived(n, items);
    device.addDropped(n, items - kept);
    device.addReady(n, kept);
    if (device.raisedAt(n) < 0) device.setRaisedAt(n, device.nextAt(n));
    if (device.kind(n) === DEVICE_KIND.timer) irqs.pulseLocked(device.irq(n));
    else if (device.isAsserting(n) === 0) {
      device.setIsAsserting(n, 1);
      irqs.assertLocked(device.irq(n));
    }
  }

  return {
    create(n, spec) {
      device.setKind(n, spec.kind);
      device.setArrivals(n, spec.arrivals);
      device.setIrq(n, spec.irq);
      device.setHome(n, spec.home);
      device.setRandom(n, seedFor(spec.seed, n));
      device.setPeriodNs(n, spec.periodNs);
      device.setHandlerNs(n, spec.handlerNs);
      device.setItemNs(n, spec.itemNs);
      device.setBurst(n, spec.burst);
      device.setRing(n, spec.ring);
      device.setStopNs(n, spec.stopNs);
      device.setRaisedAt(n, -1);
      device.setVcpu(n, -1);
      if (spec.kind === DEVICE_KIND.disk) return;
      device.setNextAt(n, spec.startNs + draw(n));
      arm(n);
    },
    due(n) {
      lock();
      if (device.kind(n) === DEVICE_KIND.disk) {
        device.addQueued(n, -1);
        raise(n, 1);
        if (device.queued(n) > 0) {
          device.setNextAt(n, device.nextAt(n) + draw(n));
          arm(n);
        }
      } else {
        raise(n, device.arrivals(n) === ARRIVALS.burst ? device.burst(n) : 1);
        device.setNextAt(n, device.nextAt(n) + draw(n));
        arm(n);
      }
      unlock();
    },
    look(n) {
      lock();
      const found = device.ready(n);
      const raisedAt = device.raisedAt(n);
      if (raisedAt >= 0) {
        const irq = device.irq(n);
        // Free mode: a clock that has not got as far sees it at once.
        addSample(image.i32, latencies + irq * (HISTOGRAM_BYTES >> 2), Math.max(0, now() - raisedAt));
        line.addHandled(irq, 1);
        device.setRaisedAt(n, -1);
      } else device.addSpurious(n, 1);
      unlock();
      return found;
    },
    take(n, items) {
      lock();
      device.addReady(n, -items);
      device.addTaken(n, items);
      if (device.ready(n) === 0 && device.isAsserting(n) !== 0) {
        device.setIsAsserting(n, 0);
        irqs.deassertLocked(device.irq(n));
      }
      unlock();
    },
    submit(n) {
      lock();
      device.addQueued(n, 1);
      if (device.queued(n) === 1) {
        device.setNextAt(n, now() + draw(n));
        arm(n);
      }
      unlock();
    },
  };
}
