/**
 * The hypercall table: every number of the public ABI with its status. A number without a handler answers −ENOSYS, as
 * Xen does for a hypercall it was built without.
 */
import { XEN_EFAULT, XEN_ENOSYS } from '../../shared/public/errno.js';
import * as X from '../../shared/public/xen.js';
import { TRACE } from '../../shared/trace-ring.js';
import { PERFC } from '../perfc.js';
import type { CallParts, Handler } from './call.js';
import { callbackOp } from './callback-op.js';
import { consoleIo } from './console-io.js';
import { descriptorCalls } from './descriptors.js';
import { domctl } from './domctl.js';
import { eventChannelOp } from './event-channel-op.js';
import { grantTableOp } from './grant-table-op.js';
import { memoryOp } from './memory-op.js';
import { miscHypercalls } from './misc-hypercalls.js';
import { mmuUpdates } from './mmu-update.js';
import { mmuextOp } from './mmuext-op.js';
import { multicall } from './multicall.js';
import { physdevOp } from './physdev-op.js';
import { platformOp } from './platform-op.js';
import { schedOp } from './sched-op.js';
import { sysctl } from './sysctl.js';
import { traps } from './traps.js';
import { vcpuOp } from './vcpu-op.js';
import { versionOp } from './version-op.js';

export type HypercallStatus = 'supported' | { readonly partial: string } | 'absent';

/** Hypercalls with a handler; all other numbers of xen.h are absent. Tested as data against HYPERCALL_NUMBERS. */
export const HYPERCALL_STATUS: Readonly<Record<string, HypercallStatus>> = {
  set_trap_table: 'supported',
  set_callbacks: 'supported',
  stack_switch: 'supported',
  iret: { partial: 'of machine code of 64 bits' },
  set_gdt: 'supported',
  update_descriptor: 'supported',
  set_segment_base: 'supported',
  fpu_taskswitch: 'supported',
  set_debugreg: 'supported',
  get_debugreg: 'supported',
  nmi_op: 'supported',
  vm_assist: { partial: 'kept; architectural_iopl has an effect' },
  sched_op_compat: 'supported',
  sched_op: { partial: 'no remote_shutdown, watchdog, pin_override' },
  set_timer_op: 'supported',
  event_channel_op: { partial: 'two-level only' },
  vcpu_op: 'supported',
  xen_version: { partial: 'no command line, no build id' },
  console_io: { partial: 'no input' },
  multicall: 'supported',
  callback_op: { partial: 'no 32-bit system calls' },
  physdev_op: { partial: 'eoi, irq_status_query, set_iopl, map_pirq and unmap_pirq (of lines), get_free_pirq' },
  platform_op: { partial: 'settime32, settime64, getidletime, get_cpuinfo, cpu_online, cpu_offline; domain 0 only' },
  domctl: { partial: 'life, VCPUs, affinity, memory limits and scheduling of domains (docs/dom0.md); domain 0 only' },
  sysctl: { partial: 'no trace buffers, power management (docs/dom0.md); domain 0 only' },
  memory_op: { partial: 'reservations, exchange, the machine-to-physical table; no physical map of its own' },
  mmu_update: { partial: 'of its own page tables' },
  update_va_mapping: 'supported',
  update_va_mapping_otherdomain: { partial: 'of its own' },
  mmuext_op: { partial: 'no large pages' },
  grant_table_op: { partial: 'version 1; of domains with page tables; no transfer, cache_flush' },
};

/** Name -> number, from xen.h. */
export const HYPERCALL_NUMBERS: Readonly<Record<string, number>> = Object.fromEntries(
  Object.entries(X)
    .filter((e): e is [string, number] => e[0].startsWith('__HYPERVISOR_') && typeof e[1] === 'number')
    .map(([name, nr]) => [name.slice('__HYPERVISOR_'.length), nr]),
);

export interface HypercallDispatch {
  /** Serves the hypercall in v's registers. Sign-extended result: 0 or more, or a negated errno; RESTART: see work.ts. */
  call(v: number): number;
}

export function hypercallDispatch(parts: CallParts): HypercallDispatch {
  const { memory, work } = parts;
  const { regs, trace, perfc, machine, me, vcpu, domain } = parts.context;
  const absent: Handler = () => -XEN_ENOSYS;
  const sched = schedOp(parts);
  const callbacks = callbackOp(parts);
  const trap = traps(parts);
  const tables = descriptorCalls(parts);
  const misc = miscHypercalls(parts);
  const mmu = mmuUpdates(parts);
  const dispatch: Handler = (v) => (handlers[regs.nr(v)] ?? absent)(v);
  const byName: Readonly<Record<string, Handler>> = {
    set_trap_table: trap.setTrapTable,
    set_callbacks: callbacks.setCallbacks,
    stack_switch: trap.stackSwitch,
    iret: trap.iret,
    set_gdt: tables.setGdt,
    update_descriptor: tables.updateDescriptor,
    set_segment_base: misc.setSegmentBase,
    fpu_taskswitch: misc.fpuTaskswitch,
    set_debugreg: misc.setDebugreg,
    get_debugreg: misc.getDebugreg,
    nmi_op: callbacks.nmiOp,
    vm_assist: misc.vmAssist,
    sched_op_compat: sched.schedOpCompat,
    sched_op: sched.schedOp,
    set_timer_op: sched.setTimerOp,
    event_channel_op: eventChannelOp(parts),
    vcpu_op: vcpuOp(parts),
    xen_version: versionOp(parts),
    console_io: consoleIo(parts),
    multicall: multicall(parts, dispatch),
    callback_op: callbacks.callbackOp,
    physdev_op: physdevOp(parts),
    platform_op: platformOp(parts),
    domctl: domctl(parts),
    sysctl: sysctl(parts),
    memory_op: memoryOp(parts),
    mmu_update: mmu.mmuUpdate,
    update_va_mapping: mmu.updateVaMapping,
    update_va_mapping_otherdomain: mmu.updateVaMappingOtherdomain,
    mmuext_op: mmuextOp(parts),
    grant_table_op: grantTableOp(parts),
  };
  const handlers: Handler[] = new Array<Handler>(64).fill(absent);
  for (const [name, handler] of Object.entries(byName)) handlers[HYPERCALL_NUMBERS[name] ?? 63] = handler;
  const { hypercalls } = PERFC;
  return {
    call(v) {
      perfc.inc(machine.turnOf(me), hypercalls);
      trace.record(TRACE.hypercall, v, regs.nr(v));
      memory.begin(v);
      work.begin(domain.isPaged(vcpu.domain(v)) !== 0);
      const result = dispatch(v);
      // What it did is done; what it says of it the guest has no place for.
      return memory.end() || result < 0 ? result : -XEN_EFAULT;
    },
  };
}
