import { expect } from 'chai';
import fc from 'fast-check';
import { invariants as findBroken } from '../../src/machine/invariants.js';
import { PAGE_SIZE } from '../../src/shared/image.js';
import * as errno from '../../src/shared/public/errno.js';
import { GNTTABOP_set_version } from '../../src/shared/public/grant-table.js';
import { offsetsOf } from '../../src/shared/public/layout.js';
import { VCPUOP_register_vcpu_info } from '../../src/shared/public/vcpu.js';
import * as X from '../../src/shared/public/xen.js';
import { shared_info, vcpu_info } from '../../src/shared/public/xen-layout.js';
import { device } from './irq-ops.js';
import { busyProbe, guardAgainstEndlessTurns, type Probe } from './probe.js';

/** The kind of a word that is what it says. */
const EXACT = 10;
const ERRORS = new Set(Object.values(errno).map((n) => -n));
const VCPUS = 2;

/** Changed by every call, failed ones too, or by the test itself: the stream's hash and records, counters, registers, keys. */
const EXEMPT = ['trace-rings', 'trace-heads', 'trace-hash', 'perfc', 'hypercall-regs', 'keys', 'key-tree', 'frames'];

/** Lines among the numbers that words often are, on which something comes all the time and nobody serves it. */
const DEVICES = [
  device({ name: 'edge', kind: 'timer', irq: 1, periodNs: 50e3 }),
  device({ name: 'level', kind: 'nic', irq: 2, periodNs: 70e3 }),
  device({ name: 'more', kind: 'nic', irq: 2, periodNs: 110e3 }),
];

interface Call {
  /** Which of the running VCPUs makes it. */
  readonly who: number;
  readonly nr: number;
  readonly args: readonly (readonly [kind: number, value: number])[];
  /** Words of the argument area. */
  readonly words: readonly (readonly [kind: number, value: number])[];
  /** How long the machine runs on, ns. */
  readonly pause: number;
}

const SUPPORTED = [
  X.__HYPERVISOR_set_callbacks,
  X.__HYPERVISOR_sched_op_compat,
  X.__HYPERVISOR_multicall,
  X.__HYPERVISOR_set_timer_op,
  X.__HYPERVISOR_xen_version,
  X.__HYPERVISOR_console_io,
  X.__HYPERVISOR_vcpu_op,
  X.__HYPERVISOR_sched_op,
  X.__HYPERVISOR_callback_op,
  X.__HYPERVISOR_event_channel_op,
  X.__HYPERVISOR_physdev_op,
  X.__HYPERVISOR_domctl,
  X.__HYPERVISOR_sysctl,
  X.__HYPERVISOR_platform_op,
  X.__HYPERVISOR_memory_op,
  X.__HYPERVISOR_grant_table_op,
  X.__HYPERVISOR_set_gdt,
  X.__HYPERVISOR_update_descriptor,
  X.__HYPERVISOR_set_segment_base,
  X.__HYPERVISOR_fpu_taskswitch,
  X.__HYPERVISOR_set_debugreg,
  X.__HYPERVISOR_get_debugreg,
  X.__HYPERVISOR_nmi_op,
  X.__HYPERVISOR_vm_assist,
];

const word = fc.tuple(fc.nat(9), fc.nat({ max: 0xffffffff }));
const words = fc.array(word, { minLength: 24, maxLength: 24 });
const registers = fc.array(word, { minLength: 6, maxLength: 6 });

