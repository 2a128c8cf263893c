/** Entry points that a guest registers with Xen (`callback.h`): the commands of `callback_op(cmd, *)`. */

import { layout } from './layout.js';

export const CALLBACKOP_register = 0;
export const CALLBACKOP_unregister = 1;

export const CALLBACKTYPE_event = 0;
export const CALLBACKTYPE_failsafe = 1;
export const CALLBACKTYPE_syscall = 2; // 64-bit guests
export const CALLBACKTYPE_sysenter_deprecated = 3;
export const CALLBACKTYPE_nmi = 4;
export const CALLBACKTYPE_sysenter = 5;
export const CALLBACKTYPE_syscall32 = 7;

/** callback_register.flags: enter with events masked. Event and NMI callbacks always do. */
export const CALLBACKF_mask_events = 1 << 0;

/** u16 type, u16 flags; `address` is a cs:eip pair (xen_callback_t) on i386, a RIP on x86-64. */
export const callback_register = layout('struct callback_register', [12, 16], {
  type: [0, 0],
  flags: [2, 2],
  address: [4, 8],
});

/** u16. */
export const callback_unregister = layout('struct callback_unregister', [4, 4], {
  type: [0, 0],
});
