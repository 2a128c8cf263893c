/**
 * Random streams of domain 0's calls, with arguments that often make sense, while domains run, sleep and are in the middle of ending:
 * a call that fails changes nothing, all records are in order after each and after each turn, and in the end all can be destroyed.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import { noWorkload } from '../../src/config/kernel-file.js';
import { FOREIGN_FIRST } from '../../src/hv/mm/records.js';
import { readKernel } from '../../src/loader/kernel.js';
import { invariants as findBroken } from '../../src/machine/invariants.js';
import * as D from '../../src/shared/public/domctl.js';
import * as errno from '../../src/shared/public/errno.js';
import { EVTCHNOP_alloc_unbound } from '../../src/shared/public/event-channel.js';
import * as M from '../../src/shared/public/memory.js';
import * as S from '../../src/shared/public/sysctl.js';
import * as X from '../../src/shared/public/xen.js';
import { BLOCKS, elfOf } from '../support/elf.js';
import { guest, hog, workload } from '../support/in-process.js';
import { type Dom0, dom0Machine } from './dom0-ops.js';

const ERRORS = new Set(Object.values(errno).map((n) => -n));
/** Changed by failed calls too, or by the test itself. */
const EXEMPT = ['trace-rings', 'trace-heads', 'trace-hash', 'perfc', 'hypercall-regs', 'keys', 'key-tree', 'frames'];
const PCPUS = 3;
const KERNEL = readKernel(elfOf(BLOCKS));

type Op = (m: Dom0) => number;
const domid = fc.constantFrom(0, 1, 2, 2, 3, 3, 4, 5, 77);
const cpus = fc.subarray([0, 1, 2, 5]);
const pcpu = fc.nat(PCPUS);

/** Frames from the first of the machine on, those of the domain with a kernel among them. */
const frameOf = ({ p: { context } }: Dom0, n: number): number => context.shape.xenFrames + n;

/** Some frames of a domain, to some places. */
function mapForeign(m: Dom0, id: number, frames: readonly (readonly [place: number, frame: number])[]): number {
  const { p, v } = m;
  const lists = p.scratch(v, 3);
  for (const [n, [place, frame]] of frames.entries()) {
    p.arg(v, [[8 * n, frameOf(m, frame), 8]], 3);
    p.arg(v, [[64 + 8 * n, FOREIGN_FIRST + place, 8]], 3);
  }
  const arg = p.arg(v, [
    [0, X.DOMID_SELF, 2],
    [2, M.XENMAPSPACE_gmfn_foreign, 2],
    [4, frames.length, 2],
    [6, id, 2],
    [8, lists, 8],
    [16, lists + 64, 8],
    [24, lists + 128, 8],
  ]);
  return p.call(v, X.__HYPERVISOR_memory_op, M.XENMEM_add_to_physmap_batch, arg);
}

