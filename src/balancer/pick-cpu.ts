/**
 * Where a VCPU should run next (Xen's pick_cpu, without topology): its own pCPU while that has nobody else to serve,
 * otherwise an idle pCPU of its affinity, otherwise its own, or the next allowed one.
 */
import { NONE } from '../shared/list.js';
import { ONLINE_MASK } from './records.js';
import { HARD, type RunQueues, SOFT } from './run-queues.js';

export function pickCpu(queues: RunQueues): (v: number) => number {
  const { entry, masks, list, word } = queues;
  const ONLINE = word(ONLINE_MASK);

  function pickIn(v: number, allowed: number): number {
    const current = entry.processor(v);
    const base = masks.has(allowed, current) ? current : masks.cycleAnd(current, allowed, ONLINE);
    if (base === NONE) return NONE;
    // Nobody waits at `base`: as good as idle, and warm.
    if (base === current && list.first(base) === NONE) return base;
    if (masks.has(queues.idlers(base), base)) return base;
    const idle = masks.cycleAnd(base, allowed, queues.idlers(base));
    return idle === NONE ? base : idle;
  }

  return (v) => {
    if (entry.hasSoftAffinity(v) !== 0) {
      const soft = pickIn(v, queues.affinity(v, SOFT));
      // A soft affinity that offers nothing idle is only a wish: look in the hard one.
      if (soft !== NONE && (masks.has(queues.idlers(soft), soft) || list.first(soft) === NONE)) return soft;
    }
    const hard = pickIn(v, queues.affinity(v, HARD));
    return hard === NONE ? entry.processor(v) : hard;
  };
}
