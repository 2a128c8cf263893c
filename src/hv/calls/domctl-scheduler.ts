/**
 * domctl's scheduler_op: a domain's parameters under the policy that the machine runs, and a VCPU's where the policy has them. A
 * policy is one entry here: its number, and how its structure is read and written; one without parameters has the number alone.
 */
import { MAX_SEDF_PERIOD_NS, MAX_WEIGHT, MIN_SEDF_PERIOD_NS, MIN_SEDF_SLICE_NS } from '../../shared/limits.js';
import * as D from '../../shared/public/domctl.js';
import { xen_domctl, xen_domctl_schedparam_vcpu } from '../../shared/public/domctl-layout.js';
import { XEN_EFAULT, XEN_EINVAL } from '../../shared/public/errno.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import { XEN_SCHEDULER_SEDF, xen_domctl_sched_sedf } from '../../shared/sedf-abi.js';
import { FAULT } from '../guest-memory.js';
import type { CallParts } from './call.js';
import type { DomctlHandler, Toolstack } from './toolstack.js';

/** Parameters of a domain: `at` is where the policy's own structure stands, in the caller's frames. 0 or a negated errno. */
interface DomainParameters {
  get(d: number, at: number): void;
  put(d: number, at: number): number;
}

/** Parameters of VCPU v; `at` is the union in xen_domctl_schedparam_vcpu. `check` is asked of all before any is put. */
interface VcpuParameters {
  get(v: number, at: number): void;
  check(v: number, at: number): number;
  put(v: number, at: number): void;
}

interface PolicyAbi {
  /** XEN_SCHEDULER_* */
  readonly id: number;
  readonly domain?: DomainParameters;
  readonly vcpu?: VcpuParameters;
}

/** A cap of all ones leaves the cap as it is, as a weight of 0 leaves the weight. */
const KEEP_CAP = 0xffff;

/** Credit's and credit2's structures are alike: u16 weight, u16 cap. */
function weightAndCap({ context, memory, sched }: CallParts): DomainParameters {
  const { domain } = context;
  return {
    get(d, at) {
      memory.setU16(at, domain.weight(d));
      memory.setU16(at + 2, domain.cap(d));
    },
    put(d, at) {
      const [weight, cap] = [memory.u16(at), memory.u16(at + 2)];
      if (weight !== 0) domain.setWeight(d, weight);
      if (cap !== KEEP_CAP) domain.setCap(d, cap);
      sched.ops.adjust(d);
      return 0;
    },
  };
}

function sedfParameters({ context, memory, sched, domains }: CallParts): DomainParameters {
  const { domain } = context;
  const AT = offsetsOf(xen_domctl_sched_sedf, 64);
  return {
    get(d, at) {
      memory.setU64(at + AT.period, domain.sedfPeriod(d));
      memory.setU64(at + AT.slice, domain.sedfSlice(d));
      memory.setU64(at + AT.latency, domain.sedfLatency(d));
      memory.setU32(at + AT.extratime, domain.sedfExtra(d));
      memory.setU32(at + AT.weight, domain.sedfWeight(d));
    },
    put(d, at) {
      const [periodNs, sliceNs] = [memory.u64(at + AT.period), memory.u64(at + AT.slice)];
      const latencyNs = memory.u64(at + AT.latency);
      const extratime = (memory.u32(at + AT.extratime) & 1) !== 0;
      const weight = memory.u32(at + AT.weight);
      if (weight > MAX_WEIGHT || latencyNs > MAX_SEDF_PERIOD_NS) return -XEN_EINVAL;
      // Whose share is computed from its weight needs no period of its own.
      const period = weight > 0 && periodNs === 0 ? domain.sedfPeriod(d) : periodNs;
      if (period < MIN_SEDF_PERIOD_NS || period > MAX_SEDF_PERIOD_NS || sliceNs > period) return -XEN_EINVAL;
      if (sliceNs !== 0 && sliceNs < MIN_SEDF_SLICE_NS) return -XEN_EINVAL;
      // One with neither slice nor weight lives on extra time, or not at all.
      if (sliceNs === 0 && weight === 0 && !extratime) return -XEN_EINVAL;
      domains.setSedf(d, { periodNs: period, sliceNs, latencyNs, extratime, weight });
      sched.ops.adjust(d);
      return 0;
    },
  };
}

