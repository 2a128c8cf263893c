/** event_channel_op as a test makes it: arguments by value, answers by value. */
import * as E from '../../src/shared/public/event-channel.js';
import { __HYPERVISOR_event_channel_op, DOMID_SELF } from '../../src/shared/public/xen.js';
import type { Probe, Put } from './probe.js';

export interface Status {
  readonly rc: number;
  readonly status: number;
  readonly vcpu: number;
  /** u.unbound.dom, u.interdomain.dom or u.virq, and u.interdomain.port. */
  readonly first: number;
  readonly second: number;
}

export interface EventOps {
  raw(v: number, cmd: number, puts: readonly Put[]): number;
  /** The port, or a negated errno. */
  allocUnbound(v: number, remote: number, dom?: number): number;
  bindInterdomain(v: number, remote: number, remotePort: number): number;
  bindVirq(v: number, virq: number, id: number): number;
  bindIpi(v: number, id: number): number;
  bindVcpu(v: number, port: number, id: number): number;
  close(v: number, port: number): number;
  send(v: number, port: number): number;
  unmask(v: number, port: number): number;
  reset(v: number, dom?: number): number;
  status(v: number, port: number, dom?: number): Status;
}

export function eventOps(p: Probe): EventOps {
  function raw(v: number, cmd: number, puts: readonly Put[]): number {
    return p.call(v, __HYPERVISOR_event_channel_op, cmd, p.arg(v, puts));
  }
  /** The u32 that the call left at `offset`, unless it failed. */
  const answer = (v: number, rc: number, offset: number): number => (rc < 0 ? rc : p.u32(v, p.scratch(v) + offset));
  const port4 = (port: number): Put => [0, port, 4];

  return {
    raw,
    allocUnbound(v, remote, dom = DOMID_SELF) {
      const rc = raw(v, E.EVTCHNOP_alloc_unbound, [
        [0, dom, 2],
        [2, remote, 2],
      ]);
      return answer(v, rc, 4);
    },
    bindInterdomain(v, remote, remotePort) {
      const rc = raw(v, E.EVTCHNOP_bind_interdomain, [
        [0, remote, 2],
        [4, remotePort, 4],
      ]);
      return answer(v, rc, 8);
    },
    bindVirq(v, virq, id) {
      const rc = raw(v, E.EVTCHNOP_bind_virq, [
        [0, virq, 4],
        [4, id, 4],
      ]);
      return answer(v, rc, 8);
    },
    bindIpi: (v, id) => answer(v, raw(v, E.EVTCHNOP_bind_ipi, [[0, id, 4]]), 4),
    bindVcpu: (v, port, id) => raw(v, E.EVTCHNOP_bind_vcpu, [port4(port), [4, id, 4]]),
    close: (v, port) => raw(v, E.EVTCHNOP_close, [port4(port)]),
    send: (v, port) => raw(v, E.EVTCHNOP_send, [port4(port)]),
    unmask: (v, port) => raw(v, E.EVTCHNOP_unmask, [port4(port)]),
    reset: (v, dom = DOMID_SELF) => raw(v, E.EVTCHNOP_reset, [[0, dom, 2]]),
    status(v, port, dom = DOMID_SELF) {
      const rc = raw(v, E.EVTCHNOP_status, [
        [0, dom, 2],
        [4, port, 4],
      ]);
      const at = p.scratch(v);
      const [status, vcpu, second] = [p.u32(v, at + 8), p.u32(v, at + 12), p.u32(v, at + 20)];
      // u.unbound.dom and u.interdomain.dom are 16 bits wide, u.virq 32.
      const first = status === E.EVTCHNSTAT_virq ? p.u32(v, at + 16) : p.view.getUint16(p.at(v, at + 16), true);
      return { rc, status, vcpu, first, second };
    },
  };
}