/** Registers that a kernel might really use: commands, VCPUs, lengths as they are, pointers to an argument area. */
const exact = (x: number): readonly [number, number] => [EXACT, x];
const area = fc.nat(2).map((n): readonly [number, number] => [3, n]);
const exactly = (x: number) => fc.constant(exact(x));
const upTo = (max: number) => fc.nat(max).map(exact);
const sensible = fc.oneof(
  fc.tuple(fc.constant(X.__HYPERVISOR_event_channel_op), fc.tuple(upTo(11), area)),
  fc.tuple(fc.constant(X.__HYPERVISOR_physdev_op), fc.tuple(fc.constantFrom(5, 12, 12, 13, 14, 23).map(exact), area)),
  fc.tuple(fc.constant(X.__HYPERVISOR_vcpu_op), fc.tuple(upTo(14), upTo(2), area)),
  fc.tuple(fc.constant(X.__HYPERVISOR_sched_op), fc.tuple(fc.constantFrom(0, 1, 2, 3, 3, 3, 3, 5).map(exact), area)),
  fc.tuple(fc.constant(X.__HYPERVISOR_callback_op), fc.tuple(upTo(2), area)),
  fc.tuple(fc.constant(X.__HYPERVISOR_xen_version), fc.tuple(upTo(11), area)),
  fc.tuple(fc.constant(X.__HYPERVISOR_console_io), fc.tuple(upTo(2), upTo(600), area)),
  fc.tuple(fc.constant(X.__HYPERVISOR_memory_op), fc.tuple(upTo(9), area)),
  fc.tuple(fc.constant(X.__HYPERVISOR_grant_table_op), fc.tuple(upTo(13), area, upTo(2))),
  fc.tuple(fc.constant(X.__HYPERVISOR_vm_assist), fc.tuple(upTo(2), fc.oneof(upTo(6), exactly(32)))),
  fc.tuple(fc.constant(X.__HYPERVISOR_nmi_op), fc.tuple(upTo(2), area)),
  fc.tuple(fc.constant(X.__HYPERVISOR_domctl), fc.tuple(area)),
  fc.tuple(fc.constant(X.__HYPERVISOR_sysctl), fc.tuple(area)),
  fc.tuple(fc.constant(X.__HYPERVISOR_multicall), fc.tuple(area, upTo(5))),
  fc.tuple(fc.constant(X.__HYPERVISOR_set_timer_op), fc.tuple(word, word)),
);
const wild = fc.tuple(fc.oneof(fc.nat(63), fc.constantFrom(...SUPPORTED)), registers);
const call: fc.Arbitrary<Call> = fc
  .record({
    who: fc.nat(3),
    what: fc.oneof({ arbitrary: sensible, weight: 3 }, { arbitrary: wild, weight: 1 }),
    words,
    pause: fc.constantFrom(0, 1, 500, 5_000, 3_000_000),
  })
  .map(({ what: [nr, args], ...rest }) => ({ ...rest, nr, args }));

/** What a word of a kind is: often something that makes sense where it may stand. */
function wordValue(p: Probe, v: number, [kind, x]: readonly [number, number]): bigint {
  const size = p.context.domain.nrFrames(p.context.vcpu.domain(v)) * PAGE_SIZE;
  switch (kind) {
    case 0:
    case 1:
      return BigInt(x % 14);
    case 2:
      return BigInt(x % 4);
    case 3:
    case 4:
      return BigInt(p.scratch(v, x % 3));
    case 5:
      return BigInt(x % 8 < 6 ? (x >>> 3) % size : size - (x % 40));
    case 6:
      return BigInt([X.DOMID_SELF, 1, 2, 0, 0x7ff0 | (1 << 16), (1 << 16) | 2][x % 6]!);
    case 7:
      return BigInt(p.now + (x % 20_000_000) - 5_000_000);
    case 8:
      return BigInt(x) << 32n;
    default:
      // EXACT, and words of any value.
      return BigInt(x);
  }
}

/** All of the hypervisor's tables, region by region, and the frames of each domain. */
function snapshot(p: Probe) {
  const { image, domain } = p.context;
  const bytes = (base: number, length: number): Buffer => Buffer.from(image.u8.slice(base, base + length).buffer);
  const tables = image.map
    .filter((r) => !EXEMPT.includes(r.name))
    .map((r) => [r.name, bytes(r.base, r.size * r.count)] as const);
  const frames = [1, 2].map((d) => bytes(domain.frames(d), domain.nrFrames(d) * PAGE_SIZE));
  return { tables, frames };
}
type Snapshot = ReturnType<typeof snapshot>;

