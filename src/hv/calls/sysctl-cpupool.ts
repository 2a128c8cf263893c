/**
 * sysctl: cpupools (Xen's cpupool_do_sysctl). In free mode what concerns all workers happens at the end of the turn (deferred.ts): then
 * the answer is what can be seen before.
 */
import * as E from '../../shared/public/errno.js';
import { offsetsOf } from '../../shared/public/layout.js';
import * as S from '../../shared/public/sysctl.js';
import { xen_sysctl } from '../../shared/public/sysctl-layout.js';
import { ANY, type CpupoolInfo } from '../cpupool.js';
import { NOBODY } from '../records.js';
import type { CallParts } from './call.js';
import { schedulerId } from './domctl-scheduler.js';
import type { SysctlHandler, Toolstack } from './toolstack.js';

export function sysctlCpupool(parts: CallParts, tools: Toolstack): SysctlHandler {
  const { context, memory, cpupools, domains, deferred, smp } = parts;
  const { params, isOrdered, machine, domain, vcpu, me } = context;
  const AT = offsetsOf(xen_sysctl, 64);

  const numberAt = (at: number): number => {
    const n = memory.u32(at);
    return n === S.XEN_SYSCTL_CPUPOOL_PAR_ANY ? ANY : n;
  };
  const poolOf = (id: number): CpupoolInfo | undefined => {
    const found = cpupools.info(id);
    return found?.id === id ? found : undefined;
  };

  /** Does it now, or says what stands against it and does it at the end of the turn. */
  function carryOut(check: () => number, act: () => number): number {
    if (isOrdered) return act();
    const rc = check();
    if (rc >= 0) deferred.alone(act);
    return rc;
  }

  function create(op: number): number {
    const asked = numberAt(op + AT['u.cpupool_op.cpupool_id']);
    const number = memory.u32(op + AT['u.cpupool_op.sched_id']);
    // 0 is whichever the host was booted with.
    const policy = params.policies.findIndex((name) =>
      number === 0 ? name === params.scheduler : schedulerId(name) === number,
    );
    const { tsliceNs, ratelimitNs, migrationDelayNs } = params;
    const spec = { policy, tsliceNs, ratelimitNs, migrationDelayNs };
    const id = carryOut(
      () => (policy < 0 ? -E.XEN_EINVAL : asked !== ANY && poolOf(asked) !== undefined ? -E.XEN_EEXIST : asked),
      () => cpupools.create(spec, asked),
    );
    if (id < 0) return id;
    memory.setU32(op + AT['u.cpupool_op.cpupool_id'], id);
    return 0;
  }

  function destroy(op: number): number {
    const id = numberAt(op + AT['u.cpupool_op.cpupool_id']);
    return carryOut(
      () => {
        const pool = poolOf(id);
        if (pool === undefined) return -E.XEN_ENOENT;
        return id === 0 || pool.cpus.length > 0 || pool.domains > 0 ? -E.XEN_EBUSY : 0;
      },
      () => cpupools.destroy(id),
    );
  }

  function info(v: number, op: number): number {
    const pool = cpupools.info(numberAt(op + AT['u.cpupool_op.cpupool_id']));
    if (pool === undefined) return -E.XEN_ENOENT;
    const map = tools.bitmap(v, op + AT['u.cpupool_op.cpumap']);
    if (map === undefined) return -E.XEN_EFAULT;
    memory.setU32(op + AT['u.cpupool_op.cpupool_id'], pool.id);
    memory.setU32(op + AT['u.cpupool_op.sched_id'], schedulerId(params.policies[pool.policy] ?? ''));
    memory.setU32(op + AT['u.cpupool_op.n_dom'], pool.domains);
    map.write(pool.cpus);
    return 0;
  }

  function addCpu(op: number): number {
    const [id, p] = [numberAt(op + AT['u.cpupool_op.cpupool_id']), numberAt(op + AT['u.cpupool_op.cpu'])];
    return carryOut(
      () => {
        if (p !== ANY && !cpupools.freeCpus().includes(p)) return -E.XEN_EBUSY;
        return poolOf(id) === undefined ? -E.XEN_ENOENT : 0;
      },
      () => cpupools.addCpu(id, p),
    );
  }

  function removeCpu(op: number): number {
    const [id, asked] = [numberAt(op + AT['u.cpupool_op.cpupool_id']), numberAt(op + AT['u.cpupool_op.cpu'])];
    const pool = poolOf(id);
    if (pool === undefined) return -E.XEN_ENOENT;
    const p = asked === ANY ? (pool.cpus.at(-1) ?? ANY) : asked;
    if (!pool.cpus.includes(p)) return -E.XEN_EADDRNOTAVAIL;
    if (cpupools.isLast(p)) return -E.XEN_EBUSY;
    // Another worker's pCPU cannot be emptied from here.
    if (!smp.isMine(p)) return -E.XEN_EBUSY;
    if (isOrdered && p !== machine.turnOf(me)) return cpupools.removeCpu(id, p);
    // The caller itself leaves it: when the hypercall is over.
    deferred.later(() => cpupools.removeCpu(id, p));
    return 0;
  }

  function moveDomain(v: number, op: number): number {
    const id = numberAt(op + AT['u.cpupool_op.cpupool_id']);
    const d = domains.find(memory.u32(op + AT['u.cpupool_op.domid']));
    if (d === NOBODY) return -E.XEN_ESRCH;
    if (d === vcpu.domain(v)) return -E.XEN_EPERM;
    return carryOut(
      () => {
        const pool = poolOf(id);
        if (pool === undefined || pool.cpus.length === 0) return -E.XEN_ENOENT;
        return domains.isAlive(d) && domain.isShutDown(d) === 0 ? 0 : -E.XEN_EBUSY;
      },
      () => cpupools.moveDomain(d, id),
    );
  }

  function freeInfo(v: number, op: number): number {
    const map = tools.bitmap(v, op + AT['u.cpupool_op.cpumap']);
    if (map === undefined) return -E.XEN_EFAULT;
    map.write(cpupools.freeCpus());
    return 0;
  }

  return (v, op) => {
    // Xen 3.0.4 knew no pools.
    if (params.profile === 'classic') return -E.XEN_ENOSYS;
    switch (memory.u32(op + AT['u.cpupool_op.op'])) {
      case S.XEN_SYSCTL_CPUPOOL_OP_CREATE:
        return create(op);
      case S.XEN_SYSCTL_CPUPOOL_OP_DESTROY:
        return destroy(op);
      case S.XEN_SYSCTL_CPUPOOL_OP_INFO:
        return info(v, op);
      case S.XEN_SYSCTL_CPUPOOL_OP_ADDCPU:
        return addCpu(op);
      case S.XEN_SYSCTL_CPUPOOL_OP_RMCPU:
        return removeCpu(op);
      case S.XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN:
        return moveDomain(v, op);
      case S.XEN_SYSCTL_CPUPOOL_OP_FREEINFO:
        return freeInfo(v, op);
      default:
        return -E.XEN_ENOSYS;
    }
  };
}
