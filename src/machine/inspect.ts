/** What a toolstack asks of a machine that stands: its domains and their VCPUs, read out of the image. */
import { hardWish, softWish } from '../balancer/records.js';
import type { SedfSpec } from '../hv/domain.js';
import { VPF_down, VPF_paused } from '../hv/records.js';
import { SHUTDOWN_crash } from '../shared/public/sched.js';
import { RUNSTATE_blocked, RUNSTATE_running } from '../shared/public/vcpu.js';
import type { BuiltMachine } from './build.js';
import { domainNumber, type MachineConfig } from './config.js';

/** For those who may not know the hypervisor. */
export type { SedfSpec } from '../hv/domain.js';
export { type CpupoolView, type NewCpupool, XenError } from './cpupools.js';

export interface VcpuInfo {
  readonly id: number;
  readonly online: boolean;
  readonly running: boolean;
  readonly blocked: boolean;
  readonly paused: boolean;
  /** The pCPU it runs on, or ran on last. */
  readonly pcpu: number;
  /** Time it ran, ns. */
  readonly timeNs: number;
  /** Affinity as it was wished for, pCPU numbers. */
  readonly hard: readonly number[];
  readonly soft: readonly number[];
}

export interface DomainInfo {
  readonly id: number;
  readonly name: string;
  readonly memoryMib: number;
  readonly weight: number;
  readonly cap: number;
  /** Number of its cpupool. */
  readonly pool: number;
  /** What it is under the SEDF scheduler; times in ns. */
  readonly sedf: SedfSpec;
  /** All its VCPUs are held from outside. */
  readonly paused: boolean;
  readonly shutDown: boolean;
  readonly crashed: boolean;
  readonly vcpus: readonly VcpuInfo[];
}

/** @param nowNs where simulation time stands */
export function domainInfos({ core, params }: BuiltMachine, config: MachineConfig, nowNs: number): DomainInfo[] {
  const { context, runstates } = core.hv;
  const { domain, vcpu, queues, shape } = context;
  const { masks, word, entry } = queues;
  const all = Array.from({ length: shape.pcpus }, (_, p) => p);
  const cpus = (mask: number): number[] => all.filter((p) => masks.has(word(mask), p));
  const at = Math.min(nowNs, params.horizonNs);

  function vcpuInfo(v: number): VcpuInfo {
    const state = vcpu.runstate(v);
    const flags = vcpu.pauseFlags(v);
    return {
      id: vcpu.id(v),
      online: (flags & VPF_down) === 0,
      running: state === RUNSTATE_running,
      blocked: state === RUNSTATE_blocked,
      paused: (flags & VPF_paused) !== 0,
      pcpu: entry.processor(v),
      timeNs: runstates.timeIn(v, RUNSTATE_running, at),
      hard: cpus(hardWish(v)),
      soft: cpus(softWish(v)),
    };
  }

  return config.guests.map(({ name, memoryMib }, n) => {
    const d = domainNumber(config.guests, n);
    const vcpus = Array.from({ length: domain.maxVcpus(d) }, (_, k) => vcpuInfo(domain.firstVcpu(d) + k));
    const shutDown = domain.isShutDown(d) !== 0;
    return {
      id: d,
      name,
      memoryMib,
      weight: domain.weight(d),
      cap: domain.cap(d),
      pool: domain.pool(d),
      sedf: {
        periodNs: domain.sedfPeriod(d),
        sliceNs: domain.sedfSlice(d),
        latencyNs: domain.sedfLatency(d),
        extratime: domain.sedfExtra(d) !== 0,
        weight: domain.sedfWeight(d),
      },
      paused: vcpus.every((v) => v.paused),
      shutDown,
      crashed: shutDown && domain.shutdownCode(d) === SHUTDOWN_crash,
      vcpus,
    };
  });
}