/** Bits through which another domain may tell this one of an event: pending bits, selectors and upcall flags. */
function withoutEventBits(p: Probe, d: number, frames: Buffer): Buffer {
  const { domain, vcpu } = p.context;
  const is64 = domain.width(d) === 64;
  const copy = Buffer.from(frames);
  const { evtchn_pending, evtchn_mask } = is64 ? offsetsOf(shared_info, 64) : offsetsOf(shared_info, 32);
  const { evtchn_pending_sel, evtchn_upcall_pending } = is64 ? offsetsOf(vcpu_info, 64) : offsetsOf(vcpu_info, 32);
  copy.fill(0, evtchn_pending, evtchn_mask);
  for (let k = 0; k < domain.maxVcpus(d); k++) {
    const info = vcpu.infoAddr(domain.firstVcpu(d) + k) - domain.frames(d);
    copy.fill(0, info + evtchn_pending_sel, info + evtchn_pending_sel + (is64 ? 8 : 4));
    copy[info + evtchn_upcall_pending] = 0;
  }
  return copy;
}

function expectNothingChanged(before: Snapshot, after: Snapshot, what: string): void {
  for (const [n, [name, bytes]] of before.tables.entries()) {
    if (!bytes.equals(after.tables[n]![1])) expect.fail(`${what} changed the table "${name}"`);
  }
  for (const [n, frames] of before.frames.entries()) {
    if (!frames.equals(after.frames[n]!)) expect.fail(`${what} changed frames of domain ${n + 1}`);
  }
}

/** Which argument of a hypercall is a pointer. */
const POINTER: Readonly<Record<number, number>> = {
  [X.__HYPERVISOR_multicall]: 0,
  [X.__HYPERVISOR_sched_op]: 1,
  [X.__HYPERVISOR_callback_op]: 1,
  [X.__HYPERVISOR_xen_version]: 1,
  [X.__HYPERVISOR_event_channel_op]: 1,
  [X.__HYPERVISOR_physdev_op]: 1,
  [X.__HYPERVISOR_vcpu_op]: 2,
  [X.__HYPERVISOR_console_io]: 2,
  [X.__HYPERVISOR_nmi_op]: 1,
};

/**
 * Whether a call may write over its domain's own event words: a guest that puts its runstate area, say, upon its
 * vcpu_info sets its own upcall flag, and nobody wakes it for that.
 */
function mayWriteOwnEvents(p: Probe, d: number, nr: number, given: readonly bigint[]): boolean {
  const { domain, vcpu } = p.context;
  const position = POINTER[nr];
  if (position === undefined) return false;
  // The calls in a multicall are not looked into.
  if (nr === X.__HYPERVISOR_multicall) return true;
  // A vcpu_info may be moved upon an area registered before, or where this test puts its arguments.
  if (nr === X.__HYPERVISOR_vcpu_op && given[0] === BigInt(VCPUOP_register_vcpu_info)) return true;
  const isOver = (at: number): boolean =>
    at < PAGE_SIZE ||
    Array.from(
      { length: domain.maxVcpus(d) },
      (_, k) => vcpu.infoAddr(domain.firstVcpu(d) + k) - domain.frames(d),
    ).some((info) => at < info + 64 && info < at + PAGE_SIZE);
  // A guest of 32 bits has no high halves.
  const direct = Number((given[position] ?? 0n) & 0xffffffffn);
  // An area to be registered is named by the word that the argument points to.
  const isInside = nr === X.__HYPERVISOR_vcpu_op && direct + 8 <= domain.nrFrames(d) * PAGE_SIZE;
  return isOver(direct) || (isInside && isOver(p.view.getUint32(domain.frames(d) + direct, true)));
}

/** mmuext_op says how many operations were done where one failed, too, and set_version which version there is: where that is written, undefined where it is not. */
function countDone(p: Probe, d: number, nr: number, given: readonly bigint[]): number | undefined {
  const isVersion = nr === X.__HYPERVISOR_grant_table_op && (given[0]! & 0xffffffffn) === BigInt(GNTTABOP_set_version);
  if (nr !== X.__HYPERVISOR_mmuext_op && !isVersion) return undefined;
  const place = given[isVersion ? 1 : 2]!;
  const at = BigInt.asUintN(p.context.domain.width(d), place);
  return at === 0n || at + 4n > BigInt(p.context.domain.nrFrames(d) * PAGE_SIZE) ? undefined : Number(at);
}

