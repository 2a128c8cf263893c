/**
 * Event channels (S7, S8; event_channel.h): the hypervisor's table of ports, and delivery through the two-level bitmaps
 * that live in the domain's own shared info page. What the guest sees is exactly those bytes: a pending bit per port, a
 * selector bit per word and the upcall flag in the VCPU's vcpu_info.
 */

import { lowHalf } from '../shared/clock.js';
import { XEN_ENOSPC } from '../shared/public/errno.js';
import { EVTCHN_2L_NR_CHANNELS, EVTCHNSTAT_closed } from '../shared/public/event-channel.js';
import { offsetsOf } from '../shared/public/layout.js';
import { shared_info, vcpu_info } from '../shared/public/xen-layout.js';
import { TRACE } from '../shared/trace-ring.js';
import type { HvContext } from './context.js';
import { DOMAIN, NMI, VCPU } from './records.js';
import type { Scheduler } from './schedule.js';
import type { Smp } from './smp.js';

export interface EventChannels {
  /** Record number of port `port` of domain d. */
  record(d: number, port: number): number;
  /** Ports domain d may use: 1 .. portLimit - 1. */
  portLimit(d: number): number;
  isValid(d: number, port: number): boolean;
  /** First closed port, or −ENOSPC. Port 0 is never used. */
  findFree(d: number): number;
  /** Makes a port pending: bits in the guest's frames, then a kick or a wake-up. */
  setPending(d: number, port: number): void;
  isPending(d: number, port: number): boolean;
  clearPending(d: number, port: number): void;
  /** Clears the port's mask and delivers it if it was pending. */
  unmask(d: number, port: number): void;
  sendVirq(v: number, virq: number): void;
  /** Whether v's guest has an unmasked upcall waiting. */
  needsDelivery(v: number): boolean;
  /** v is to look at what there is for it: it is woken, and where it runs it is told (Xen's vcpu_kick). */
  kick(v: number): void;
  /** Raises the upcall flag, for when a vcpu_info was replaced. */
  markPending(v: number): void;
  /** Ends a poll, if v is in one, and wakes it. */
  unblock(v: number): void;
  /** v polls for `port` (-1: several): whoever makes it pending from now on wakes it. */
  startPolling(v: number, port: number): void;
  /** The poll timer of v fired. */
  pollTimedOut(v: number): void;
  /** Moves on to when v was last sent an event; no effect in ordered mode. */
  catchUp(v: number): void;
  /** Forgets what v polls for. */
  stopPolling(v: number): void;
}

