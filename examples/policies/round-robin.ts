// Round robin: every VCPU of a pCPU runs for 10 ms in turn. The walk-through is docs/write-a-scheduler.md.
import type { GenericScheduler, HvContext, Policy, PolicyKit, PolicyOps } from 'ringzero';

const SLICE_NS = 10e6;

export default ({ struct, tableRegion, NONE }: PolicyKit): Policy => {
  /** State lies in the image, where every worker sees it: here how often each VCPU was chosen. */
  const TURNS = struct('rr-turns', { chosen: 'i32' });

  function create(hv: HvContext, generic: GenericScheduler): PolicyOps {
    const { image, pcpu, queues, isIdle, idleOf, shape } = hv;
    const { entry, list, masks } = queues;
    const turns = image.table(TURNS);
    const mayUse = (v: number, p: number): boolean => masks.has(queues.affinity(v, 1), p);

    /** The allowed pCPU with the fewest VCPUs, its own first. */
    function pickCpu(v: number): number {
      const own = entry.processor(v);
      let best = mayUse(v, own) ? own : NONE;
      for (let p = 0; p < shape.pcpus; p++) {
        if (mayUse(v, p) && (best === NONE || queues.runq.nrRunnable(p) < queues.runq.nrRunnable(best))) best = p;
      }
      return best;
    }

    return {
      insert: (v) => entry.setProcessor(v, pickCpu(v)),
      wake(v) {
        const p = entry.processor(v);
        if (pcpu.current(p) === v || queues.isQueued(v)) return;
        queues.addRunnable(p, 1);
        queues.insert(v);
        if (isIdle(pcpu.current(p))) generic.raiseSchedule(p);
      },
      sleep(v) {
        const p = entry.processor(v);
        if (pcpu.current(p) === v) generic.raiseSchedule(p);
        else if (queues.isQueued(v)) {
          queues.addRunnable(p, -1);
          queues.remove(v);
        }
      },
      yield: () => {},
      doSchedule(p) {
        const current = pcpu.current(p);
        if (!isIdle(current)) {
          // Behind all others; it is not counted any more if it cannot go on.
          if (generic.isRunnable(current)) queues.insert(current);
          else queues.addRunnable(p, -1);
        }
        const next = list.first(p);
        pcpu.setNext(p, next === NONE ? idleOf(p) : next);
        pcpu.setNextSlice(p, next === NONE ? Infinity : SLICE_NS);
        if (next === NONE) return;
        queues.remove(next);
        turns.addChosen(next, 1);
      },
      pickCpu,
      migrate: (v, p) => entry.setProcessor(v, p),
    };
  }

  return { title: 'round robin', regions: ({ vcpus }) => [tableRegion(TURNS, vcpus)], create };
};
