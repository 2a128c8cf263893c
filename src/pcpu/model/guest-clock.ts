/**
 * The guest's clock: system time from the page the hypervisor stamps and the cycle counter, and from nothing else. A
 * corrupted page gives a wrong time here and makes the guest misbehave, as it would a real one.
 */
import type { HvContext } from '../../hv/context.js';
import { fromHalves, scaleDelta } from '../../shared/clock.js';
import { oscillators } from '../../shared/oscillator.js';
import { offsetsOf } from '../../shared/public/layout.js';
import { vcpu_info, vcpu_time_info } from '../../shared/public/xen-layout.js';

const TIME = offsetsOf(vcpu_info, 64).time;
const T = offsetsOf(vcpu_time_info, 64);

/** @returns system time, ns, as the guest with its vcpu_info at image address `info` reads it now */
export function guestClock({
  image,
  machine,
  params,
  version: versions,
  me,
  now,
}: HvContext): (info: number) => number {
  const { i32 } = image;
  const counters = oscillators(image);
  // On purpose: a negative delta read as an unsigned one.
  const isUnsigned = params.timing.inject?.kind === 'unsigned-delta';
  const TSC = T.tsc_timestamp >> 2;
  const SYSTEM = T.system_time >> 2;
  const MUL = T.tsc_to_system_mul >> 2;
  const SHIFT = T.tsc_shift >> 2;

  return (info) => {
    const w = (info + TIME) >> 2;
    for (let attempt = 0; ; attempt++) {
      const version = versions.readVersion(w);
      const delta = counters.read(machine.turnOf(me), now()) - fromHalves(i32[w + TSC]!, i32[w + TSC + 1]!);
      const ns = fromHalves(i32[w + SYSTEM]!, i32[w + SYSTEM + 1]!);
      const mul = i32[w + MUL]! >>> 0;
      const shift = (i32[w + SHIFT]! << 24) >> 24;
      // A page left odd for ever belongs to a hypervisor that died in an update; a guest would spin. We may not.
      if (versions.isConsistent(w, version) || attempt === 1000)
        return (
          ns +
          (delta > 0
            ? scaleDelta(delta, mul, shift)
            : isUnsigned && delta < 0
              ? scaleDelta(delta + 2 ** 64, mul, shift)
              : 0)
        );
    }
  };
}
