/**
 * Frames of other domains in domain 0's physical map (XENMAPSPACE_gmfn_foreign), as a domain 0 has them whose frame numbers the hypervisor
 * translates: a modelled kernel's. They are at numbers of their own, far above its memory. Such a frame stays writable memory, and its
 * domain's, as long as it is there; when its domain ends first, it is nobody's until it is taken out.
 *
 * Locking: places under the domctl lock, or in domain 0's own turn; the frame under the page lock of its domain.
 */
import { type Image, PAGE_SIZE } from '../../shared/image.js';
import { XEN_EINVAL, XEN_ENOENT } from '../../shared/public/errno.js';
import type { Frames, Kept } from '../frames.js';
import type { Exposure } from '../grants/exposure.js';
import { NOBODY } from '../records.js';
import type { MachineMemory } from './memory.js';
import { FOREIGN, FOREIGN_FIRST, FOREIGN_FRAMES, PGT } from './records.js';

/** @returns the image address of what is at a frame number of domain 0; 0: nothing is */
export function foreignPages(image: Image): (gpfn: number) => number {
  const foreign = image.table(FOREIGN);
  const frames = image.region('frames').base;
  return (gpfn) => {
    const n = gpfn - FOREIGN_FIRST;
    const mfn = n >= 0 && n < FOREIGN_FRAMES ? foreign.mfn(n) : 0;
    return mfn === 0 ? 0 : frames + (mfn - 1) * PAGE_SIZE;
  };
}

export interface ForeignFrames {
  /** @returns 0, or −EINVAL: there is no such number, or the frame is none of domain d's memory; `waits` as grants' mappings have it */
  map(gpfn: number, d: number, mfn: number): { readonly rc: number; readonly waits: boolean };
  /** @returns 0, or −ENOENT: nothing is there */
  unmap(gpfn: number): number;
  /** Domain d has ended. @returns its frames that are there still */
  end(d: number): readonly Kept[];
}

export function foreignFrames(
  image: Image,
  isOrdered: boolean,
  mm: Pick<MachineMemory, 'locked' | 'tables'>,
  exposure: Exposure,
  frames: Pick<Frames, 'putKept'>,
): ForeignFrames {
  const foreign = image.table(FOREIGN);
  const { types } = mm.tables;
  const isPlace = (n: number): boolean => n >= 0 && n < FOREIGN_FRAMES;

  function unmap(gpfn: number): number {
    const n = gpfn - FOREIGN_FIRST;
    if (!isPlace(n) || foreign.mfn(n) === 0) return -XEN_ENOENT;
    const [mfn, d] = [foreign.mfn(n) - 1, foreign.domain(n)];
    foreign.setMfn(n, 0);
    if (d === NOBODY) frames.putKept(mfn);
    else
      mm.locked(d, () => {
        exposure.unmap(d, mfn);
        types.putPageAndType(mfn);
      });
    return 0;
  }

  return {
    map(gpfn, d, mfn) {
      const n = gpfn - FOREIGN_FIRST;
      if (!isPlace(n)) return { rc: -XEN_EINVAL, waits: false };
      // What was there goes, as in any physical map.
      unmap(gpfn);
      return mm.locked(d, () => {
        const rc = types.getPageAndType(mfn, d, PGT.writable_page);
        if (rc !== 0) return { rc, waits: false };
        foreign.setMfn(n, mfn + 1);
        foreign.setDomain(n, d);
        return { rc, waits: exposure.map(d, mfn) };
      });
    },
    unmap,
    end(d) {
      const kept = new Map<number, number>();
      for (let n = 0; n < FOREIGN_FRAMES; n++) {
        if (foreign.mfn(n) === 0 || foreign.domain(n) !== d) continue;
        foreign.setDomain(n, NOBODY);
        kept.set(foreign.mfn(n) - 1, (kept.get(foreign.mfn(n) - 1) ?? 0) + 1);
      }
      return [...kept].map(([mfn, references]) => ({ mfn, references, isShared: isOrdered }));
    },
  };
}
