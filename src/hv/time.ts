/**
 * Time as guests see it (S10–S15): the time page of a VCPU, the wall clock of a domain. Both are written with the
 * version-counter protocol, so that a reader on another pCPU never takes half of an update for a whole one.
 */
import { cyclesAt, highHalf, lowHalf, scaleOf } from '../shared/clock.js';
import { offsetsOf } from '../shared/public/layout.js';
import { XEN_PVCLOCK_TSC_STABLE_BIT } from '../shared/public/xen.js';
import { shared_info, vcpu_info, vcpu_time_info } from '../shared/public/xen-layout.js';
import type { HvContext } from './context.js';

/** Period of the time calibration, ns (Xen's EPOCH). */
export const EPOCH_NS = 1e9;

export interface TimeKeeping {
  /** Stamps the time page of VCPU v (and its secondary copy) with now. At switch-in and at each calibration. */
  update(v: number): void;
  /** Stamps the wall clock of a domain: UTC at system time 0. */
  updateWallClock(d: number): void;
}

const TIME_OFFSET = offsetsOf(vcpu_info, 64).time;
const T = offsetsOf(vcpu_time_info, 64);

export function timeKeeping({ image, vcpu, domain, params, version, now }: HvContext): TimeKeeping {
  const { i32 } = image;
  const hz = params.cycleHz;
  const { mul, shift } = scaleOf(hz);
  const MUL = mul | 0;
  const SHIFT_AND_FLAGS = (shift & 0xff) | (XEN_PVCLOCK_TSC_STABLE_BIT << 8);
  const { tsc_timestamp, system_time, tsc_to_system_mul, tsc_shift } = T;
  const bootS = Math.floor(params.bootTimeS);
  const bootNs = Math.floor((params.bootTimeS - bootS) * 1e9);

  function stamp(page: number): void {
    const w = page >> 2;
    const t = now();
    const tsc = cyclesAt(t, hz);
    version.beginUpdate(w);
    i32[w + (tsc_timestamp >> 2)] = lowHalf(tsc);
    i32[w + (tsc_timestamp >> 2) + 1] = highHalf(tsc);
    i32[w + (system_time >> 2)] = lowHalf(t);
    i32[w + (system_time >> 2) + 1] = highHalf(t);
    i32[w + (tsc_to_system_mul >> 2)] = MUL;
    i32[w + (tsc_shift >> 2)] = SHIFT_AND_FLAGS;
    version.endUpdate(w);
  }

  return {
    update(v) {
      stamp(vcpu.infoAddr(v) + TIME_OFFSET);
      const copy = vcpu.timeAddr(v);
      if (copy !== 0) stamp(copy);
    },
    updateWallClock(d) {
      const is64 = domain.width(d) === 64;
      const at = is64 ? offsetsOf(shared_info, 64) : offsetsOf(shared_info, 32);
      const secHi = is64 ? offsetsOf(shared_info, 64).wc_sec_hi : offsetsOf(shared_info, 32)['arch.wc_sec_hi'];
      const page = domain.sharedInfo(d);
      const w = (page + at.wc_version) >> 2;
      version.beginUpdate(w);
      i32[(page + at.wc_sec) >> 2] = lowHalf(bootS);
      i32[(page + at.wc_nsec) >> 2] = bootNs;
      i32[(page + secHi) >> 2] = highHalf(bootS);
      version.endUpdate(w);
    },
  };
}
