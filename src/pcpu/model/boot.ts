/**
 * How the guest kernel starts: VCPU 0 registers callbacks, binds its virtual interrupts, starts the clock of the use case
 * and brings up the other VCPUs; each VCPU then binds its own.
 */

import { CRASH } from '../../hv/domain.js';
import { entryPointOffset } from '../../shared/guest-context.js';
import { PAGE_SIZE } from '../../shared/image.js';
import { offsetsOf, sizeOf } from '../../shared/public/layout.js';
import * as V from '../../shared/public/vcpu.js';
import * as X from '../../shared/public/xen.js';
import { shared_info, vcpu_info } from '../../shared/public/xen-layout.js';
import type { Drivers } from './drivers.js';
import type { GuestHypercalls } from './hypercalls.js';
import type { ModelMemory } from './memory.js';
import { TASK_STATE } from './records.js';

/** Addresses of the kernel's code, in its own address space. */
export const START_ENTRY = 0x100000;
export const UPCALL_ENTRY = 0x100100;
const FAILSAFE_ENTRY = 0x100200;

/** Bytes of a VCPU's page for hypercall arguments, and of its runstate area. */
export const ARG_BYTES = 256;
export const RUNSTATE_BYTES = 64;

export interface GuestBoot {
  /** Boots VCPU v; false when it was started at an address that is no code of this kernel. */
  start(v: number): boolean;
  /** Starts VCPU number `id` of v's domain, on behalf of v. */
  bringUp(v: number, id: number): void;
}

