/**
 * A guest's own scheduling (`sched.h`): the commands of `sched_op(cmd, struct sched_* *)`. The older
 * `sched_op_compat(cmd, arg)` knows yield, block and shutdown only, and takes the SHUTDOWN_* code itself as `arg`.
 */

import { layout } from './layout.js';

export const SCHEDOP_yield = 0;
export const SCHEDOP_block = 1; // enables upcalls, then blocks unless an event is pending
export const SCHEDOP_shutdown = 2;
export const SCHEDOP_poll = 3;
export const SCHEDOP_remote_shutdown = 4;
export const SCHEDOP_shutdown_code = 5;
export const SCHEDOP_watchdog = 6;
export const SCHEDOP_pin_override = 7;

// Reasons of a shutdown.
export const SHUTDOWN_poweroff = 0;
export const SHUTDOWN_reboot = 1;
export const SHUTDOWN_suspend = 2;
export const SHUTDOWN_crash = 3;
export const SHUTDOWN_watchdog = 4;
export const SHUTDOWN_soft_reset = 5;
export const SHUTDOWN_MAX = 5;

/** SCHEDOP_shutdown and SCHEDOP_shutdown_code. u32. */
export const sched_shutdown = layout('struct sched_shutdown', [4, 4], {
  reason: [0, 0],
});

/** `ports` is a guest pointer to u32 ports; `timeout` is u64 ns of system time, 0 = none. */
export const sched_poll = layout('struct sched_poll', [16, 24], {
  ports: [0, 0],
  nr_ports: [4, 8],
  timeout: [8, 16],
});

/** u16 domain_id, u32 reason. */
export const sched_remote_shutdown = layout('struct sched_remote_shutdown', [8, 8], {
  domain_id: [0, 0],
  reason: [4, 4],
});

/** `id` 0 asks for a new one; `timeout` in seconds, 0 destroys it. */
export const sched_watchdog = layout('struct sched_watchdog', [8, 8], {
  id: [0, 0],
  timeout: [4, 4],
});

/** s32; a negative pCPU ends the override. */
export const sched_pin_override = layout('struct sched_pin_override', [4, 4], {
  pcpu: [0, 0],
});
