/**
 * A machine on the test's own thread: the bare loop root → turn, without workers or protocol. Its hash must be that of
 * the real one, so tests of hypervisor and guests can look at any record between two turns.
 */
import { type BuiltMachine, buildMachine } from '../../src/machine/build.js';
import { collect } from '../../src/machine/collect.js';
import { type GuestConfig, type MachineConfig, machineDefaults } from '../../src/machine/config.js';
import type { RunResult } from '../../src/machine/result.js';
import { CONTROL, OUTCOME } from '../../src/pcpu/control-records.js';
import { NEXT } from '../../src/pcpu/run-ahead.js';
import { x86Executor } from '../../src/pcpu/x86/executor.js';
import { parseRtApp } from '../../src/workload/rt-app.js';
import type { Workload } from '../../src/workload/workload.js';

/** A workload from the `tasks` object of an rt-app file. */
export const workload = (tasks: object, global: object = {}): Workload =>
  parseRtApp(JSON.stringify({ tasks, global }), 'test.json');

/** One task that computes for ever. */
export const hog = (): Workload => workload({ hog: { run: 1_000_000 } });

export const guest = (over: Partial<GuestConfig> & { workload: Workload }): GuestConfig => ({
  name: 'guest',
  vcpus: 1,
  memoryMib: 64,
  weight: 256,
  cap: 0,
  cpus: [],
  cpusSoft: [],
  abi: 64,
  ...over,
});

export const machineConfig = (over: Partial<MachineConfig> & { guests: readonly GuestConfig[] }): MachineConfig => ({
  ...machineDefaults(over.profile ?? 'modern'),
  pcpus: 1,
  threads: 1,
  durationNs: 1e9,
  memoryMib: 65536,
  // Nothing drawn: VCPUs boot where a test expects them.
  seed: 0,
  debug: true,
  ...over,
});

export interface Simulation {
  readonly built: BuiltMachine;
  /** Takes turns up to `ns` (default: the horizon), or until nothing is left to do. */
  run(ns?: number, afterTurn?: (pcpu: number, ns: number) => void): void;
  result(): RunResult;
}

export function simulate(config: MachineConfig): Simulation {
  const built = buildMachine(config, 1, undefined, x86Executor);
  const { keys, turns, hv, ahead } = built.core;
  const { machine, floors } = hv.context;
  return {
    built,
    run(ns = config.durationNs, afterTurn) {
      // As `Machine.runUntil`.
      if (!Number.isInteger(ns) && ns !== Number.POSITIVE_INFINITY)
        throw new RangeError(`${ns} is no time in whole ns`);
      for (;;) {
        const next = ahead?.isAny() === true ? ahead.advance(ns) : NEXT.turn;
        if (next === NEXT.again) continue;
        const p = keys.root();
        const t = next === NEXT.level ? ns : keys.key(p);
        if (t >= ns) {
          const idle = t === Infinity || (ns >= config.durationNs && !hv.time.isAnythingLeft());
          const end = idle ? machine.worked(0) : ns;
          machine.setNow(0, end);
          floors.setFloor(0, end);
          built.image.table(CONTROL).setOutcome(0, idle ? OUTCOME.idle : OUTCOME.horizon);
          return;
        }
        floors.setFloor(0, t);
        turns.take(p);
        afterTurn?.(p, t);
      }
    },
    result: () => collect(built, config, { startMs: 0, runMs: 0 }),
  };
}
