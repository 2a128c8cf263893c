/** event_channel_op (event_channel.h). Locking: see ports.ts. A guest names domains by domid; an interdomain port's record keeps the record's number. */
import {
  XEN_EEXIST,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ESRCH,
} from '../../shared/public/errno.js';
import * as E from '../../shared/public/event-channel.js';
import { type AbiLayout, offsetsOf, sizeOf } from '../../shared/public/layout.js';
import {
  DOMID_SELF,
  NR_VIRQS,
  VIRQ_DEBUG,
  VIRQ_DOM_EXC,
  VIRQ_TIMER,
  VIRQ_XENOPROF,
  VIRQ_XENPMU,
} from '../../shared/public/xen.js';
import { eventLock } from '../context.js';
import { FAULT } from '../guest-memory.js';
import { NOBODY } from '../records.js';
import { type CallParts, type Handler, pointer } from './call.js';
import { PRIVILEGED } from './toolstack.js';

/** Bound once on each VCPU, never re-bound. All others are global: bound on VCPU 0. */
const PER_VCPU_VIRQS: readonly number[] = [VIRQ_TIMER, VIRQ_DEBUG, VIRQ_XENOPROF, VIRQ_XENPMU];

export function eventChannelOp(parts: CallParts): Handler {
  const { context, memory, events, irqs, ports, smp, separation, domains } = parts;
  const { set, close } = ports;
  const { vcpu, domain, evtchn, regs, locks, eventTableLock } = context;
  const at = {
    alloc: offsetsOf(E.evtchn_alloc_unbound, 64),
    interdomain: offsetsOf(E.evtchn_bind_interdomain, 64),
    virq: offsetsOf(E.evtchn_bind_virq, 64),
    pirq: offsetsOf(E.evtchn_bind_pirq, 64),
    ipi: offsetsOf(E.evtchn_bind_ipi, 64),
    status: offsetsOf(E.evtchn_status, 64),
    vcpu: offsetsOf(E.evtchn_bind_vcpu, 64),
    reset: offsetsOf(E.evtchn_reset, 64),
  };

  /** The domain a guest names: itself by DOMID_SELF or its number; anyone else is domain 0's to name, or does not exist. */
  function ownDomain(v: number, domid: number): number {
    const own = vcpu.domain(v);
    if (domid === DOMID_SELF || domid === domain.id(own)) return own;
    const d = domains.find(domid);
    if (d === NOBODY) return -XEN_ESRCH;
    return own === PRIVILEGED && domains.isAlive(d) ? d : -XEN_EPERM;
  }

  function remoteDomain(v: number, domid: number): number {
    if (domid === DOMID_SELF) return vcpu.domain(v);
    const d = domains.find(domid);
    return d !== NOBODY && domains.isAlive(d) ? d : -XEN_ESRCH;
  }

  function allocUnbound(v: number, arg: number): number {
    const d = ownDomain(v, memory.u16(arg + at.alloc.dom));
    if (d < 0) return d;
    const port = events.findFree(d);
    if (port < 0) return port;
    const domid = memory.u16(arg + at.alloc.remote_dom);
    set(d, port, E.EVTCHNSTAT_unbound, 0, domid === DOMID_SELF ? domain.id(d) : domid, 0);
    memory.setU32(arg + at.alloc.port, port);
    return 0;
  }

  /** Before any lock is taken: a domain of another worker may be touched from now on. */
  function announce(v: number, cmd: number, arg: number): void {
    const own = vcpu.domain(v);
    let other = own;
    if (cmd === E.EVTCHNOP_bind_interdomain) other = remoteDomain(v, memory.u16(arg + at.interdomain.remote_dom));
    else if (cmd === E.EVTCHNOP_alloc_unbound) other = ownDomain(v, memory.u16(arg + at.alloc.dom));
    else if (cmd === E.EVTCHNOP_status) other = ownDomain(v, memory.u16(arg + at.status.dom));
    else if (cmd === E.EVTCHNOP_reset) other = ownDomain(v, memory.u16(arg + at.reset.dom));
    if (other >= 0 && other !== own) separation.connect(own, other);
  }

  function bindInterdomain(v: number, arg: number): number {
    const d = vcpu.domain(v);
    const remote = remoteDomain(v, memory.u16(arg + at.interdomain.remote_dom));
    if (remote < 0) return remote;
    const remotePort = memory.u32(arg + at.interdomain.remote_port);
    const port = events.findFree(d);
    if (port < 0) return port;
    if (!events.isValid(remote, remotePort)) return -XEN_EINVAL;
    const r = events.record(remote, remotePort);
    if (evtchn.state(r) !== E.EVTCHNSTAT_unbound || evtchn.remote(r) !== domain.id(d)) return -XEN_EINVAL;
    separation.connected(d, remote);
    // Binding a domain's port to itself: the unbound port is the remote end, so it cannot be the free one too.
    set(d, port, E.EVTCHNSTAT_interdomain, 0, remote, remotePort);
    set(remote, remotePort, E.EVTCHNSTAT_interdomain, evtchn.notifyVcpu(r), d, port);
    memory.setU32(arg + at.interdomain.local_port, port);
    // The other side may have notified before we were there.
    events.setPending(d, port);
    return 0;
  }

  function bindVirq(v: number, arg: number): number {
    const d = vcpu.domain(v);
    const virq = memory.u32(arg + at.virq.virq);
    const id = memory.u32(arg + at.virq.vcpu);
    if (virq >= NR_VIRQS) return -XEN_EINVAL;
    if (!PER_VCPU_VIRQS.includes(virq) && id !== 0) return -XEN_EINVAL;
    if (id >= domain.maxVcpus(d)) return -XEN_ENOENT;
    const target = domain.firstVcpu(d) + id;
    if (vcpu.virqPort(target, virq) !== 0) return -XEN_EEXIST;
    const port = events.findFree(d);
    if (port < 0) return port;
    set(d, port, E.EVTCHNSTAT_virq, id, virq, 0);
    vcpu.setVirqPort(target, virq, port);
    memory.setU32(arg + at.virq.port, port);
    return 0;
  }

  function bindPirq(v: number, arg: number): number {
    const d = vcpu.domain(v);
    const pirq = memory.u32(arg + at.pirq.pirq) | 0;
    const willShare = (memory.u32(arg + at.pirq.flags) & E.BIND_PIRQ__WILL_SHARE) !== 0;
    const port = events.findFree(d);
    const rc = irqs.bind(d, pirq, port, willShare);
    if (rc < 0) return rc;
    set(d, port, E.EVTCHNSTAT_pirq, 0, pirq, 0);
    memory.setU32(arg + at.pirq.port, port);
    return 0;
  }

  /** Two domains with one line have to do with each other: whoever serves an interrupt of it sends to both. */
  function shareWorkers(v: number, arg: number): void {
    if (irqs.otherGuest(vcpu.domain(v), memory.u32(arg + at.pirq.pirq) | 0) >= 0) separation.together();
  }

  function bindIpi(v: number, arg: number): number {
    const d = vcpu.domain(v);
    const id = memory.u32(arg + at.ipi.vcpu);
    if (id >= domain.maxVcpus(d)) return -XEN_ENOENT;
    const port = events.findFree(d);
    if (port < 0) return port;
    set(d, port, E.EVTCHNSTAT_ipi, id, 0, 0);
    memory.setU32(arg + at.ipi.port, port);
    return 0;
  }

  function bindVcpu(v: number, arg: number): number {
    const d = vcpu.domain(v);
    const port = memory.u32(arg + at.vcpu.port);
    const id = memory.u32(arg + at.vcpu.vcpu);
    if (id >= domain.maxVcpus(d)) return -XEN_ENOENT;
    if (!events.isValid(d, port)) return -XEN_EINVAL;
    const r = events.record(d, port);
    switch (evtchn.state(r)) {
      case E.EVTCHNSTAT_virq:
        if (PER_VCPU_VIRQS.includes(evtchn.remote(r))) return -XEN_EINVAL;
        break;
      case E.EVTCHNSTAT_unbound:
      case E.EVTCHNSTAT_interdomain:
      // The line goes where its VCPU is, from its next interrupt on (irq.ts).
      case E.EVTCHNSTAT_pirq:
        break;
      default:
        return -XEN_EINVAL;
    }
    set(d, port, evtchn.state(r), id, evtchn.remote(r), evtchn.remotePort(r));
    return 0;
  }

  function send(v: number, arg: number): number {
    const d = vcpu.domain(v);
    const port = memory.u32(arg);
    if (!events.isValid(d, port)) return -XEN_EINVAL;
    const r = events.record(d, port);
    locks.acquire(eventLock(d), smp.self());
    const state = evtchn.state(r);
    const remote = evtchn.remote(r);
    const remotePort = evtchn.remotePort(r);
    locks.release(eventLock(d), smp.self());
    switch (state) {
      case E.EVTCHNSTAT_interdomain:
        events.setPending(remote, remotePort);
        return 0;
      case E.EVTCHNSTAT_ipi:
        events.setPending(d, port);
        return 0;
      case E.EVTCHNSTAT_unbound:
        return 0;
      default:
        return -XEN_EINVAL;
    }
  }

  function status(v: number, arg: number): number {
    const d = ownDomain(v, memory.u16(arg + at.status.dom));
    if (d < 0) return d;
    const port = memory.u32(arg + at.status.port);
    if (!events.isValid(d, port)) return -XEN_EINVAL;
    const r = events.record(d, port);
    const state = evtchn.state(r);
    memory.setU32(arg + at.status.status, state);
    memory.setU32(arg + at.status.vcpu, evtchn.notifyVcpu(r));
    if (state === E.EVTCHNSTAT_unbound) memory.setU16(arg + at.status['u.unbound.dom'], evtchn.remote(r));
    else if (state === E.EVTCHNSTAT_interdomain) {
      memory.setU16(arg + at.status['u.interdomain.dom'], domain.id(evtchn.remote(r)));
      memory.setU32(arg + at.status['u.interdomain.port'], evtchn.remotePort(r));
    } else if (state === E.EVTCHNSTAT_pirq) memory.setU32(arg + at.status['u.pirq'], evtchn.remote(r));
    else if (state === E.EVTCHNSTAT_virq) memory.setU32(arg + at.status['u.virq'], evtchn.remote(r));
    return 0;
  }

  function unmask(v: number, arg: number): number {
    const d = vcpu.domain(v);
    const port = memory.u32(arg);
    if (!events.isValid(d, port)) return -XEN_EINVAL;
    events.unmask(d, port);
    return 0;
  }

  function reset(v: number, arg: number): number {
    const d = ownDomain(v, memory.u16(arg + at.reset.dom));
    if (d < 0) return d;
    for (let port = 1; port < events.portLimit(d); port++) {
      if (evtchn.state(events.record(d, port)) !== E.EVTCHNSTAT_closed) close(d, port);
    }
    return 0;
  }

  const operations: Readonly<
    Record<number, readonly [AbiLayout<unknown, unknown>, (v: number, arg: number) => number]>
  > = {
    [E.EVTCHNOP_alloc_unbound]: [E.evtchn_alloc_unbound, allocUnbound],
    [E.EVTCHNOP_bind_interdomain]: [E.evtchn_bind_interdomain, bindInterdomain],
    [E.EVTCHNOP_bind_virq]: [E.evtchn_bind_virq, bindVirq],
    [E.EVTCHNOP_bind_pirq]: [E.evtchn_bind_pirq, bindPirq],
    [E.EVTCHNOP_bind_ipi]: [E.evtchn_bind_ipi, bindIpi],
    [E.EVTCHNOP_bind_vcpu]: [E.evtchn_bind_vcpu, bindVcpu],
    [E.EVTCHNOP_close]: [E.evtchn_close, (v, arg) => close(vcpu.domain(v), memory.u32(arg))],
    [E.EVTCHNOP_status]: [E.evtchn_status, status],
    [E.EVTCHNOP_unmask]: [E.evtchn_unmask, unmask],
    [E.EVTCHNOP_reset]: [E.evtchn_reset, reset],
  };
  const SEND_BYTES = sizeOf(E.evtchn_send, 64);

  return (v) => {
    const cmd = regs.lo(v, 0);
    // The one that is called a million times a second goes first.
    if (cmd === E.EVTCHNOP_send) {
      const arg = pointer(parts, v, 1, SEND_BYTES);
      return arg === FAULT ? -XEN_EFAULT : send(v, arg);
    }
    const operation = operations[cmd];
    if (!operation) return -XEN_ENOSYS;
    const arg = pointer(parts, v, 1, sizeOf(operation[0], 64));
    if (arg === FAULT) return -XEN_EFAULT;
    announce(v, cmd, arg);
    // Domain 0 wants to be told of what any domain does.
    if (cmd === E.EVTCHNOP_bind_virq && memory.u32(arg + at.virq.virq) === VIRQ_DOM_EXC) separation.connectAll();
    const act = (): number => {
      locks.acquire(eventTableLock, smp.self());
      const result = operation[1](v, arg);
      locks.release(eventTableLock, smp.self());
      return result;
    };
    if (cmd !== E.EVTCHNOP_bind_pirq) return act();
    // Nobody else may bind the same line between the look at it and the binding.
    return separation.alone(() => {
      shareWorkers(v, arg);
      return act();
    });
  };
}
