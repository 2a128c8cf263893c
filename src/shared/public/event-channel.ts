/**
 * Event channels (`event_channel.h`): the commands of `event_channel_op(cmd, struct evtchn_* *)`, the states of a
 * channel, and the argument structures. A port is a u32, a domain id a u16.
 */

import { layout, type PerWidth } from './layout.js';

export const EVTCHNOP_bind_interdomain = 0;
export const EVTCHNOP_bind_virq = 1;
export const EVTCHNOP_bind_pirq = 2;
export const EVTCHNOP_close = 3;
export const EVTCHNOP_send = 4;
export const EVTCHNOP_status = 5;
export const EVTCHNOP_alloc_unbound = 6;
export const EVTCHNOP_bind_ipi = 7;
export const EVTCHNOP_bind_vcpu = 8;
export const EVTCHNOP_unmask = 9;
export const EVTCHNOP_reset = 10;
export const EVTCHNOP_init_control = 11;
export const EVTCHNOP_expand_array = 12;
export const EVTCHNOP_set_priority = 13;

// evtchn_status.status.
export const EVTCHNSTAT_closed = 0;
export const EVTCHNSTAT_unbound = 1; // waits for the remote domain to bind
export const EVTCHNSTAT_interdomain = 2;
export const EVTCHNSTAT_pirq = 3;
export const EVTCHNSTAT_virq = 4;
export const EVTCHNSTAT_ipi = 5;

export const BIND_PIRQ__WILL_SHARE = 1;

/** Ports of the two-level ABI: one selector bit for each word of the pending bitmap. */
export const EVTCHN_2L_NR_CHANNELS: PerWidth<number> = { 32: 1024, 64: 4096 };

/** IN dom, remote_dom; OUT port, in `dom`. */
export const evtchn_alloc_unbound = layout('struct evtchn_alloc_unbound', [8, 8], {
  dom: [0, 0],
  remote_dom: [2, 2],
  port: [4, 4],
});

/** IN remote_dom, remote_port; OUT local_port. */
export const evtchn_bind_interdomain = layout('struct evtchn_bind_interdomain', [12, 12], {
  remote_dom: [0, 0],
  remote_port: [4, 4],
  local_port: [8, 8],
});

/** IN virq, vcpu; OUT port. */
export const evtchn_bind_virq = layout('struct evtchn_bind_virq', [12, 12], {
  virq: [0, 0],
  vcpu: [4, 4],
  port: [8, 8],
});

/** IN pirq, flags (BIND_PIRQ__*); OUT port. */
export const evtchn_bind_pirq = layout('struct evtchn_bind_pirq', [12, 12], {
  pirq: [0, 0],
  flags: [4, 4],
  port: [8, 8],
});

/** IN vcpu; OUT port. */
export const evtchn_bind_ipi = layout('struct evtchn_bind_ipi', [8, 8], {
  vcpu: [0, 0],
  port: [4, 4],
});

/** IN port. */
export const evtchn_close = layout('struct evtchn_close', [4, 4], {
  port: [0, 0],
});

/** IN port. */
export const evtchn_send = layout('struct evtchn_send', [4, 4], {
  port: [0, 0],
});

/** IN dom, port; OUT status (EVTCHNSTAT_*), vcpu, and the member of `u` that belongs to the status. */
export const evtchn_status = layout('struct evtchn_status', [24, 24], {
  dom: [0, 0],
  port: [4, 4],
  status: [8, 8],
  vcpu: [12, 12],
  'u.unbound.dom': [16, 16],
  'u.interdomain.dom': [16, 16],
  'u.interdomain.port': [20, 20],
  'u.pirq': [16, 16],
  'u.virq': [16, 16],
});

/** IN port, vcpu. */
export const evtchn_bind_vcpu = layout('struct evtchn_bind_vcpu', [8, 8], {
  port: [0, 0],
  vcpu: [4, 4],
});

/** IN port. */
export const evtchn_unmask = layout('struct evtchn_unmask', [4, 4], {
  port: [0, 0],
});

/** IN dom. */
export const evtchn_reset = layout('struct evtchn_reset', [2, 2], {
  dom: [0, 0],
});

/** IN control_gfn, offset, vcpu; OUT link_bits. */
export const evtchn_init_control = layout('struct evtchn_init_control', [24, 24], {
  control_gfn: [0, 0],
  offset: [8, 8],
  vcpu: [12, 12],
  link_bits: [16, 16],
});

/** IN array_gfn. */
export const evtchn_expand_array = layout('struct evtchn_expand_array', [8, 8], {
  array_gfn: [0, 0],
});

/** IN port, priority. */
export const evtchn_set_priority = layout('struct evtchn_set_priority', [8, 8], {
  port: [0, 0],
  priority: [4, 4],
});

/** The one argument of event_channel_op_compat: the command, then that command's structure. */
export const evtchn_op = layout('struct evtchn_op', [28, 28], {
  cmd: [0, 0],
  u: [4, 4],
});