const isWakeUp = (broken: string): boolean => /is blocked and has an event|polls port/.test(broken);

/** @returns how many calls succeeded and failed */
function play(calls: readonly Call[]): { ok: number; failed: number } {
  const p = busyProbe({ widths: [32, 64], vcpus: VCPUS, machine: { devices: DEVICES } });
  for (const d of [1, 2]) {
    for (const { irq } of DEVICES) {
      p.hv.irqs.permit(d, irq, true);
      p.hv.irqs.map(d, irq, irq);
    }
  }
  guardAgainstEndlessTurns(p);
  const { vcpu, machine } = p.context;
  const broken = findBroken(p.sim.built);
  /** Domains that may have written over their own event words. */
  const odd = new Set<number>();
  const check = (): void => {
    const found = broken().filter((b) => !(isWakeUp(b) && odd.has(vcpu.domain(Number(/\d+/.exec(b)![0])))));
    if (found.length > 0) expect(found, `at ${p.now} ns`).to.deep.equal([]);
  };
  const counts = { ok: 0, failed: 0 };
  for (const { who, nr, args, words, pause } of calls) {
    const running = [0, 1, 2, 3].filter((v) => p.isRunning(v) && vcpu.pauseFlags(v) === 0);
    if (running.length > 0) {
      const v = running[who % running.length]!;
      const d = vcpu.domain(v);
      const values = words.map((w): bigint => wordValue(p, v, w));
      // Arguments start in each of the three areas; half of their words are 32 bits wide, as most fields are.
      for (const area of [0, 1, 2]) {
        p.arg(
          v,
          values
            .slice(8 * area, 8 * area + 8)
            .map((x, k) => [4 * k, area === 1 ? x : x & 0xffffffffn, area === 1 ? 8 : 4]),
          area,
        );
      }
      p.hv.smp.enterTurn(p.context.queues.entry.processor(v));
      const before = snapshot(p);
      const given = args.map((a) => wordValue(p, v, a));
      const rc = p.call(v, nr, ...given);
      const after = snapshot(p);
      const what = `hypercall ${nr}(${given.map((r) => `0x${r.toString(16)}`).join(', ')}) of VCPU ${v} with result ${rc}`;
      if (rc < 0) {
        counts.failed++;
        if (!ERRORS.has(rc)) expect.fail(`${what}: no errno of Xen's`);
        const told = countDone(p, d, nr, given);
        if (told !== undefined) after.frames[d - 1]!.copy(before.frames[d - 1]!, told, told, told + 4);
        expectNothingChanged(before, after, what);
      } else {
        counts.ok++;
        if (mayWriteOwnEvents(p, d, nr, given)) odd.add(d);
        const other = 3 - d;
        const [was, is] = [before, after].map((s) => withoutEventBits(p, other, s.frames[other - 1]!));
        if (!was!.equals(is!)) expect.fail(`${what} changed frames of domain ${other}`);
      }
      check();
      // A kernel knows where it put its vcpu_info; this one is not told of what is done in its name.
      for (let k = 0; k < 2 * VCPUS; k++) p.mem.kv.setInfoAddr(k, vcpu.infoAddr(k));
    }
    const turns = machine.turns(0);
    p.sim.run(machine.now(0) + pause, () => {
      check();
      if (machine.turns(0) > turns + 5_000) expect.fail('the machine takes turns without getting on');
    });
  }
  return counts;
}

describe('any hypercall with any arguments', () => {
  it("answers a result or one of Xen's errors, changes nothing when it fails, and nothing of others ever", () => {
    let [ok, failed] = [0, 0];
    fc.assert(
      fc.property(fc.array(call, { minLength: 1, maxLength: 40, size: 'max' }), (calls) => {
        const counts = play(calls);
        ok += counts.ok;
        failed += counts.failed;
      }),
      { numRuns: 300, interruptAfterTimeLimit: 25_000 },
    );
    // Both ways are taken often, or the test would show little.
    expect(ok).to.be.above(failed / 10);
    expect(failed).to.be.above(ok / 10);
  });
});
