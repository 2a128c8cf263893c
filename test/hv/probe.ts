/**
 * Hypercalls as a test makes them: on behalf of a VCPU that runs, on a machine that stands between two turns. Arguments
 * are written to the end of the domain's last frame, which the guest kernel leaves free.
 */
import { CPU_TIME, WALL_CLOCK } from '../../src/hv/records.js';
import { FIRST_DOMAIN } from '../../src/machine/build.js';
import type { GuestConfig, MachineConfig } from '../../src/machine/config.js';
import { modelMemory } from '../../src/pcpu/model/memory.js';
import { PAGE_SIZE } from '../../src/shared/image.js';
import { offsetsOf, type Width } from '../../src/shared/public/layout.js';
import { shared_info, vcpu_info } from '../../src/shared/public/xen-layout.js';
import { guest, hog, machineConfig, type Simulation, simulate } from '../support/in-process.js';

/** Bytes for arguments at the end of a domain's frames. */
const SCRATCH_BYTES = 2048;

/** A field of an argument: byte offset, value, bytes. */
export type Put = readonly [offset: number, value: number | bigint, bytes: 2 | 4 | 8];

export interface Probe {
  readonly sim: Simulation;
  readonly hv: Simulation['built']['core']['hv'];
  readonly context: Simulation['built']['core']['hv']['context'];
  readonly mem: ReturnType<typeof modelMemory>;
  readonly view: DataView;
  /** VCPU number `id` of the nth guest. */
  vcpuOf(n: number, id?: number): number;
  domainOf(n: number): number;
  /** Makes a hypercall; v must be the current VCPU of its pCPU. Its turn goes on 1 ns later. */
  call(v: number, nr: number, ...args: (number | bigint)[]): number;
  /** Guest address of the nth argument area of v's domain. */
  scratch(v: number, area?: number): number;
  /** Writes an argument and returns its guest address. */
  arg(v: number, puts: readonly Put[], area?: number): number;
  /** Image address of guest address `at` of v's domain. */
  at(v: number, at: number): number;
  u32(v: number, at: number): number;
  u64(v: number, at: number): number;
  run(toNs: number): void;
  readonly now: number;
  isBlocked(v: number): boolean;
  isRunning(v: number): boolean;
}

export function probe(config: MachineConfig, startNs = 1_000_000): Probe {
  const sim = simulate(config);
  const { hv, keys } = sim.built.core;
  const { context } = hv;
  const { machine, vcpu, domain, regs, queues, pcpu, image } = context;
  const mem = modelMemory(image, hv);
  const view = new DataView(image.buffer);
  sim.run(startNs);

  const at = (v: number, address: number): number => domain.frames(vcpu.domain(v)) + address;
  const scratch = (v: number, area = 0): number =>
    domain.nrFrames(vcpu.domain(v)) * PAGE_SIZE - SCRATCH_BYTES + 256 * area;

  return {
    sim,
    hv,
    context,
    mem,
    view,
    vcpuOf: (n, id = 0) => domain.firstVcpu(n + FIRST_DOMAIN) + id,
    domainOf: (n) => n + FIRST_DOMAIN,
    call(v, nr, ...args) {
      const p = queues.entry.processor(v);
      if (pcpu.current(p) !== v) throw new Error(`VCPU ${v} does not run: it cannot make a hypercall`);
      hv.smp.enterTurn(p);
      regs.setNr(v, nr);
      for (let k = 0; k < 6; k++) {
        const x = BigInt.asUintN(64, BigInt(args[k] ?? 0));
        regs.setLo(v, k, Number(x & 0xffffffffn) | 0);
        regs.setHi(v, k, Number(x >> 32n) | 0);
      }
      const result = hv.hypercall.call(v);
      // The rest of the turn in which a guest would make the call.
      keys.set(p, machine.now(0) + 1);
      return result;
    },
    scratch,
    arg(v, puts, area = 0) {
      const address = scratch(v, area);
      for (const [offset, value, bytes] of puts) {
        const to = at(v, address) + offset;
        if (bytes === 8) view.setBigUint64(to, BigInt.asUintN(64, BigInt(value)), true);
        else if (bytes === 4) view.setUint32(to, Number(value), true);
        else view.setUint16(to, Number(value), true);
      }
      return address;
    },
    at,
    u32: (v, address) => view.getUint32(at(v, address), true),
    u64: (v, address) => Number(view.getBigUint64(at(v, address), true)),
    run: (ns) => sim.run(ns),
    get now() {
      return machine.now(0);
    },
    isBlocked: (v) => vcpu.runstate(v) === 2,
    isRunning: (v) => vcpu.runstate(v) === 0,
  };
}

