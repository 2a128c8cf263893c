/**
 * Frames that other domains have mapped. In ordered mode their own domain touches them in turns only, as all shared memory, and must not
 * have translations of them left that let it do otherwise.
 *
 * Its VCPU may be running ahead of the turns just now, by less than L, and what another pCPU does must reach it no sooner. So it is told by
 * a turn of its own pCPU, L later at most, and who maps the frame waits until no run of its own can have begun that was limited by
 * something before that turn: two L, as if the flush was asked for and acknowledged. That a frame is not mapped any more it learns when it
 * next comes to a turn by itself, without anybody's wait. A domain whose VCPUs run in turns only, or not just now, is told at once.
 *
 * In free mode memory is shared as it is, and nobody needs to know.
 *
 * Locking: the page lock of the frame's owner.
 */
import type { HvContext } from '../context.js';
import type { PageTypes } from '../mm/page-types.js';
import type { Smp } from '../smp.js';
import { GRANT_TABLE, GRANTED } from './records.js';

export interface Exposure {
  /** Another domain maps a frame of d's. @returns whether it has to wait for d to be told, `WAITS` L */
  map(d: number, mfn: number): boolean;
  unmap(d: number, mfn: number): void;
  /** In a turn of the VCPU of a domain that has one: it is told all that it has not been told yet. */
  tell(d: number): void;
  /** Nobody has to be told of frames of d any more. */
  forget(d: number): void;
}

/** How long who maps a frame waits for its owner to be told, in L. */
export const WAITS = 2;

export interface ExposureParts {
  readonly types: PageTypes;
  readonly smp: Pick<Smp, 'self' | 'keyMoved'>;
  /** All TLBs of domain d. */
  readonly flush: (d: number) => void;
}

export function exposure(
  { image, domain, pcpu, queues, params, now, isOrdered }: HvContext,
  { types, smp, flush }: ExposureParts,
): Exposure {
  const table = image.table(GRANT_TABLE);
  const granted = image.table(GRANTED);
  const END = -1;

  /** The pCPU beside whose turns d's VCPU may be running; −1: it runs in turns, or not at all. */
  function pcpuOf(d: number): number {
    const v = domain.firstVcpu(d);
    const p = queues.entry.processor(v);
    const isBeside = isOrdered && domain.maxVcpus(d) === 1 && queues.entry.isRunning(v) !== 0 && p !== smp.self();
    return isBeside ? p : -1;
  }

  function addUntold(d: number, mfn: number): void {
    if (granted.next(mfn) !== 0) return;
    granted.setNext(mfn, table.untold(d) === 0 ? END : table.untold(d));
    table.setUntold(d, mfn + 1);
  }

  return {
    map(d, mfn) {
      granted.addMaps(mfn, 1);
      if (!isOrdered || types.isShared(mfn)) return false;
      const p = pcpuOf(d);
      if (p < 0) {
        types.setGranted(mfn, true);
        flush(d);
        return false;
      }
      addUntold(d, mfn);
      const soonest = now() + params.latencyNs;
      if (pcpu.guestAt(p) > soonest) {
        pcpu.setGuestAt(p, soonest);
        smp.keyMoved(p);
      }
      return true;
    },
    unmap(d, mfn) {
      granted.addMaps(mfn, -1);
      if (!isOrdered || granted.maps(mfn) > 0) return;
      if (pcpuOf(d) < 0) types.setGranted(mfn, false);
      else addUntold(d, mfn);
    },
    tell(d) {
      let isMore = false;
      for (let mfn = table.untold(d) - 1, next = 0; mfn >= 0; mfn = next - 1) {
        next = Math.max(0, granted.next(mfn));
        granted.setNext(mfn, 0);
        const isMapped = granted.maps(mfn) > 0;
        if (isMapped && !types.isShared(mfn)) isMore = true;
        types.setGranted(mfn, isMapped);
      }
      table.setUntold(d, 0);
      if (isMore) flush(d);
    },
    forget(d) {
      for (let mfn = table.untold(d) - 1, next = 0; mfn >= 0; mfn = next - 1) {
        next = Math.max(0, granted.next(mfn));
        granted.setNext(mfn, 0);
      }
      table.setUntold(d, 0);
    },
  };
}
