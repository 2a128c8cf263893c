/**
 * Where a VCPU should run next (Xen's pick_cpu): its own pCPU while that has nobody else to serve, otherwise an idle pCPU of its
 * affinity, otherwise its own, or the next allowed one. Of idle pCPUs those with more idle neighbours are better: a VCPU alone
 * on a core has all its units, alone on a socket all its cache. `smt-power-savings` has it the other way round: what can sleep
 * as a whole, sleeps.
 */
import { NONE } from '../shared/list.js';
import { BY_SOFT, PICKED } from '../shared/trace-kinds.js';
import { type IdlePlaces, idlePlaces } from './idle-places.js';
import { ONLINE_MASK } from './records.js';
import { HARD, type RunQueues, SOFT } from './run-queues.js';
import { isFlat, type Topology } from './topology.js';

export interface PickCpu {
  /** For a VCPU that is going to move there: the next one is sent to another of equally good places. */
  commit(v: number): number;
  /** Only to know. */
  look(v: number): number;
  /** Why the last pick was what it was: one of PICKED, with BY_SOFT. */
  why(): number;
}

export function pickCpu(queues: RunQueues, topology: Topology, savesPower: boolean): PickCpu {
  const { entry, masks, list, word } = queues;
  const ONLINE = word(ONLINE_MASK);
  const places: IdlePlaces | undefined = isFlat(topology) ? undefined : idlePlaces(queues, topology, savesPower);

  let why: number = PICKED.stays;

  /** Nobody waits at v's own pCPU: as good as idle, and warm. */
  const isRoomy = (v: number, p: number): boolean => p === entry.processor(v) && list.first(p) === NONE;

  function pickIn(v: number, allowed: number, commits: boolean): number {
    const current = entry.processor(v);
    const base = masks.has(allowed, current) ? current : masks.cycleAnd(current, allowed, ONLINE);
    if (base === NONE) return NONE;
    const isGood = isRoomy(v, base) || masks.has(queues.idlers(base), base);
    why = base === current ? PICKED.stays : PICKED.allowed;
    if (places === undefined && isGood) return base;
    const idle = isGood ? base : masks.cycleAnd(base, allowed, queues.idlers(base));
    if (idle === NONE) return base;
    if (idle !== base) why = PICKED.idle;
    if (places === undefined) return idle;
    const best = places.best(idle, allowed, isRoomy(v, idle), commits);
    if (best !== idle) why = PICKED.neighbours;
    return best;
  }

  function pick(v: number, commits: boolean): number {
    if (entry.hasSoftAffinity(v) !== 0) {
      const soft = pickIn(v, queues.affinity(v, SOFT), commits);
      // A soft affinity that offers nothing idle is only a wish: look in the hard one.
      if (soft !== NONE && (masks.has(queues.idlers(soft), soft) || list.first(soft) === NONE)) {
        why |= BY_SOFT;
        return soft;
      }
    }
    const hard = pickIn(v, queues.affinity(v, HARD), commits);
    return hard === NONE ? entry.processor(v) : hard;
  }

  return { commit: (v) => pick(v, true), look: (v) => pick(v, false), why: () => why };
}
