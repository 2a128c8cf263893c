/** One worker's view of the machine: hypervisor, executors and turns, bound to the image once. */
import { type Devices, devices } from '../devices/devices.js';
import { createHypervisor, type Hypervisor } from '../hv/hypervisor.js';
import { PCPU } from '../hv/records.js';
import type { Image } from '../shared/image.js';
import { XEN_EINVAL, XEN_ENODEV } from '../shared/public/errno.js';
import { type StopMachine, stopMachine } from '../shared/stop-machine.js';
import { CONTROL, RUN, WORKER } from './control-records.js';
import { type KeyTree, keyForest, keyTree } from './key-tree.js';
import type { MachineShape, RunParams } from './machine-shape.js';
import { type Mail, mail } from './mail.js';
import { guestKernel } from './model/kernel.js';
import type { RunAhead } from './run-ahead.js';
import { type Executor, type Turns, turns } from './turn.js';
import type { X86Executor, x86Executor } from './x86/executor.js';

export interface ProcessorCore {
  readonly hv: Hypervisor;
  readonly devices: Devices;
  readonly keys: KeyTree;
  readonly turns: Turns;
  /** Ordered mode, where there are guests of machine code: what of it runs beside the turns. */
  readonly ahead: RunAhead | undefined;
  /** What runs guests of machine code, where there are any. */
  readonly x86: X86Executor | undefined;
  /** Free mode: between this worker and the others. */
  readonly mail: Mail;
  /** Free mode: for a moment in which the others take no turns. */
  readonly stop: StopMachine;
  /** pCPUs whose turns are taken here in free mode. */
  readonly pcpus: readonly number[];
}

/** Each VCPU by the executor that it is for. */
function withX86(model: Executor, x86: X86Executor): Executor {
  const of = (v: number): Executor => (x86.isOwn(v) ? x86 : model);
  return {
    mayUpcall: (v, p) => of(v).mayUpcall(v, p),
    upcall: (v, p) => of(v).upcall(v, p),
    run: (v, p) => of(v).run(v, p),
    stall: (v, p, ns) => of(v).stall(v, p, ns),
    switchOut: (v, p) => of(v).switchOut(v, p),
    switchIn: (v, p) => of(v).switchIn(v, p),
    made(v) {
      model.made(v);
      x86.made(v);
    },
    initialise: (v, context) => x86.initialise(v, context),
    flushTlb: (v, page) => of(v).flushTlb(v, page),
    switchedTable: (v, of) => x86.switchedTable(v, of),
  };
}

/**
 * @param self number of the worker
 * @param wake wakes another worker if it sleeps
 * @param machineCode what runs x86 guests: loaded by those who have any, as the decoder takes its time
 */
export function processorCore(
  image: Image,
  shape: MachineShape,
  params: RunParams,
  self = 0,
  wake: (worker: number) => void = () => {},
  machineCode?: typeof x86Executor,
): ProcessorCore {
  const isOrdered = params.hv.free === undefined;
  const { pcpus: nr, runners } = shape.hv;
  const keys =
    isOrdered && runners > 1
      ? keyForest(image, nr, runners, self < runners ? self : 0, image.column(PCPU, 'worker'))
      : keyTree(image, nr, isOrdered ? 0 : self);
  const pcpu = image.table(PCPU);
  const worker = image.table(WORKER);
  const state = (image.region('control').base + CONTROL.offsets.state) >> 2;
  const pcpus = Array.from({ length: shape.hv.pcpus }, (_, p) => p).filter((p) => isOrdered || pcpu.worker(p) === self);
  const isEnded = (): boolean => {
    // Asked by one that waits: it is well, whoever it waits for may not be.
    worker.addSafePoints(self, 1);
    return Atomics.load(image.i32, state) === RUN.aborted;
  };
  const stop = stopMachine(
    image.i32,
    image.region('stop-machine').base,
    self,
    shape.hv.runners,
    params.hv.free?.spins ?? 0,
    isEnded,
  );
  const hasMachineCode = machineCode !== undefined && shape.x86.vcpus > 0;
  /** What runs VCPU v, if that is of machine code. */
  const ownOf = (v: number): X86Executor | undefined => (x86?.isOwn(v) === true ? x86 : undefined);
  // The hypervisor switches guests, the executor makes hypercalls: the two are tied here.
  const hv: Hypervisor = createHypervisor(image, shape.hv, params.hv, self, {
    switchOut: (v, p) => executor.switchOut(v, p),
    switchIn: (v, p) => executor.switchIn(v, p),
    made: (v) => executor.made(v),
    initialise: (v, context) => executor.initialise(v, context),
    flushTlb: (v, page) => executor.flushTlb(v, page),
    switchedTable: (v, of) => executor.switchedTable(v, of),
    touched: hasMachineCode ? (at, bytes) => x86?.touched(at, bytes) : undefined,
    entries: {
      setTrap: (v, vector, flags, address) => x86?.entries.setTrap(v, vector, flags, address),
      clearTraps: (v) => x86?.entries.clearTraps(v),
      setCallback: (v, type, address, masksEvents) => x86?.entries.setCallback(v, type, address, masksEvents),
      setKernelStack: (v, sp) => x86?.entries.setKernelStack(v, sp),
      setSegmentBase: (v, which, base) => ownOf(v)?.setSegmentBase(v, which, base),
      setTaskSwitched: (v, isSet) => ownOf(v)?.setTaskSwitched(v, isSet),
      setDebugRegister: (v, n, x) => ownOf(v)?.setDebugRegister(v, n, x) ?? -XEN_ENODEV,
      debugRegister: (v, n) => ownOf(v)?.debugRegister(v, n),
      setIopl: (v, iopl) => x86?.entries.setIopl(v, iopl),
      setLdt: (v, address, count) => x86?.entries.setLdt(v, address, count),
      iret: (v) => (x86?.isOwn(v) === true ? x86.iret(v) : -XEN_EINVAL),
    },
    stall: (v, p, ns) => executor.stall(v, p, ns),
    keyChanged: (q) => turn.refresh(q),
    isMine: isOrdered ? () => true : (q) => pcpu.worker(q) === self,
    post: (q, kind, at, sentAt) => post.post(q, kind, at, sentAt),
    stopped: isOrdered ? (act) => act() : stop.stopped,
    deviceDue: (n, p) => board.due(n, p),
    moveTo(p, w) {
      const ns = keys.key(p);
      keys.set(p, Infinity);
      pcpu.setWorker(p, w);
      keys.set(p, ns);
    },
    isEnded,
  });
  const board: Devices = devices(hv);
  const post: Mail = mail(image, {
    self,
    workers: shape.workers,
    workerOf: pcpu.worker,
    pcpus,
    raceWindow: hv.context.raceWindow,
    wake,
  });
  const model: Executor = guestKernel(image, hv, board, params.guest);
  const x86 = hasMachineCode
    ? machineCode(image, hv, keys, self, { workers: shape.workers, helpers: params.helpers }, wake, ownNext, isEnded)
    : undefined;
  const executor: Executor = x86 === undefined ? model : withX86(model, x86);
  const turn: Turns = turns(hv, executor, keys, x86?.ahead?.isAhead);
  /** When p takes its next turn, its guest apart. */
  function ownNext(p: number): number {
    const { pcpu: pcpus } = hv.context;
    const guestAt = pcpus.guestAt(p);
    pcpus.setGuestAt(p, Infinity);
    const next = turn.keyOf(p);
    pcpus.setGuestAt(p, guestAt);
    return next;
  }
  return { hv, devices: board, keys, turns: turn, ahead: x86?.ahead, x86, mail: post, stop, pcpus };
}
