/**
 * What single operations cost, in ns, each beside the raw operations under it. Run in a process of its own by bench.ts;
 * prints JSON. Every task does `BATCH` operations a call, so that the clock's own cost disappears.
 */
import { Bench } from 'tinybench';
import { hardMask } from '../src/balancer/records.js';
import { buildMachine } from '../src/machine/build.js';
import { fromHalves, scaleDelta } from '../src/shared/clock.js';
import { Image, layOut, rawRegion } from '../src/shared/image.js';
import { noJitter } from '../src/shared/jitter.js';
import { EVTCHNOP_bind_ipi, EVTCHNOP_send } from '../src/shared/public/event-channel.js';
import { __HYPERVISOR_event_channel_op, __HYPERVISOR_xen_version } from '../src/shared/public/xen.js';
import { spinlockRegions, spinlocks } from '../src/shared/spinlock.js';
import { versionCounter } from '../src/shared/version-counter.js';
import { parseRtApp } from '../src/workload/rt-app.js';
import { benchConfig, shortPhases } from './workloads.js';

const BATCH = 10_000;
// A machine left half way through an operation that threw is no place for the next one.
const bench = new Bench({ time: 400, warmupTime: 400, throws: true });
const sink = new Float64Array(1);

/** Adds `f` (which runs its operation n times) under a name. */
function add(name: string, f: (n: number) => void): void {
  bench.add(name, () => f(BATCH));
}

// --- raw words of an image
const image = Image.create(layOut([rawRegion('page', 64, 1), rawRegion('clock', 64, 1), ...spinlockRegions(2, 2)]));
const { i32 } = image;
const W = image.region('page').base >> 2;

add('raw: Atomics.load', (n) => {
  let sum = 0;
  for (let k = 0; k < n; k++) sum += Atomics.load(i32, W);
  sink[0] = sum;
});
add('raw: two Atomics.load + plain read of a time page', (n) => {
  let sum = 0;
  for (let k = 0; k < n; k++) {
    const v = Atomics.load(i32, W);
    const tsc = fromHalves(i32[W + 2]!, i32[W + 3]!);
    const sys = fromHalves(i32[W + 4]!, i32[W + 5]!);
    sum += sys + scaleDelta(1000 + k - tsc, i32[W + 6]! >>> 0, (i32[W + 7]! << 24) >> 24) + (v ^ Atomics.load(i32, W));
  }
  sink[0] = sum;
});
const version = versionCounter(i32, false);
i32[W + 6] = 0x80000000 | 0;
add('time read by the version protocol', (n) => {
  let sum = 0;
  for (let k = 0; k < n; k++) {
    for (;;) {
      const v = version.readVersion(W);
      const tsc = fromHalves(i32[W + 2]!, i32[W + 3]!);
      const sys = fromHalves(i32[W + 4]!, i32[W + 5]!);
      const ns = sys + scaleDelta(1000 + k - tsc, i32[W + 6]! >>> 0, (i32[W + 7]! << 24) >> 24);
      if (!version.isConsistent(W, v)) continue;
      sum += ns;
      break;
    }
  }
  sink[0] = sum;
});
add('raw: compareExchange + store', (n) => {
  for (let k = 0; k < n; k++) {
    Atomics.compareExchange(i32, W + 8, 0, 1);
    Atomics.store(i32, W + 8, 0);
  }
});
const locksAt = (exclusive: boolean) =>
  spinlocks(i32, image.f64, image.region('spinlocks').base, image.region('held-locks').base, {
    debug: false,
    free: exclusive
      ? undefined
      : {
          now: image.region('clock').base >> 3,
          firstHandedOver: Infinity,
          handOverNs: 0,
          separate: (image.region('clock').base >> 2) + 2,
          firstOwn: 0,
          spins: 1000,
          jitter: noJitter,
          isEnded: () => false,
        },
  });
const realLock = locksAt(false);
const orderedLock = locksAt(true);
add('spinlock, real (acquire + release)', (n) => {
  for (let k = 0; k < n; k++) {
    realLock.acquire(0, 0);
    realLock.release(0, 0);
  }
});
add('spinlock, ordered mode', (n) => {
  for (let k = 0; k < n; k++) {
    orderedLock.acquire(1, 0);
    orderedLock.release(1, 0);
  }
});

