/** sysctl: the scheduler as a whole: which it is, and what can be changed of it at run time. */
import { XEN_EINVAL, XEN_ENOSYS, XEN_ESRCH } from '../../shared/public/errno.js';
import { offsetsOf } from '../../shared/public/layout.js';
import * as S from '../../shared/public/sysctl.js';
import { xen_sysctl } from '../../shared/public/sysctl-layout.js';
import type { SchedulerOps } from '../sched/interface.js';
import type { CallParts } from './call.js';
import { schedulerId } from './domctl-scheduler.js';
import type { SysctlHandler } from './toolstack.js';

export function sysctlScheduler({ context, memory, sched, cpupools, console }: CallParts) {
  const { params } = context;
  const AT = offsetsOf(xen_sysctl, 64);

  const schedId: SysctlHandler = (_v, op) => {
    memory.setU32(op + AT['u.sched_id.sched_id'], schedulerId(params.scheduler));
    return 0;
  };

  const CREDIT = AT['u.scheduler_op.u.sched_credit.ratelimit_us'];
  const CREDIT2 = AT['u.scheduler_op.u.sched_credit2.ratelimit_us'];
  /** credit2 has a ratelimit and nothing else. */
  const isOfCredit2 = ({ name }: SchedulerOps): boolean => name === 'credit2';

  /** Milliseconds and microseconds, within the bounds of sysctl.h. */
  function put(op: number, ops: SchedulerOps): number {
    const { settings } = ops;
    const isCredit2 = isOfCredit2(ops);
    const ratelimitUs = memory.u32(op + (isCredit2 ? CREDIT2 : CREDIT));
    const tsliceMs = isCredit2 ? 0 : memory.u32(op + AT['u.scheduler_op.u.sched_credit.tslice_ms']);
    const delayUs = isCredit2 ? 0 : memory.u32(op + AT['u.scheduler_op.u.sched_credit.vcpu_migr_delay_us']);
    const isRateFine =
      ratelimitUs === 0 ||
      (ratelimitUs >= S.XEN_SYSCTL_SCHED_RATELIMIT_MIN &&
        ratelimitUs <= S.XEN_SYSCTL_SCHED_RATELIMIT_MAX &&
        (isCredit2 || ratelimitUs <= tsliceMs * 1000));
    const isSliceFine =
      isCredit2 || (tsliceMs >= S.XEN_SYSCTL_CSCHED_TSLICE_MIN && tsliceMs <= S.XEN_SYSCTL_CSCHED_TSLICE_MAX);
    const isFine = isSliceFine && isRateFine && delayUs <= S.XEN_SYSCTL_CSCHED_MGR_DLY_MAX_US;
    if (!isFine || settings === undefined) return -XEN_EINVAL;
    if (settings.ratelimitNs() > 0 !== ratelimitUs > 0) {
      console.print(`${ratelimitUs > 0 ? 'Enabling' : 'Disabling'} context switch rate limiting`);
    }
    settings.set(tsliceMs * 1e6, ratelimitUs * 1e3, delayUs * 1e3);
    return 0;
  }

  const schedulerOp: SysctlHandler = (_v, op) => {
    const cmd = memory.u32(op + AT['u.scheduler_op.cmd']);
    if (cmd !== S.XEN_SYSCTL_SCHEDOP_putinfo && cmd !== S.XEN_SYSCTL_SCHEDOP_getinfo) return -XEN_EINVAL;
    const pool = memory.u32(op + AT['u.scheduler_op.cpupool_id']);
    if (cpupools.info(pool)?.id !== pool) return -XEN_ESRCH;
    const ops = sched.poolOps(pool);
    const { settings, name } = ops;
    if (memory.u32(op + AT['u.scheduler_op.sched_id']) !== schedulerId(name)) return -XEN_EINVAL;
    if (settings === undefined) return 0;
    // Xen 3.0.4 had nothing that could be changed.
    if (cmd === S.XEN_SYSCTL_SCHEDOP_putinfo && params.profile === 'classic') return -XEN_ENOSYS;
    const result = cmd === S.XEN_SYSCTL_SCHEDOP_putinfo ? put(op, ops) : 0;
    if (result < 0) return result;
    if (isOfCredit2(ops)) {
      memory.setU32(op + CREDIT2, settings.ratelimitNs() / 1e3);
      return 0;
    }
    memory.setU32(op + AT['u.scheduler_op.u.sched_credit.tslice_ms'], settings.tsliceNs() / 1e6);
    memory.setU32(op + CREDIT, settings.ratelimitNs() / 1e3);
    memory.setU32(op + AT['u.scheduler_op.u.sched_credit.vcpu_migr_delay_us'], settings.migrationDelayNs() / 1e3);
    return 0;
  };

  return { schedId, schedulerOp };
}