const ops: fc.Arbitrary<readonly [string, Op]> = fc.oneof(
  fc
    .tuple(domid, fc.nat(3))
    .map(([id, n]): readonly [string, Op] => [
      `createdomain ${id} ${n}`,
      (m) => m.domctl(D.XEN_DOMCTL_createdomain, id, { 'u.createdomain.max_vcpus': n }).rc,
    ]),
  fc
    .tuple(domid, fc.nat(3))
    .map(([id, n]): readonly [string, Op] => [
      `max_vcpus ${id} ${n}`,
      (m) => m.domctl(D.XEN_DOMCTL_max_vcpus, id, { 'u.max_vcpus.max': n }).rc,
    ]),
  fc.nat(2).map((n): readonly [string, Op] => [
    `build ${n + 1}`,
    (m) => {
      // As a toolstack does: whatever fails on the way, what there is is destroyed.
      try {
        return m.domctl(D.XEN_DOMCTL_unpausedomain, m.build({ vcpus: n + 1, pages: 512 })).rc;
      } catch {
        return 0;
      }
    },
  ]),
  fc
    .tuple(domid, fc.constantFrom(D.XEN_DOMCTL_pausedomain, D.XEN_DOMCTL_unpausedomain, D.XEN_DOMCTL_destroydomain))
    .map(([id, cmd]): readonly [string, Op] => [`domctl ${cmd} ${id}`, (m) => m.domctl(cmd, id).rc]),
  fc
    .tuple(domid, fc.nat(1 << 18))
    .map(([id, kb]): readonly [string, Op] => [
      `max_mem ${id} ${kb}`,
      (m) => m.domctl(D.XEN_DOMCTL_max_mem, id, { 'u.max_mem.max_memkb': kb }).rc,
    ]),
  fc
    .tuple(domid, fc.nat(2), fc.option(cpus), fc.option(cpus))
    .map(([id, v, hard, soft]): readonly [string, Op] => [
      `setvcpuaffinity ${id} ${v} ${hard} ${soft}`,
      (m) => m.setAffinity(id, v, hard ?? undefined, soft ?? undefined).rc,
    ]),
  fc.tuple(domid, fc.nat(1000), fc.nat(200)).map(([id, weight, cap]): readonly [string, Op] => [
    `weight ${id} ${weight} ${cap}`,
    (m) =>
      m.domctl(D.XEN_DOMCTL_scheduler_op, id, {
        'u.scheduler_op.sched_id': D.XEN_SCHEDULER_CREDIT,
        'u.scheduler_op.cmd': D.XEN_DOMCTL_SCHEDOP_putinfo,
        'u.scheduler_op.u.credit.weight': weight,
        'u.scheduler_op.u.credit.cap': cap,
      }).rc,
  ]),
  fc
    .tuple(fc.constantFrom(M.XENMEM_populate_physmap, M.XENMEM_decrease_reservation), domid, fc.nat(3), fc.nat(9))
    .map(([cmd, id, n, order]): readonly [string, Op] => [
      `memory ${cmd} ${id} ${n} ${order}`,
      (m) => {
        const gmfns = Array.from({ length: 8 * n }, (_, k) => (k % 8 === 1 ? 8 : 0));
        return m.memory(cmd, { extent_start: m.list(1, gmfns), nr_extents: n, extent_order: order, domid: id });
      },
    ]),
  fc
    .tuple(domid, fc.array(fc.tuple(fc.nat(8), fc.nat(2100)), { maxLength: 4 }))
    .map(([id, frames]): readonly [string, Op] => [
      `foreign ${id} ${frames.join(' ')}`,
      (m) => mapForeign(m, id, frames),
    ]),
  fc.nat(8).map((n): readonly [string, Op] => [
    `remove ${n}`,
    (m) =>
      m.p.call(
        m.v,
        X.__HYPERVISOR_memory_op,
        M.XENMEM_remove_from_physmap,
        m.p.arg(m.v, [
          [0, X.DOMID_SELF, 2],
          [8, FOREIGN_FIRST + n, 8],
        ]),
      ),
  ]),
  fc
    .tuple(fc.constantFrom(X.MMUEXT_PIN_L1_TABLE, X.MMUEXT_PIN_L4_TABLE, X.MMUEXT_UNPIN_TABLE), domid, fc.nat(2100))
    .map(([cmd, id, n]): readonly [string, Op] => [
      `mmuext ${cmd} ${id} ${n}`,
      (m) =>
        m.p.call(
          m.v,
          X.__HYPERVISOR_mmuext_op,
          m.p.arg(m.v, [
            [0, cmd, 4],
            [8, frameOf(m, n), 8],
          ]),
          1,
          0,
          id,
        ),
    ]),
  fc
    .tuple(domid, fc.nat(2100))
    .map(([id, n]): readonly [string, Op] => [
      `hypercall_init ${id} ${n}`,
      (m) => m.domctl(D.XEN_DOMCTL_hypercall_init, id, { 'u.hypercall_init.gmfn': frameOf(m, n) }).rc,
    ]),
  fc.tuple(domid, fc.constantFrom(0, 0, 77)).map(([id, remote]): readonly [string, Op] => [
    `alloc_unbound ${id} ${remote}`,
    (m) =>
      m.p.call(
        m.v,
        X.__HYPERVISOR_event_channel_op,
        EVTCHNOP_alloc_unbound,
        m.p.arg(m.v, [
          [0, id, 2],
          [2, remote, 2],
        ]),
      ),
  ]),
  fc
    .tuple(pcpu, fc.boolean())
    .map(([p, goes]): readonly [string, Op] => [
      `${goes ? 'offline' : 'online'} ${p}`,
      (m) => (goes ? m.offline(p) : m.online(p)),
    ]),
  fc.tuple(fc.nat(40), fc.nat(1200)).map(([tslice, ratelimit]): readonly [string, Op] => [
    `tslice ${tslice} ${ratelimit}`,
    (m) =>
      m.sysctl(S.XEN_SYSCTL_scheduler_op, {
        'u.scheduler_op.sched_id': D.XEN_SCHEDULER_CREDIT,
        'u.scheduler_op.u.sched_credit.tslice_ms': tslice,
        'u.scheduler_op.u.sched_credit.ratelimit_us': ratelimit,
      }).rc,
  ]),
);