/** Number of a policy that Xen does not have. */
export const UNKNOWN_SCHEDULER = 0;

const NUMBERS: Readonly<Record<string, number>> = {
  sedf: XEN_SCHEDULER_SEDF,
  credit: D.XEN_SCHEDULER_CREDIT,
  credit2: D.XEN_SCHEDULER_CREDIT2,
  rtds: D.XEN_SCHEDULER_RTDS,
  null: D.XEN_SCHEDULER_NULL,
};

/** XEN_SCHEDULER_* of a policy. */
export const schedulerId = (name: string): number => NUMBERS[name] ?? UNKNOWN_SCHEDULER;

export function domctlScheduler(parts: CallParts, tools: Toolstack): DomctlHandler {
  const { context, memory, sched } = parts;
  const { domain } = context;
  const AT = offsetsOf(xen_domctl, 64);
  const ITEM = offsetsOf(xen_domctl_schedparam_vcpu, 64);
  const ITEM_BYTES = sizeOf(xen_domctl_schedparam_vcpu, 64);

  const domainParameters: Readonly<Record<string, DomainParameters>> = {
    credit: weightAndCap(parts),
    credit2: weightAndCap(parts),
    sedf: sedfParameters(parts),
  };
  // None of today's policies has parameters of single VCPUs; rtds will.
  const vcpuParameters: Readonly<Record<string, VcpuParameters>> = {};
  /** Of the scheduler of the pool that domain d is in. */
  function policyOf(d: number): PolicyAbi {
    const { name } = sched.poolOps(domain.pool(d));
    const [own, vcpu] = [domainParameters[name], vcpuParameters[name]];
    return {
      id: schedulerId(name),
      ...(own === undefined ? {} : { domain: own }),
      ...(vcpu === undefined ? {} : { vcpu }),
    };
  }

  function ofVcpus(policy: PolicyAbi, v: number, op: number, d: number, puts: boolean): number {
    const count = memory.u32(op + AT['u.scheduler_op.u.v.nr_vcpus']);
    if (count < 1 || policy.vcpu === undefined) return -XEN_EINVAL;
    const items = tools.handle(v, op + AT['u.scheduler_op.u.v.vcpus'], count * ITEM_BYTES);
    if (items === FAULT) return -XEN_EFAULT;
    const targets: number[] = [];
    for (let k = 0; k < count; k++) {
      const item = items + k * ITEM_BYTES;
      const id = memory.u32(item + ITEM.vcpuid);
      if (id >= domain.maxVcpus(d)) return -XEN_EINVAL;
      const rc = puts ? policy.vcpu.check(domain.firstVcpu(d) + id, item) : 0;
      if (rc < 0) return rc;
      targets.push(domain.firstVcpu(d) + id);
    }
    for (const [k, target] of targets.entries()) {
      const item = items + k * ITEM_BYTES;
      if (puts) policy.vcpu.put(target, item);
      else policy.vcpu.get(target, item);
    }
    return 0;
  }

  return (v, op, d) => {
    const policy = policyOf(d);
    if (memory.u32(op + AT['u.scheduler_op.sched_id']) !== policy.id) return -XEN_EINVAL;
    const at = op + AT['u.scheduler_op.u'];
    switch (memory.u32(op + AT['u.scheduler_op.cmd'])) {
      case D.XEN_DOMCTL_SCHEDOP_getinfo:
        policy.domain?.get(d, at);
        return 0;
      case D.XEN_DOMCTL_SCHEDOP_putinfo:
        return policy.domain?.put(d, at) ?? 0;
      case D.XEN_DOMCTL_SCHEDOP_getvcpuinfo:
        return ofVcpus(policy, v, op, d, false);
      case D.XEN_DOMCTL_SCHEDOP_putvcpuinfo:
        return ofVcpus(policy, v, op, d, true);
      default:
        return -XEN_EINVAL;
    }
  };
}
