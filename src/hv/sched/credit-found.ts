/**
 * VCPUs that a tick finds running while they are not active, where groups of pCPUs take their turns side by side. The order in which
 * they come to the active lists counts, and it is that of their ticks by (time, pCPU). So a tick only notes its VCPU, in a list of
 * its runner, and when nobody takes turns all that were noted are put on the lists in that order. Nobody reads the lists before:
 * accounting, and commands from outside, come only then.
 */
import type { Table } from '../../shared/struct.js';
import type { HvContext } from '../context.js';
import { CREDIT_FOUND, type CREDIT_VCPU } from './credit-records.js';

export interface FoundVcpus {
  /** A tick on pCPU p, whose turn it is, found v. */
  note(v: number, p: number): void;
  isNoted(v: number): boolean;
  /** Has `act` done for every VCPU, as if in the turn that found it. Returns whether there was any. */
  forEach(act: (v: number, p: number) => void): boolean;
}

export function foundVcpus(
  { image, shape, machine, me, now }: HvContext,
  cv: Table<typeof CREDIT_VCPU.fields>,
): FoundVcpus {
  const found = image.table(CREDIT_FOUND);

  function takeAll(): number[] {
    const all: number[] = [];
    for (let w = 0; w < shape.runners; w++) {
      for (let v = found.first(w) - 1; v >= 0; v = cv.nextFound(v) - 1) all.push(v);
      found.setFirst(w, 0);
    }
    return all.sort((a, b) => cv.foundAt(a) - cv.foundAt(b) || cv.foundOn(a) - cv.foundOn(b));
  }

  function isEmpty(): boolean {
    for (let w = 0; w < shape.runners; w++) if (found.first(w) !== 0) return false;
    return true;
  }

  return {
    note(v, p) {
      cv.setFoundAt(v, now());
      cv.setFoundOn(v, p + 1);
      cv.setNextFound(v, found.first(me));
      found.setFirst(me, v + 1);
    },
    isNoted: (v) => cv.foundOn(v) !== 0,
    forEach(act) {
      if (isEmpty()) return false;
      const [turnOf, at] = [machine.turnOf(me), now()];
      for (const v of takeAll()) {
        const p = cv.foundOn(v) - 1;
        cv.setFoundOn(v, 0);
        machine.setTurnOf(me, p);
        machine.setNow(me, cv.foundAt(v));
        act(v, p);
      }
      machine.setTurnOf(me, turnOf);
      machine.setNow(me, at);
      return true;
    },
  };
}
