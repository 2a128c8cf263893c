/**
 * Frames of other domains in domain 0's physical map (XENMAPSPACE_gmfn_foreign), as a domain 0 has them whose frame numbers the hypervisor
 * translates: a modelled kernel's. They are at numbers of their own, far above its memory. Such a frame stays writable memory, and its
 * domain's, as long as it is there; when its domain ends first, it is nobody's until it is taken out.
 *
 * Locking: the frame under the page lock of its domain, then the place under that of domain 0, or the other way round; never both.
 */
import type { Image } from '../../shared/image.js';
import { XEN_EINVAL, XEN_ENOENT } from '../../shared/public/errno.js';
import type { Frames, Kept } from '../frames.js';
import type { Exposure } from '../grants/exposure.js';
import { NOBODY } from '../records.js';
import type { MachineMemory } from './memory.js';
import { FOREIGN, FOREIGN_FIRST, FOREIGN_FRAMES, PGT } from './records.js';

export interface ForeignFrames {
  /** @returns 0, or −EINVAL: there is no such number, or the frame is none of domain d's memory; `waits` as grants' mappings have it */
  map(gpfn: number, d: number, mfn: number): { readonly rc: number; readonly waits: boolean };
  /** @returns 0, or −ENOENT: nothing is there */
  unmap(gpfn: number): number;
  /** Image address of what domain 0 has there, which it may write as its own; 0: nothing. */
  pageAt(gpfn: number): number;
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

  /** Puts a frame there, or nothing: −1. Two VCPUs of domain 0 may want the same place. @returns what was there, which is let go */
  function replace(n: number, mfn: number, d: number): number {
    const [was, of] = mm.locked(0, () => {
      const before = [foreign.mfn(n) - 1, foreign.domain(n)] as const;
      foreign.setMfn(n, mfn + 1);
      foreign.setDomain(n, d);
      return before;
    });
    if (was >= 0 && of === NOBODY) frames.putKept(was);
    else if (was >= 0)
      mm.locked(of, () => {
        exposure.unmap(of, was);
        types.putPageAndType(was);
      });
    return was;
  }

  return {
    map(gpfn, d, mfn) {
      const n = gpfn - FOREIGN_FIRST;
      if (!isPlace(n)) return { rc: -XEN_EINVAL, waits: false };
      const result = mm.locked(d, () => {
        const rc = types.getPageAndType(mfn, d, PGT.writable_page);
        return { rc, waits: rc === 0 && exposure.map(d, mfn) };
      });
      // What was there goes, as in any physical map.
      if (result.rc === 0) replace(n, mfn, d);
      return result;
    },
    unmap(gpfn) {
      const n = gpfn - FOREIGN_FIRST;
      return isPlace(n) && replace(n, -1, 0) >= 0 ? 0 : -XEN_ENOENT;
    },
    pageAt(gpfn) {
      const n = gpfn - FOREIGN_FIRST;
      return isPlace(n) && foreign.mfn(n) !== 0 ? mm.tables.frame(foreign.mfn(n) - 1) : 0;
    },
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
