/**
 * Virtual CPUs (`vcpu.h`): the commands of `vcpu_op(cmd, vcpuid, struct vcpu_* *)`. All times are u64 nanoseconds of
 * system time.
 */

import { layout } from './layout.js';

export const VCPUOP_initialise = 0; // argument: vcpu_guest_context
export const VCPUOP_up = 1;
export const VCPUOP_down = 2;
export const VCPUOP_is_up = 3;
export const VCPUOP_get_runstate_info = 4;
export const VCPUOP_register_runstate_memory_area = 5;
export const VCPUOP_set_periodic_timer = 6;
export const VCPUOP_stop_periodic_timer = 7;
export const VCPUOP_set_singleshot_timer = 8;
export const VCPUOP_stop_singleshot_timer = 9;
export const VCPUOP_register_vcpu_info = 10;
export const VCPUOP_send_nmi = 11;
export const VCPUOP_get_physid = 12;
export const VCPUOP_register_vcpu_time_memory_area = 13;

// vcpu_runstate_info.state, and the index into its `time`.
export const RUNSTATE_running = 0;
export const RUNSTATE_runnable = 1;
export const RUNSTATE_blocked = 2;
export const RUNSTATE_offline = 3;

/** Top bit of `state_entry_time` while Xen writes the record (VMASST_TYPE_runstate_update_flag). */
export const XEN_RUNSTATE_UPDATE = 1n << 63n;

/** vcpu_set_singleshot_timer.flags: refuse a timeout in the past with -ETIME. */
export const VCPU_SSHOTTMR_future = 1 << 0;

/** s32 `state`; u64 `state_entry_time`; u64 `time[4]`, which sum to system time since creation. */
export const vcpu_runstate_info = layout('struct vcpu_runstate_info', [44, 48], {
  state: [0, 0],
  state_entry_time: [4, 8],
  time: [12, 16],
});

/** Guest address of a vcpu_runstate_info that Xen keeps up to date. */
export const vcpu_register_runstate_memory_area = layout('struct vcpu_register_runstate_memory_area', [8, 8], {
  addr: [0, 0],
});

export const vcpu_set_periodic_timer = layout('struct vcpu_set_periodic_timer', [8, 8], {
  period_ns: [0, 0],
});

/** u64 absolute time, u32 flags (VCPU_SSHOTTMR_*). */
export const vcpu_set_singleshot_timer = layout('struct vcpu_set_singleshot_timer', [12, 16], {
  timeout_abs_ns: [0, 0],
  flags: [8, 8],
});

/** u64 machine frame and u32 byte offset of the new vcpu_info; `rsvd` is unused. */
export const vcpu_register_vcpu_info = layout('struct vcpu_register_vcpu_info', [16, 16], {
  mfn: [0, 0],
  offset: [8, 8],
  rsvd: [12, 12],
});

/** OUT: APIC id in bits 31:0, ACPI id in bits 63:32. */
export const vcpu_get_physid = layout('struct vcpu_get_physid', [8, 8], {
  phys_id: [0, 0],
});

/** Guest address of a second copy of the VCPU's vcpu_time_info. */
export const vcpu_register_time_memory_area = layout('struct vcpu_register_time_memory_area', [8, 8], {
  addr: [0, 0],
});
