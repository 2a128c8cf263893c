/** What a toolstack asks of a machine that stands: its domains and their VCPUs, read out of the image. */
import { HARD, SOFT } from '../balancer/run-queues.js';
import type { SedfSpec } from '../hv/domain.js';
import { DOMAIN_STATE, VPF_domain_paused, VPF_down, VPF_paused } from '../hv/records.js';
import { PAGES_PER_MIB } from '../shared/image.js';
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
  const { masks, entry } = queues;
  const all = Array.from({ length: shape.pcpus }, (_, p) => p);
  const given = (v: number, step: number): number[] => all.filter((p) => masks.has(queues.givenAffinity(v, step), p));
  const at = Math.min(nowNs, params.horizonNs);

  function vcpuInfo(v: number): VcpuInfo {
    const state = vcpu.runstate(v);
    const flags = vcpu.pauseFlags(v);
    return {
      id: vcpu.id(v),
      online: (flags & VPF_down) === 0,
      running: state === RUNSTATE_running,
      blocked: state === RUNSTATE_blocked,
      paused: (flags & (VPF_paused | VPF_domain_paused)) !== 0,
      pcpu: entry.processor(v),
      timeNs: runstates.timeIn(v, RUNSTATE_running, at),
      hard: given(v, HARD),
      // One that narrows nothing is none.
      soft: entry.hasSoftAffinity(v) !== 0 ? given(v, SOFT) : all,
    };
  }

  return config.guests.flatMap(({ name }, n) => {
    const d = domainNumber(config.guests, n);
    // Destroyed; the record may be another's by now.
    if (domain.state(d) === DOMAIN_STATE.free || domain.id(d) !== d) return [];
    const vcpus = Array.from({ length: domain.maxVcpus(d) }, (_, k) => vcpuInfo(domain.firstVcpu(d) + k));
    const shutDown = domain.isShutDown(d) !== 0;
    return {
      id: d,
      name,
      memoryMib: Math.round(domain.totPages(d) / PAGES_PER_MIB),
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
