/**
 * Which of several idle pCPUs is the best place, by topology: within a socket a core with more idle threads, between sockets one
 * with more than twice as many idle pCPUs, as going there costs more. Each step of the search takes a whole socket or core out
 * of it, and one where no core can be better a whole socket, so that its cost does not grow with the number of pCPUs that are idle.
 */
import { clearRange, countRange, cycleRange } from '../shared/bitmap.js';
import { NONE } from '../shared/list.js';
import type { RunQueues } from './run-queues.js';
import { firstOfCore, firstOfSocket, pcpusOfSocket, type Topology } from './topology.js';

/** What another socket must be better by. */
const SOCKET_FACTOR = 2;

export interface IdlePlaces {
  /**
   * @param from an idle pCPU of `allowed`
   * @param allowed word index of a mask
   * @param counts whether `from` counts as idle though its bit is not set: it is about to be
   * @param commits whether somebody is going there: the next one goes to the place after it
   */
  best(from: number, allowed: number, counts: boolean, commits: boolean): number;
}

export function idlePlaces(queues: RunQueues, topology: Topology, savesPower: boolean): IdlePlaces {
  const { masks, runq, i32 } = queues;
  const { threads } = topology;
  const perSocket = pcpusOfSocket(topology);
  const coreOfPcpu = Int32Array.from({ length: queues.pcpus }, (_, p) => firstOfCore(topology, p));
  const socketOfPcpu = Int32Array.from({ length: queues.pcpus }, (_, p) => firstOfSocket(topology, p));
  /** Candidates that are left; a worker's own, as nobody else is in here at the same time. */
  const left = new Int32Array(masks.words);

  const nextLeft = (p: number): number => cycleRange(left, 0, p, 0, queues.pcpus);

  return {
    best(from, allowed, counts, commits) {
      const idlers = queues.idlers(from);
      const idleIn = (first: number, count: number): number => {
        const idle = countRange(i32, idlers, first, count);
        const isHere = counts && from >= first && from < first + count && !masks.has(idlers, from);
        return idle + (isHere ? 1 : 0);
      };
      for (let k = 0; k < masks.words; k++) left[k] = i32[allowed + k]! & i32[idlers + k]!;
      let best = from;
      clearRange(left, 0, from, 1);
      for (let p = nextLeft(best); p !== NONE; p = nextLeft(best)) {
        const isNear = socketOfPcpu[p] === socketOfPcpu[best];
        const groupOf = isNear ? coreOfPcpu : socketOfPcpu;
        const size = isNear ? threads : perSocket;
        const here = idleIn(groupOf[best]!, size);
        const there = idleIn(groupOf[p]!, size);
        if (isNear && here === (savesPower ? 1 : threads)) {
          // No core can be better than this one.
          clearRange(left, 0, socketOfPcpu[p]!, perSocket);
        } else if (savesPower ? here > there : here * (isNear ? 1 : SOCKET_FACTOR) < there) {
          // Any of that group: in turn, so that two who look at the same time do not go to the same place.
          const bias = runq.idleBias(p);
          best = cycleRange(left, 0, bias, groupOf[p]!, size);
          if (commits) runq.setIdleBias(p, best);
          clearRange(left, 0, coreOfPcpu[best]!, threads);
        } else clearRange(left, 0, groupOf[p]!, size);
      }
      return best;
    },
  };
}
