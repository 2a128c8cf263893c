/** How long pCPU p has been idle, ns. Of another worker's pCPU in free mode it is what that has said last. */
import type { HvContext } from './context.js';

export function idleTimeNs({ vcpu, pcpu, isIdle, now }: HvContext, p: number): number {
  const v = pcpu.current(p);
  const busy = pcpu.busy(p) + (isIdle(v) ? 0 : Math.max(0, now() - vcpu.stateEntryTime(v)));
  return Math.max(0, Math.floor(now() - busy));
}