// --- a machine between two turns: two pCPUs, two hogs, one idle sleeper each
const built = buildMachine(
  benchConfig({
    pcpus: 2,
    guests: [
      {
        ...shortPhases(2, 1)[0]!,
        name: 'hog',
        cpus: [[0]],
        workload: parseRtApp('{"tasks":{"t":{"run":1000000000}}}', 'b'),
      },
      {
        ...shortPhases(2, 1)[0]!,
        name: 'sleeper',
        // Either pCPU, or the two were groups of their own (hv/separation.ts) that do not steal from each other.
        cpus: [[0, 1]],
        workload: parseRtApp('{"tasks":{"t":{"sleep":2000000000}}}', 'b'),
      },
    ],
  }),
  1,
);
const { hv, keys, turns } = built.core;
for (let t = keys.key(keys.root()); t < 5e6; t = keys.key(keys.root())) {
  hv.context.floors.setFloor(0, t);
  turns.take(keys.root());
}
const { regs, domain, vcpu, pcpu, queues, machine } = hv.context;
const caller = domain.firstVcpu(1);
const other = domain.firstVcpu(2);
const argument = domain.frames(1) + domain.nrFrames(1) * 4096 - 64;
const argumentGuest = domain.nrFrames(1) * 4096 - 64;
hv.smp.enterTurn(0);

function call(nr: number, a0: number, a1: number): number {
  regs.setNr(caller, nr);
  regs.setLo(caller, 0, a0);
  regs.setHi(caller, 0, 0);
  regs.setLo(caller, 1, a1);
  regs.setHi(caller, 1, 0);
  return hv.hypercall.call(caller);
}

add('hypercall in and out (xen_version)', (n) => {
  for (let k = 0; k < n; k++) call(__HYPERVISOR_xen_version, 0, 0);
});

hv.memory.setU32(argument, 0);
call(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_ipi, argumentGuest);
const port = hv.memory.u32(argument + 4);
hv.memory.setU32(argument, port);
const pendingWord = (domain.sharedInfo(1) >> 2) + (2048 >> 2) + (port >> 5);
const info = vcpu.infoAddr(caller);
add('event send to upcall (own VCPU, up to the delivered frame)', (n) => {
  const { u8, i32: words } = built.image;
  for (let k = 0; k < n; k++) {
    call(__HYPERVISOR_event_channel_op, EVTCHNOP_send, argumentGuest);
    if (!hv.events.needsDelivery(caller)) throw new Error('the event did not arrive');
    // What the guest does with it: flag, selector, pending bit.
    u8[info] = 0;
    words[(info >> 2) + 2] = 0;
    words[pendingWord] = 0;
  }
});
add('raw: three byte and word stores of an upcall', (n) => {
  const { u8, i32: words } = built.image;
  for (let k = 0; k < n; k++) {
    u8[info] = 0;
    words[(info >> 2) + 2] = 0;
    words[pendingWord] = 0;
  }
});

// A wake-up on another pCPU and back to sleep: state, queue, tickle, IPI.
const VPF_blocked = 1;
add('wake on another pCPU and put to sleep again', (n) => {
  for (let k = 0; k < n; k++) {
    hv.sched.unblock(other);
    hv.sched.sleep(other, VPF_blocked);
    pcpu.setReschedIpiAt(1, Infinity);
    queues.masks.set(queues.word(1), 1);
  }
});
add('context switch (block, idle, wake, run: two switches)', (n) => {
  for (let k = 0; k < n; k++) {
    machine.setNow(0, machine.now(0) + 1000);
    hv.smp.enterTurn(1);
    hv.sched.unblock(other);
    hv.sched.schedule(1);
    vcpu.setPauseFlags(other, VPF_blocked);
    hv.sched.schedule(1);
  }
  hv.smp.enterTurn(0);
});
add('steal: look at one loaded peer, take, give back', (n) => {
  const { entry, runq } = queues;
  for (let k = 0; k < n; k++) {
    // `other` queued behind the hog of pCPU 0, then taken by pCPU 1 through its scheduler.
    machine.setNow(0, machine.now(0) + 2e6);
    vcpu.setPauseFlags(other, 0);
    entry.setProcessor(other, 0);
    queues.addRunnable(0, 1);
    queues.insert(other);
    queues.masks.set(queues.word(hardMask(other)), 1);
    runq.setLastLoadBalance(1, 0);
    hv.smp.enterTurn(1);
    hv.sched.schedule(1);
    if (pcpu.current(1) !== other) throw new Error('nothing was stolen');
    vcpu.setPauseFlags(other, VPF_blocked);
    hv.sched.schedule(1);
  }
  hv.smp.enterTurn(0);
});

await bench.run();
process.stdout.write(
  `${JSON.stringify(
    bench.tasks.map((t) => {
      const r = t.result;
      return { name: t.name, ns: r && 'latency' in r ? (r.latency.p50 * 1e6) / BATCH : Number.NaN };
    }),
  )}\n`,
);