const stream = fc.array(fc.tuple(ops, fc.constantFrom(0, 1, 2_500, 50_000, 1_000_000)), {
  minLength: 1,
  maxLength: 25,
  size: 'max',
});

function tables(m: Dom0): readonly (readonly [string, Buffer])[] {
  const { image } = m.p.context;
  return image.map
    .filter((r) => !EXEMPT.includes(r.name))
    .map((r) => [r.name, Buffer.from(image.u8.slice(r.base, r.base + r.size * r.count).buffer)] as const);
}

function play(calls: readonly (readonly [readonly [string, Op], number])[]): readonly [number, number] {
  const m = dom0Machine({
    pcpus: PCPUS,
    memoryMib: 256,
    guests: [
      guest({ name: 'Domain-0', privileged: true, cpus: [[0]], workload: hog() }),
      guest({
        name: 'g1',
        vcpus: 2,
        cpus: [[1], [1, 2]],
        workload: workload({ t: { instance: 3, run: 200, sleep: 100 } }),
      }),
      guest({
        name: 'kernel',
        memoryMib: 8,
        cpus: [[1, 2]],
        workload: noWorkload('kernel'),
        kernel: { file: 'kernel', image: KERNEL, commandLine: '' },
      }),
    ],
  });
  const broken = findBroken(m.p.sim.built);
  const check = (what: string): void => {
    const found = broken();
    if (found.length > 0) expect.fail(`${what}, at ${m.p.now} ns: ${found.join('; ')}`);
  };
  let [ok, failed] = [0, 0];
  for (const [[what, op], ns] of calls) {
    // It has a pCPU that it may use alone; others may be there now and then.
    for (let n = 0; !m.p.isRunning(m.v) && n < 1000; n++) m.p.run(m.p.now + 100_000);
    // As in the turn of the pCPU that it runs on.
    m.p.hv.smp.enterTurn(m.p.context.queues.entry.processor(m.v));
    const before = tables(m);
    const rc = op(m);
    if (rc < 0) {
      failed++;
      if (!ERRORS.has(rc)) expect.fail(`${what}: ${rc} is no errno of Xen's`);
      for (const [n, [name, bytes]] of tables(m).entries()) {
        if (!bytes.equals(before[n]![1])) expect.fail(`${what} answered ${rc} and changed the table "${name}"`);
      }
    } else ok++;
    check(what);
    m.p.sim.run(m.p.now + ns, () => check(`after ${what}`));
  }
  for (let n = 0; !m.p.isRunning(m.v) && n < 1000; n++) m.p.run(m.p.now + 100_000);
  for (const id of [1, 2, 3, 4, 5, 6, 7, 8, 77]) m.domctl(D.XEN_DOMCTL_destroydomain, id);
  m.p.sim.run(m.p.now + 1_000_000, () => check('at the end'));
  const { domain, host, shape } = m.p.context;
  for (let d = 1; d < shape.domains; d++) {
    if (domain.state(d) !== 0 && domain.id(d) < 9) expect.fail(`domain ${domain.id(d)} is still there`);
  }
  if (shape.domains > 0) expect(host.freePages(0)).to.be.at.most(host.totalPages(0));
  return [ok, failed];
}

describe('any stream of domain 0’s calls', () => {
  it('leaves all records in order, and changes nothing where it fails', function () {
    this.timeout(120_000);
    let [ok, failed] = [0, 0];
    fc.assert(
      fc.property(stream, (calls) => {
        const counts = play(calls);
        ok += counts[0];
        failed += counts[1];
      }),
      { numRuns: 60, interruptAfterTimeLimit: 30_000 },
    );
    // Both ways are taken often, or the test would show little.
    expect(ok).to.be.above(failed / 10);
    expect(failed).to.be.above(ok / 10);
  });
});