export interface ProbeOptions {
  /** ABI of each guest. */
  readonly widths?: readonly Width[];
  /** VCPUs of each guest, each pinned to a pCPU of its own. */
  readonly vcpus?: number;
  readonly machine?: Partial<MachineConfig>;
  readonly guest?: Partial<GuestConfig>;
}

/** Guests that compute for ever on every VCPU, each of which has a pCPU to itself: everybody always runs. */
export function busyProbe({ widths = [64], vcpus = 1, machine = {}, guest: over = {} }: ProbeOptions = {}): Probe {
  const guests = widths.map((abi, n) =>
    guest({
      name: `g${n}`,
      abi,
      vcpus,
      workload: { ...hog(), tasks: hog().tasks.map((t) => ({ ...t, instance: vcpus })) },
      cpus: Array.from({ length: vcpus }, (_, k) => [n * vcpus + k]),
      ...over,
    }),
  );
  return probe(machineConfig({ pcpus: widths.length * vcpus, guests, ...machine }));
}

/** Makes an error of a turn that is never over: one in which a guest is looked at again and again. */
export function guardAgainstEndlessTurns({ hv, context }: Probe): void {
  const events = hv.events as { -readonly [K in keyof typeof hv.events]: (typeof hv.events)[K] };
  const { needsDelivery } = events;
  let [turn, looks] = [0, 0];
  events.needsDelivery = (v) => {
    if (context.machine.turns(0) !== turn) [turn, looks] = [context.machine.turns(0), 0];
    if (++looks > 100_000)
      throw new Error(`the turn at ${context.now()} ns does not end: VCPU ${v} is told of events for ever`);
    return needsDelivery(v);
  };
}

/** The time page at image address `at`, read without words, as the public header describes it. */
export function timePage(view: DataView, at: number) {
  return {
    version: view.getUint32(at, true),
    tscTimestamp: view.getBigUint64(at + 8, true),
    systemTime: view.getBigUint64(at + 16, true),
    mul: view.getUint32(at + 24, true),
    shift: view.getInt8(at + 28),
    flags: view.getUint8(at + 29),
  };
}

/** What a time page of a VCPU on pCPU q is to carry: the pair and the scale of that pCPU's own clock. */
export function pairOf(p: Probe, q: number) {
  const { image } = p.context;
  const cpu = image.table(CPU_TIME);
  return {
    tscTimestamp: BigInt(cpu.tsc(q)),
    systemTime: BigInt(cpu.system(q)),
    mul: cpu.mul(q) >>> 0,
    shift: cpu.shift(q),
    flags: image.table(WALL_CLOCK).tscStable(0),
  };
}

/** The public offsets of a port's bits, from the headers alone. */
export interface PortBits {
  readonly pending: boolean;
  readonly masked: boolean;
  readonly selected: boolean;
  readonly upcallPending: boolean;
  readonly upcallMasked: boolean;
}

const bit = (view: DataView, at: number, n: number): boolean => ((view.getUint8(at + (n >> 3)) >> (n & 7)) & 1) === 1;

/** What a guest of `width` sees of a port in its shared info page and in the vcpu_info at `info` (image addresses). */
export function portBits(view: DataView, width: Width, page: number, info: number, port: number): PortBits {
  const s = width === 64 ? offsetsOf(shared_info, 64) : offsetsOf(shared_info, 32);
  const i = width === 64 ? offsetsOf(vcpu_info, 64) : offsetsOf(vcpu_info, 32);
  return {
    pending: bit(view, page + s.evtchn_pending, port),
    masked: bit(view, page + s.evtchn_mask, port),
    selected: bit(view, info + i.evtchn_pending_sel, Math.floor(port / width)),
    upcallPending: view.getUint8(info + i.evtchn_upcall_pending) !== 0,
    upcallMasked: view.getUint8(info + i.evtchn_upcall_mask) !== 0,
  };
}