export function eventChannels(
  hv: HvContext,
  smp: Smp,
  sched: Scheduler,
  stopPollTimer: (v: number) => void,
): EventChannels {
  const { image, vcpu, domain, evtchn, queues, words, trace, raceWindow, now, moveOn, isOrdered, shape } = hv;
  const { i32, u8 } = image;
  const S32 = offsetsOf(shared_info, 32);
  const S64 = offsetsOf(shared_info, 64);
  const V32 = offsetsOf(vcpu_info, 32);
  const V64 = offsetsOf(vcpu_info, 64);
  const PENDING = S64.evtchn_pending >> 2;
  const MASK32 = S32.evtchn_mask >> 2;
  const MASK64 = S64.evtchn_mask >> 2;
  const SEL32 = V32.evtchn_pending_sel >> 2;
  const SEL64 = V64.evtchn_pending_sel >> 2;
  const UPCALL_PENDING = V64.evtchn_upcall_pending;
  const UPCALL_MASK = V64.evtchn_upcall_mask;

  const pollers = image.column(DOMAIN, 'pollers');
  const pollersWord = (d: number): number => (pollers.base + (d << pollers.shift)) | 0;
  const pollPort = image.column(VCPU, 'pollPort');
  const pollPortWord = (v: number): number => (pollPort.base + (v << pollPort.shift)) | 0;
  const sentAt = image.column(VCPU, 'eventSentAt');
  const WINDOW_NS = hv.params.free?.windowNs ?? 0;

  /**
   * Free mode: an event is seen in the guest's frames at once, by a pCPU whose clock may not have got as far. So who sends notes
   * when, and who takes the upcall moves on to that first. Low halves are enough: what is noted lies at most a window ahead of
   * anybody's clock, and anything else is long past.
   */
  const isAhead = (a: number, b: number): boolean => ((a - b) | 0) > 0 && ((a - b) | 0) <= WINDOW_NS;

  function noteSent(v: number): void {
    const w = (sentAt.base + (v << sentAt.shift)) | 0;
    const t = lowHalf(now());
    for (;;) {
      const last = i32[w]!;
      // Never backwards: of two senders the later counts.
      if (last === t || isAhead(last, t) || words.compareExchange(w, last, t) === last) return;
    }
  }

  function moveOnToSent(v: number): void {
    const sent = i32[(sentAt.base + (v << sentAt.shift)) | 0]!;
    const t = lowHalf(now());
    if (isAhead(sent, t)) moveOn(now() + ((sent - t) | 0));
  }

  const record = (d: number, port: number): number => (Math.imul(d, shape.evtchns) + port) | 0;
  const portLimit = (d: number): number =>
    Math.min(shape.evtchns, EVTCHN_2L_NR_CHANNELS[domain.width(d) === 64 ? 64 : 32]);

  function stopPolling(v: number): void {
    // Of two who end the same poll one stops its timer.
    if (vcpu.pollPort(v) === 0 || words.exchange(pollPortWord(v), 0) === 0) return;
    words.add(pollersWord(vcpu.domain(v)), -1);
    stopPollTimer(v);
  }

  function unblock(v: number): void {
    stopPolling(v);
    sched.unblock(v);
  }

  function markPending(v: number): void {
    const flag = vcpu.infoAddr(v) + UPCALL_PENDING;
    if (u8[flag] !== 0) return;
    u8[flag] = 1;
    raceWindow();
    kick(v);
  }

  function kick(v: number): void {
    // Clearing the blocked flag is an atomic operation even where it is clear: only after it may one look whether v runs. v, for
    // its part, sets the flag, or says that it runs, and then looks for events: one of the two sees the other.
    unblock(v);
    const running = queues.entry.isRunning(v) !== 0;
    if (running) smp.kickGuest(queues.entry.processor(v));
  }

  /** Second level: selector bit, upcall flag. The order (pending, selector, flag) lets the guest clear in reverse. */
  function raise(d: number, port: number): void {
    const is64 = domain.width(d) === 64;
    const page = domain.sharedInfo(d) >> 2;
    const word = port >> 5;
    const bit = 1 << (port & 31);
    if ((i32[page + (is64 ? MASK64 : MASK32) + word]! & bit) !== 0) return;
    const v = domain.firstVcpu(d) + evtchn.notifyVcpu(record(d, port));
    const selector = is64 ? port >> 6 : word;
    const sel = (vcpu.infoAddr(v) >> 2) + (is64 ? SEL64 : SEL32) + (selector >> 5);
    const selBit = 1 << (selector & 31);
    if ((words.or(sel, selBit) & selBit) !== 0) return;
    raceWindow();
    markPending(v);
  }

  function wakePollers(d: number, port: number): void {
    const first = domain.firstVcpu(d);
    for (let k = 0; k < domain.maxVcpus(d); k++) {
      const polled = vcpu.pollPort(first + k);
      if (polled === -1 || polled === port) unblock(first + k);
    }
  }

  function setPending(d: number, port: number): void {
    const w = (domain.sharedInfo(d) >> 2) + PENDING + (port >> 5);
    const bit = 1 << (port & 31);
    // Before anybody can see it, even if it is no news: what the sender has done until now goes with it.
    if (!isOrdered) noteSent(domain.firstVcpu(d) + evtchn.notifyVcpu(record(d, port)));
    if ((words.or(w, bit) & bit) !== 0) return;
    trace.record(TRACE.send, d, port);
    raceWindow();
    raise(d, port);
    if (domain.pollers(d) !== 0) wakePollers(d, port);
  }

  return {
    record,
    portLimit,
    isValid: (d, port) => port > 0 && port < portLimit(d),
    findFree(d) {
      const limit = portLimit(d);
      for (let port = 1; port < limit; port++) {
        if (evtchn.state(record(d, port)) === EVTCHNSTAT_closed) return port;
      }
      return -XEN_ENOSPC;
    },
    setPending,
    isPending: (d, port) => (i32[(domain.sharedInfo(d) >> 2) + PENDING + (port >> 5)]! & (1 << (port & 31))) !== 0,
    clearPending(d, port) {
      words.and((domain.sharedInfo(d) >> 2) + PENDING + (port >> 5), ~(1 << (port & 31)));
    },
    unmask(d, port) {
      const w = (domain.sharedInfo(d) >> 2) + (domain.width(d) === 64 ? MASK64 : MASK32) + (port >> 5);
      const bit = 1 << (port & 31);
      if ((words.and(w, ~bit) & bit) === 0) return;
      raceWindow();
      if ((i32[(domain.sharedInfo(d) >> 2) + PENDING + (port >> 5)]! & bit) !== 0) raise(d, port);
    },
    sendVirq(v, virq) {
      const port = vcpu.virqPort(v, virq);
      if (port !== 0) setPending(vcpu.domain(v), port);
    },
    needsDelivery(v) {
      if (vcpu.nmi(v) === NMI.pending) return true;
      const info = vcpu.infoAddr(v);
      if (u8[info + UPCALL_PENDING] === 0 || u8[info + UPCALL_MASK] !== 0) return false;
      if (!isOrdered) moveOnToSent(v);
      return true;
    },
    pollTimedOut(v) {
      // It may have been woken a moment ago, and its timer been too late to be stopped.
      if (vcpu.pollPort(v) !== 0) unblock(v);
    },
    catchUp: isOrdered ? () => {} : moveOnToSent,
    startPolling(v, port) {
      if (words.exchange(pollPortWord(v), port) === 0) words.add(pollersWord(vcpu.domain(v)), 1);
      raceWindow();
    },
    markPending,
    kick,
    unblock,
    stopPolling,
  };
}
