import { CONTROL, OUTCOME } from '../pcpu/control-records.js';
import type { BuiltMachine } from './build.js';

/**
 * When the run ended, ns. In free mode some pCPU's clock may have gone past the horizon in its last turn: then that is the
 * end for all, so that everybody's runstates sum to the same.
 */
export function endOf({ image, core, params, shape }: BuiltMachine): number {
  const { floors, pcpu } = core.hv.context;
  if (params.hv.free === undefined) return floors.floor(0);
  const ends = Array.from({ length: shape.hv.pcpus }, (_, p) => pcpu.turnedAt(p));
  const outcome = image.table(CONTROL).outcome(0);
  return Math.max(0, outcome === OUTCOME.horizon ? params.horizonNs : 0, ...ends);
}
