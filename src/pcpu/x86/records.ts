/** What x86 guests need of the image; nothing where there are none. */
import { type Region, rawRegion } from '../../shared/image.js';
import { busRegion } from './bus-lock.js';
import { debuggerRegions } from './debugger-records.js';
import { ENTRIES_BYTES } from './entry-table.js';
import { STATE_BYTES, TLB_BYTES } from './state.js';

export interface X86Shape {
  /** VCPUs of the machine, of whatever domain; 0 = there are no x86 guests. */
  readonly vcpus: number;
  readonly pcpus: number;
  readonly workers: number;
  /** Frames of machine memory. */
  readonly frames: number;
}

/** Room for decoded code, of each worker. */
export const CODE_BYTES = 16 << 20;

export function x86Regions({ vcpus, pcpus, workers, frames }: X86Shape): Region[] {
  if (vcpus === 0) return [];
  return [
    // Owner: the pCPU that the VCPU runs on.
    rawRegion('x86-vcpu', STATE_BYTES, vcpus),
    // Owner: the pCPU whose turn it is. Where its kernel is entered (entries.ts).
    rawRegion('x86-entries', ENTRIES_BYTES, vcpus),
    // Owner: whoever runs the pCPU's code.
    rawRegion('x86-tlb', TLB_BYTES, 2 * pcpus),
    // Each worker's own.
    rawRegion('x86-code', CODE_BYTES, workers),
    // Atomics (code-cache.ts).
    rawRegion('x86-code-frames', 4, 2 + frames),
    // Atomics (bus-lock.ts).
    busRegion(workers),
    ...debuggerRegions(vcpus, workers),
  ];
}
