/** Grants put together: tables, what is mapped of them, and who has to know. */
import type { HvContext } from '../context.js';
import type { Frames } from '../frames.js';
import type { MachineMemory } from '../mm/memory.js';
import type { Smp } from '../smp.js';
import { type Exposure, exposure } from './exposure.js';
import { type Mappings, mappings } from './mappings.js';
import { GRANT_TABLE } from './records.js';
import { type GrantTables, grantTables } from './table.js';

export interface Grants {
  readonly tables: GrantTables;
  readonly mappings: Mappings;
  readonly exposure: Exposure;
  /** Before a VCPU of domain d is let run beside the turns, in one of its own. */
  settle(d: number): void;
  /** All TLBs of domain d. */
  flush(d: number): void;
}

export interface GrantParts {
  readonly mm: MachineMemory;
  readonly smp: Smp;
  readonly frames: Frames;
  readonly flushTlb: (v: number, page: bigint | undefined) => void;
}

export function grants(hv: HvContext, { mm, smp, frames, flushTlb }: GrantParts): Grants {
  const { domain, image } = hv;
  const table = image.table(GRANT_TABLE);
  function flush(d: number): void {
    for (let k = 0; k < domain.maxVcpus(d); k++) flushTlb(domain.firstVcpu(d) + k, undefined);
  }
  const tables = grantTables(hv, mm);
  const seen = exposure(hv, { types: mm.tables.types, smp, flush });
  return {
    tables,
    mappings: mappings(hv, { mm, tables, exposure: seen, frames }),
    exposure: seen,
    settle(d) {
      if (table.untold(d) !== 0) mm.locked(d, () => seen.tell(d));
    },
    flush,
  };
}
