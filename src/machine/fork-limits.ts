/** How many tasks may be forked of each, so that there is a record for every one. */
import type { Workload, WorkloadTask } from '../workload/workload.js';

/** As rt-app: one more and the use case fails. */
export const MAX_FORKS = 1024;

/** Times a task's whole list of phases runs, and each of its phases in it. */
const rounds = (loop: number): number => (loop < 0 ? Infinity : loop);

/** Times task `spec`, run once, forks a task called `name`. */
const forksOf = (spec: WorkloadTask, name: string): number =>
  spec.phases.reduce((sum, phase) => {
    const events = phase.events.filter((event) => event.kind === 'fork' && event.task === name).length;
    return events === 0 ? sum : sum + events * rounds(phase.loop) * rounds(spec.loop);
  }, 0);

/** Name of a task that is forked → at most how often, up to MAX_FORKS. */
export function forkLimits({ tasks }: Workload): ReadonlyMap<string, number> {
  const limits = new Map<string, number>();
  const targets = tasks.filter(({ name }) => tasks.some((spec) => forksOf(spec, name) > 0));
  for (const { name } of targets) limits.set(name, 0);
  // Forked tasks may fork: grow the limits until they stand still. A circle ends at the most there can be.
  for (let changed = true; changed; ) {
    changed = false;
    for (const { name } of targets) {
      const sum = tasks.reduce((n, spec) => {
        const copies = spec.instance + (limits.get(spec.name) ?? 0);
        return copies === 0 ? n : n + copies * forksOf(spec, name);
      }, 0);
      const limit = Math.min(MAX_FORKS, sum);
      if (limit === limits.get(name)) continue;
      limits.set(name, limit);
      changed = true;
    }
  }
  return limits;
}
