/**
 * Changing the ports of event channels: for event_channel_op, and for the end of a domain.
 *
 * Locking: whoever changes a port holds the table lock, and for the write itself the event lock of the port's domain. So a
 * record may be read under either: by a sender, who takes its own domain's event lock, and by whoever changes ports.
 */
import { XEN_EINVAL } from '../shared/public/errno.js';
import * as E from '../shared/public/event-channel.js';
import { EVENT_TABLE_LOCK, eventLock, type HvContext } from './context.js';
import type { EventChannels } from './event-channel.js';

export interface Ports {
  /** Writes a port's record. With the table lock. */
  set(d: number, port: number, state: number, notifyVcpu: number, remote: number, remotePort: number): void;
  /** Closes a port; its other end waits for somebody to bind again. With the table lock. */
  close(d: number, port: number): number;
  /** Closes all ports of domain d. Takes the table lock. */
  closeAll(d: number): void;
}

/** @param unbindPirq takes a line from a domain whose port for it is closed */
export function ports(
  { vcpu, domain, evtchn, machine, locks, me }: HvContext,
  events: EventChannels,
  unbindPirq: (d: number, pirq: number) => void,
): Ports {
  const self = (): number => machine.turnOf(me);

  function set(d: number, port: number, state: number, notifyVcpu: number, remote: number, remotePort: number): void {
    const r = events.record(d, port);
    locks.acquire(eventLock(d), self());
    evtchn.setState(r, state);
    evtchn.setNotifyVcpu(r, notifyVcpu);
    evtchn.setRemote(r, remote);
    evtchn.setRemotePort(r, remotePort);
    locks.release(eventLock(d), self());
  }

  function close(d: number, port: number): number {
    if (!events.isValid(d, port)) return -XEN_EINVAL;
    const r = events.record(d, port);
    switch (evtchn.state(r)) {
      case E.EVTCHNSTAT_closed:
        return -XEN_EINVAL;
      case E.EVTCHNSTAT_virq: {
        const first = domain.firstVcpu(d);
        for (let k = 0; k < domain.maxVcpus(d); k++) {
          if (vcpu.virqPort(first + k, evtchn.remote(r)) === port) vcpu.setVirqPort(first + k, evtchn.remote(r), 0);
        }
        break;
      }
      case E.EVTCHNSTAT_pirq:
        unbindPirq(d, evtchn.remote(r));
        break;
      case E.EVTCHNSTAT_interdomain: {
        const [remote, remotePort] = [evtchn.remote(r), evtchn.remotePort(r)];
        const notify = evtchn.notifyVcpu(events.record(remote, remotePort));
        // Who may bind is named by its domid: the record may be another domain's by then.
        set(remote, remotePort, E.EVTCHNSTAT_unbound, notify, domain.id(d), 0);
        break;
      }
    }
    events.clearPending(d, port);
    set(d, port, E.EVTCHNSTAT_closed, 0, 0, 0);
    return 0;
  }

  return {
    set,
    close,
    closeAll(d) {
      locks.acquire(EVENT_TABLE_LOCK, self());
      for (let port = 1; port < events.portLimit(d); port++) {
        if (evtchn.state(events.record(d, port)) !== E.EVTCHNSTAT_closed) close(d, port);
      }
      locks.release(EVENT_TABLE_LOCK, self());
    },
  };
}
