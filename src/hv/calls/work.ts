/**
 * How much one hypercall of machine code does at a time. A long list is not done in one go, or a guest could hold up its pCPU, and all who
 * wait for that: behind so many entries the rest of it is made another hypercall (Xen's hypercall_create_continuation), which the guest
 * makes as soon as it runs again, for it has not left the instruction. Modelled kernels make no long ones.
 */
import { XEN_ERESTART } from '../../shared/public/errno.js';

/** Answer of a handler that is to be called again with the arguments that are in the registers now. No guest sees it. */
export const RESTART = -XEN_ERESTART;

/** Entries of lists at a time. */
const MOST = 2048;

export interface Work {
  /** A hypercall begins. */
  begin(isLimited: boolean): void;
  /** One entry more is about to be done. False: it is to be put off. The first of a hypercall never is. */
  mayGoOn(): boolean;
}

export function work(most = MOST): Work {
  let left = Number.POSITIVE_INFINITY;
  let isFirst = true;
  return {
    begin(isLimited) {
      left = isLimited ? most : Number.POSITIVE_INFINITY;
      isFirst = true;
    },
    mayGoOn() {
      const may = left > 0 || isFirst;
      isFirst = false;
      left--;
      return may;
    },
  };
}
