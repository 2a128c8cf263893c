/** domctl: the VCPUs of a domain: how many, where they may run, where they begin, what they do (S22, S24). */
import { HARD, SOFT } from '../../balancer/run-queues.js';
import { entryPointOffset } from '../../shared/guest-context.js';
import { VGCF_online } from '../../shared/public/arch-x86.js';
import { vcpu_guest_context } from '../../shared/public/arch-x86-layout.js';
import { XEN_VCPUAFFINITY_FORCE, XEN_VCPUAFFINITY_HARD, XEN_VCPUAFFINITY_SOFT } from '../../shared/public/domctl.js';
import { xen_domctl } from '../../shared/public/domctl-layout.js';
import { XEN_EAGAIN, XEN_EFAULT, XEN_EINVAL, XEN_ENODATA, XEN_ENOMEM, XEN_ESRCH } from '../../shared/public/errno.js';
import { offsetsOf, sizeOf, type Width } from '../../shared/public/layout.js';
import { RUNSTATE_running } from '../../shared/public/vcpu.js';
import { FAULT } from '../guest-memory.js';
import { VPF_blocked, VPF_down } from '../records.js';
import type { CallParts } from './call.js';
import type { DomctlHandler, Toolstack } from './toolstack.js';

export function domctlVcpus(parts: CallParts, tools: Toolstack) {
  const { context, memory, domains, sched, separation, runstates } = parts;
  const { domain, vcpu, queues, image, shape } = context;
  const { masks, entry } = queues;
  const AT = offsetsOf(xen_domctl, 64);
  const all: readonly number[] = Array.from({ length: shape.pcpus }, (_, p) => p);
  const CONTEXT = { 32: offsetsOf(vcpu_guest_context, 32), 64: offsetsOf(vcpu_guest_context, 64) };

  const widthOf = (d: number): Width => (domain.width(d) === 64 ? 64 : 32);

  /** VCPU number `id` of domain d, or a negated errno: EINVAL beyond what it may have, ESRCH where there is none yet. */
  function find(d: number, id: number): number {
    if (id >= domain.vcpuLimit(d)) return -XEN_EINVAL;
    return id < domain.maxVcpus(d) ? domain.firstVcpu(d) + id : -XEN_ESRCH;
  }

  const maxVcpus: DomctlHandler = (v, op, d) => {
    const count = memory.u32(op + AT['u.max_vcpus.max']);
    // How many was said when the domain was made.
    if (d === vcpu.domain(v) || count !== domain.vcpuLimit(d)) return -XEN_EINVAL;
    if (domain.maxVcpus(d) === count) return 0;
    if (!domains.isAlive(d)) return -XEN_EINVAL;
    // They may go to any worker's pCPUs.
    separation.together();
    const isMade = domains.addVcpus(d, count, {
      hardAffinity: () => undefined,
      softAffinity: () => undefined,
      firstPcpu: (id) => (d + id) % shape.pcpus,
    });
    return isMade ? 0 : -XEN_ENOMEM;
  };

  /** Which of them v can have: on line, and in its domain's cpupool (Xen's VCPU2ONLINE). */
  const usable = (v: number, cpus: readonly number[]): number[] =>
    cpus.filter((p) => queues.isOnline(p) && masks.has(queues.pool(entry.pool(v)), p));
  const given = (v: number, step: number): number[] => all.filter((p) => masks.has(queues.givenAffinity(v, step), p));

  /** What both affinity commands look at: the VCPU, and the masks that are named and can be read. */
  function affinityArguments(v: number, op: number, d: number) {
    const flags = memory.u32(op + AT['u.vcpuaffinity.flags']);
    const [hardAt, softAt] = [op + AT['u.vcpuaffinity.cpumap_hard'], op + AT['u.vcpuaffinity.cpumap_soft']];
    const [isHard, isSoft] = [(flags & XEN_VCPUAFFINITY_HARD) !== 0, (flags & XEN_VCPUAFFINITY_SOFT) !== 0];
    const target = find(d, memory.u32(op + AT['u.vcpuaffinity.vcpu']));
    if (target < 0) return target;
    if (flags === 0 || (isHard && tools.isNull(hardAt)) || (isSoft && tools.isNull(softAt))) return -XEN_EINVAL;
    if ((flags & ~(XEN_VCPUAFFINITY_HARD | XEN_VCPUAFFINITY_SOFT | XEN_VCPUAFFINITY_FORCE)) !== 0) return -XEN_EINVAL;
    const hard = isHard ? tools.bitmap(v, hardAt) : undefined;
    const soft = isSoft ? tools.bitmap(v, softAt) : undefined;
    if ((isHard && hard === undefined) || (isSoft && soft === undefined)) return -XEN_EFAULT;
    return { target, hard, soft };
  }

  /** Hard first, then soft; if either cannot be, neither is. What came of them is written back. */
  const setvcpuaffinity: DomctlHandler = (v, op, d) => {
    const args = affinityArguments(v, op, d);
    if (typeof args === 'number') return args;
    const { target, hard, soft } = args;
    const [hardCpus, softCpus] = [hard?.read(), soft?.read()];
    if (hardCpus && usable(target, hardCpus).length === 0) return -XEN_EINVAL;
    if (softCpus && usable(target, softCpus).length === 0) return -XEN_EINVAL;
    if (hardCpus) separation.allow(target, hardCpus);
    if (hardCpus || softCpus) sched.setAffinity(target, hardCpus, softCpus);
    const effective = usable(target, given(target, HARD));
    hard?.write(effective);
    soft?.write(usable(target, given(target, SOFT)).filter((p) => effective.includes(p)));
    return 0;
  };

  /** The masks as they were given. */
  const getvcpuaffinity: DomctlHandler = (v, op, d) => {
    const args = affinityArguments(v, op, d);
    if (typeof args === 'number') return args;
    args.hard?.write(given(args.target, HARD));
    args.soft?.write(given(args.target, SOFT));
    return 0;
  };

  const getvcpuinfo: DomctlHandler = (_v, op, d) => {
    const target = find(d, memory.u32(op + AT['u.getvcpuinfo.vcpu']));
    if (target < 0) return target;
    sched.locked(target, () => {
      const flags = vcpu.pauseFlags(target);
      image.u8[op + AT['u.getvcpuinfo.online']] = (flags & VPF_down) === 0 ? 1 : 0;
      image.u8[op + AT['u.getvcpuinfo.blocked']] = (flags & VPF_blocked) === 0 ? 0 : 1;
      image.u8[op + AT['u.getvcpuinfo.running']] = entry.isRunning(target) === 0 ? 0 : 1;
      memory.setU64(op + AT['u.getvcpuinfo.cpu_time'], Math.floor(runstates.timeIn(target, RUNSTATE_running)));
      memory.setU32(op + AT['u.getvcpuinfo.cpu'], entry.processor(target));
    });
    return 0;
  };

  /** VCPU and where its context is in the caller's frames; of the caller's own domain none can be looked at. */
  function contextArguments(v: number, op: number, d: number) {
    if (d === vcpu.domain(v)) return -XEN_EINVAL;
    const target = find(d, memory.u32(op + AT['u.vcpucontext.vcpu']));
    if (target < 0) return -XEN_EINVAL;
    const at = tools.handle(v, op + AT['u.vcpucontext.ctxt'], sizeOf(vcpu_guest_context, widthOf(d)));
    return { target, at };
  }

  /** Where it begins is all of a context that a workload guest has; machine code has all of it. With VGCF_online it is up, else down. */
  const setvcpucontext: DomctlHandler = (v, op, d) => {
    const args = contextArguments(v, op, d);
    if (typeof args === 'number') return args;
    const { target, at } = args;
    if (at === FAULT) return -XEN_EFAULT;
    const width = widthOf(d);
    if (domain.isPaged(d) !== 0) {
      if (domain.pauseCount(d) === 0) return -XEN_EINVAL;
      // Its registers are its pCPU's until it has left that: Xen waits for it.
      if (entry.isRunning(target) !== 0) return -XEN_EAGAIN;
      const rc = parts.initialised(target, at);
      if (rc !== 0) return rc;
    }
    vcpu.setEntryPoint(target, memory.u32(at + entryPointOffset(width)));
    vcpu.setIsInitialised(target, 1);
    const isOnline = (memory.u32(at + CONTEXT[width].flags) & VGCF_online) !== 0;
    if (isOnline) sched.clearFlag(target, VPF_down);
    else if ((vcpu.pauseFlags(target) & VPF_down) === 0) sched.sleep(target, VPF_down);
    return 0;
  };

  const getvcpucontext: DomctlHandler = (v, op, d) => {
    const args = contextArguments(v, op, d);
    if (typeof args === 'number') return args;
    const { target, at } = args;
    if (vcpu.isInitialised(target) === 0) return -XEN_ENODATA;
    if (at === FAULT) return -XEN_EFAULT;
    const width = widthOf(d);
    image.u8.fill(0, at, at + sizeOf(vcpu_guest_context, width));
    const isOnline = (vcpu.pauseFlags(target) & VPF_down) === 0;
    memory.setU32(at + CONTEXT[width].flags, isOnline ? VGCF_online : 0);
    memory.setU32(at + entryPointOffset(width), vcpu.entryPoint(target));
    memory.setU32(at + CONTEXT[width].event_callback_eip, vcpu.eventCallback(target));
    memory.setU32(at + CONTEXT[width].failsafe_callback_eip, vcpu.failsafeCallback(target));
    return 0;
  };

  return { maxVcpus, setvcpuaffinity, getvcpuaffinity, getvcpuinfo, setvcpucontext, getvcpucontext };
}
