/** The loads that benchmarks run: VCPUs of short run and block phases, all slightly different, at full use of the host. */
import { type GuestConfig, MACHINE_DEFAULTS, type MachineConfig } from '../src/machine/config.js';
import { parseRtApp } from '../src/workload/rt-app.js';

/** Four VCPUs a pCPU at 25 % each: queues are short but rarely empty, the worst case for a scheduler's bookkeeping. */
/** @param pools into how many the machine is split; the VCPUs of each are pinned to its pCPUs */
export function shortPhases(pcpus: number, vcpus: number, pools = 1): GuestConfig[] {
  const poolOf = (n: number): number => Math.floor((n * pools) / vcpus);
  const all = Array.from({ length: pcpus }, (_, p) => p);
  return Array.from({ length: vcpus }, (_, n) => ({
    name: `d${n}`,
    vcpus: 1,
    memoryMib: 16,
    weight: 256,
    cap: 0,
    cpus: pools === 1 ? [] : [all.filter((p) => Math.floor((p * pools) / pcpus) === poolOf(n))],
    cpusSoft: [],
    abi: 64,
    workload: parseRtApp(
      JSON.stringify({
        tasks: { t: { run: 50 + (n % 7) * 5, sleep: Math.round(((150 + (n % 5) * 20) * vcpus) / (4 * pcpus)) } },
      }),
      'bench',
    ),
  }));
}

export const benchConfig = (over: Partial<MachineConfig> & Pick<MachineConfig, 'pcpus' | 'guests'>): MachineConfig => ({
  ...MACHINE_DEFAULTS,
  threads: 1,
  memoryMib: 1048576,
  durationNs: 1e9,
  ...over,
});
