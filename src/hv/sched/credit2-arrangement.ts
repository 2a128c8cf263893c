/** Which pCPUs of a host share a run queue (Xen's `credit2_runqueue`). */
import { coreOf, pcpusOf, socketOf, type Topology } from '../../balancer/topology.js';
import type { RunqueueArrangement } from '../context.js';
import { MAX_CPUS_RUNQUEUE } from './credit2-records.js';

const keyOf: Readonly<Record<RunqueueArrangement, (topology: Topology, p: number) => number>> = {
  cpu: (_, p) => p,
  core: coreOf,
  socket: socketOf,
  node: socketOf,
  all: () => 0,
};

/**
 * For each pCPU the first pCPU of its run queue. A queue has neighbours only, at most 16, and no core is split over two as long
 * as a core has no more threads than that.
 */
export function runqueueLeads(topology: Topology, arrangement: RunqueueArrangement): number[] {
  const key = keyOf[arrangement];
  const leads: number[] = [];
  for (let p = 0; p < pcpusOf(topology); p++) {
    const lead = leads[p - 1] ?? 0;
    const startsCore = p % topology.threads === 0;
    // A core begins a new queue where it would not find room as a whole.
    const size = p - lead + (startsCore ? Math.min(topology.threads, MAX_CPUS_RUNQUEUE) : 1);
    const fits = arrangement === 'cpu' ? false : size <= MAX_CPUS_RUNQUEUE;
    leads.push(p > 0 && fits && key(topology, lead) === key(topology, p) ? lead : p);
  }
  return leads;
}