/** @param offer makes the channels of the services that v's domain has */
export function guestBoot(
  mem: ModelMemory,
  calls: GuestHypercalls,
  clock: (info: number) => number,
  offer: (v: number) => void,
  drivers: Drivers,
): GuestBoot {
  const { hv, kv, kd, task, sleepers } = mem;
  const { vcpu, domain, words, image } = hv.context;
  const { memory } = hv;
  const INFO_BYTES = sizeOf(vcpu_info, 64);

  const vcpuOp = (v: number, cmd: number, id: number, arg: number): number =>
    calls.call(v, X.__HYPERVISOR_vcpu_op, cmd, id, arg, 0);

  function must(rc: number, what: string): number {
    if (rc < 0) throw new Error(`guest kernel: ${what} failed with ${rc}`);
    return rc;
  }

  /** Where the guest put its vcpu_info: the shared page's slot, or its own area for VCPUs that have none there. */
  function placeInfo(v: number): void {
    const d = vcpu.domain(v);
    const id = vcpu.id(v);
    const offset = hv.domains.hasLegacyInfo(id) ? id * INFO_BYTES : kd.infoArea(d) + id * INFO_BYTES;
    kv.setInfoAddr(v, domain.frames(d) + offset);
  }

  function bringUp(v: number, id: number): void {
    const d = vcpu.domain(v);
    const arg = kv.argAddr(v);
    if (!hv.domains.hasLegacyInfo(id)) {
      const { mfn, offset, rsvd } = offsetsOf(V.vcpu_register_vcpu_info, 64);
      const at = kd.infoArea(d) + id * INFO_BYTES;
      memory.setU64(arg + mfn, Math.floor(at / PAGE_SIZE));
      memory.setU32(arg + offset, at % PAGE_SIZE);
      memory.setU32(arg + rsvd, 0);
      must(vcpuOp(v, V.VCPUOP_register_vcpu_info, id, kv.argGuest(v)), 'register_vcpu_info');
    }
    const boot = domain.frames(d) + kd.bootArea(d);
    memory.setU32(boot + entryPointOffset(domain.width(d) === 64 ? 64 : 32), START_ENTRY);
    must(vcpuOp(v, V.VCPUOP_initialise, id, kd.bootArea(d)), 'initialise');
    must(vcpuOp(v, V.VCPUOP_up, id, 0), 'up');
  }

  function startUseCase(v: number): void {
    const d = vcpu.domain(v);
    const start = clock(kv.infoAddr(v));
    kd.setStart(d, start);
    // The end is a sleeper behind the tasks.
    if (kd.durationNs(d) !== Infinity) {
      sleepers.arm(v, kd.firstTask(d) + kd.tasks(d), start + kd.durationNs(d));
    }
    const text = `ringzero guest: ${kd.initialTasks(d)} tasks on ${kd.bootVcpus(d)} VCPUs\n`;
    const arg = kv.argAddr(v);
    for (let k = 0; k < text.length; k++) image.u8[arg + k] = text.charCodeAt(k);
    calls.call(v, X.__HYPERVISOR_console_io, X.CONSOLEIO_write, text.length, kv.argGuest(v), 0);
    offer(v);
    for (let id = 1; id < kd.bootVcpus(d); id++) {
      kv.setOnline(v + id, 1);
      bringUp(v, id);
    }
  }

  return {
    bringUp,
    start(v) {
      const d = vcpu.domain(v);
      const id = vcpu.id(v);
      if (vcpu.entryPoint(v) !== START_ENTRY) {
        hv.domains.crash(d, CRASH.badEntry);
        return false;
      }
      placeInfo(v);
      kv.setArgGuest(v, kd.argArea(d) + id * ARG_BYTES);
      kv.setArgAddr(v, domain.frames(d) + kv.argGuest(v));
      kv.setProgrammed(v, Infinity);
      kv.setTimerSlots(v, kd.timerSlots(d) + id * (kd.tasks(d) + 1));
      if (id === 0) kv.setOnline(v, 1);
      if (id === 0)
        for (let t = kd.firstTask(d); t < kd.firstTask(d) + kd.tasks(d); t++) task.setVcpu(t, v + task.home(t));
      kv.setPreemptAt(v, Infinity);
      must(calls.call(v, X.__HYPERVISOR_set_callbacks, ...callbackArgs(d)), 'set_callbacks');
      kv.setTimerPort(v, must(calls.bindVirq(v, X.VIRQ_TIMER, id), 'bind_virq'));
      kv.setIpiPort(v, must(calls.bindIpi(v, id), 'bind_ipi'));
      kv.setLockPort(v, must(calls.bindIpi(v, id), 'bind_ipi'));
      if (id === 0 && kd.toolPoint(d) !== 0) {
        kv.setConsolePort(v, must(calls.bindVirq(v, X.VIRQ_CONSOLE, 0), 'bind_virq'));
      }
      // The lock port is polled, never taken as an upcall.
      const lock = kv.lockPort(v);
      const maskAt =
        domain.width(d) === 64 ? offsetsOf(shared_info, 64).evtchn_mask : offsetsOf(shared_info, 32).evtchn_mask;
      words.or(((domain.sharedInfo(d) + maskAt) >> 2) + (lock >> 5), 1 << (lock & 31));
      memory.setU64(kv.argAddr(v), kd.runstateArea(d) + id * RUNSTATE_BYTES);
      must(vcpuOp(v, V.VCPUOP_register_runstate_memory_area, id, kv.argGuest(v)), 'register_runstate_memory_area');
      if (kv.firstDevice(v) !== 0) drivers.bind(v);
      if (id === 0) startUseCase(v);
      const start = kd.start(d);
      for (let t = kd.firstTask(d); t < kd.firstTask(d) + kd.tasks(d); t++) {
        if (task.vcpu(t) === v && task.state(t) === TASK_STATE.new) sleepers.arm(v, t, start + task.delayNs(t));
      }
      image.u8[kv.infoAddr(v) + offsetsOf(vcpu_info, 64).evtchn_upcall_mask] = 0;
      return true;
    },
  };

  function callbackArgs(d: number): [number, number, number, number] {
    return domain.width(d) === 64
      ? [UPCALL_ENTRY, FAILSAFE_ENTRY, 0, 0]
      : [X_CODE_SELECTOR, UPCALL_ENTRY, X_CODE_SELECTOR, FAILSAFE_ENTRY];
  }
}

/** Flat code selector of a ring-1 kernel. */
const X_CODE_SELECTOR = 0xe019;
