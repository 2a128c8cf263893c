/** Code that several workers run at the same time: locked accesses, and code that one writes and another runs. */
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { sharedCode } from '../../src/pcpu/x86/code-cache.js';
import type { X86Core } from '../../src/pcpu/x86/core.js';
import { EXIT, FLAG, ST, STATE_BYTES, tlbPlace, VECTOR } from '../../src/pcpu/x86/state.js';
import { type BareMachine, bareCore, bareMachine, registers } from './bench-machine.js';
import type { ParallelData } from './parallel-worker.js';

const PAGE = 4096;
const CODE = 0x10_0000n;
const DATA = 0x20_0000n;
const STACK = 0x30_0000n;
const [RAX, RSP, RBP, RSI, RDI] = [0, 4, 5, 6, 7];
const UD2 = [0x0f, 0x0b];
const RDTSC = [0x0f, 0x31];

function put(m: BareMachine, at: bigint, bytes: readonly number[]): void {
  for (const [n, byte] of bytes.entries()) m.image.u8[m.at(at + BigInt(n))] = byte;
}

/** What VCPU n begins with. */
function begin(m: BareMachine, n: number, rip: bigint, gpr: Readonly<Record<number, bigint>> = {}): number {
  const st = m.st + n * STATE_BYTES;
  const r = registers({ image: m.image, st });
  r.rip = rip;
  r.set(RSP, STACK + BigInt(PAGE * (n + 1)));
  for (const [register, x] of Object.entries(gpr)) r.set(Number(register), x);
  new DataView(m.image.buffer).setInt32(st + ST.flags, FLAG.IF, true);
  return st;
}

/** Runs the VCPUs of all cores on threads, each until it comes to UD2. */
async function runAll(m: BareMachine, cores: number, budget: number): Promise<void> {
  const threads = Array.from({ length: cores }, (_, self) => {
    const { image } = m;
    const gate = m.at(DATA + BigInt(PAGE - 4));
    const workerData: ParallelData = { memory: image.memory, map: image.map, self, gate, cores, budget };
    const worker = new Worker(new URL('./parallel-worker.js', import.meta.url), { workerData });
    return new Promise<void>((resolve, reject) => {
      worker.once('message', (vector: number) => {
        if (vector === VECTOR.UD) resolve();
        else reject(new Error(`core ${self}: exception ${vector}`));
      });
      worker.once('error', reject);
    });
  });
  await Promise.all(threads);
}

/** Addresses of what the threads count: see LOOP. Of R12 and R13 the second's upper half is the first. */
const COUNTED = {
  ...{ 7: DATA, 6: DATA + 64n, 8: DATA + 128n, 9: DATA + 192n, 10: DATA + 256n + 60n },
  ...{ 11: DATA + 2n * BigInt(PAGE) - 4n, 12: DATA + 512n, 13: DATA + 508n, 14: DATA + 576n, 5: DATA + 640n },
};
const R15 = 15;
// R15 times. Two of the accesses are on the same bytes: one is a single access of the host's, the other needs the bus.
const LOOP = [
  ...[0xf0, 0xff, 0x07], // lock inc dword [rdi]
  ...[0xb8, 1, 0, 0, 0, 0xf0, 0x48, 0x0f, 0xc1, 0x06], // mov eax,1; lock xadd [rsi],rax
  ...[0x49, 0x8b, 0x00], // mov rax,[r8]
  ...[0x48, 0x8d, 0x58, 0x01, 0xf0, 0x49, 0x0f, 0xb1, 0x18, 0x75, 0xf5], // lea rbx,[rax+1]; lock cmpxchg [r8],rbx; jne
  ...[0x49, 0x8b, 0x01, 0x49, 0x8b, 0x51, 0x08], // mov rax,[r9]; mov rdx,[r9+8]
  ...[0x48, 0x8d, 0x58, 0x01, 0x48, 0x8d, 0x4a, 0x01], // lea rbx,[rax+1]; lea rcx,[rdx+1]
  ...[0xf0, 0x49, 0x0f, 0xc7, 0x09, 0x75, 0xf1], // lock cmpxchg16b [r9]; jne
  ...[0xf0, 0x49, 0x83, 0x02, 0x01], // lock add qword [r10],1: in two cache lines
  ...[0xf0, 0x49, 0x83, 0x03, 0x01], // lock add qword [r11],1: in two pages
  ...[0xf0, 0x41, 0xff, 0x04, 0x24], // lock inc dword [r12]
  ...[0x48, 0xbb, 0, 0, 0, 0, 1, 0, 0, 0, 0xf0, 0x49, 0x01, 0x5d, 0x00], // mov rbx,1 << 32; lock add [r13],rbx
  ...[0xbb, 1, 0, 0, 0, 0x41, 0x87, 0x1e, 0x85, 0xdb, 0x75, 0xf4], // mov ebx,1; xchg [r14],ebx; test ebx,ebx; jnz
  ...[0xff, 0x45, 0x00], // inc dword [rbp]
  ...[0x41, 0xc7, 0x06, 0, 0, 0, 0], // mov dword [r14],0
  ...[0x49, 0xff, 0xcf], // dec r15
];
const BACK = -(LOOP.length + 6);
const JNZ_BACK = [0x0f, 0x85, ...[0, 8, 16, 24].map((n) => (BACK >> n) & 255)];

describe('locked accesses of several threads', () => {
  for (const [cores, rounds, budget] of [
    [2, 40_000, 1 << 20],
    [2, 10_000, 1000],
    [3, 10_000, 1 << 16],
  ] as const) {
    it(`lose nothing: ${cores} threads, ${budget} instructions at a time`, async () => {
      const m = bareMachine(64, undefined, true, undefined, { cores });
      m.map({ virtual: CODE, bytes: PAGE, isWritable: false, isExecutable: true });
      m.map({ virtual: DATA, bytes: 3 * PAGE });
      put(m, CODE, [...LOOP, ...JNZ_BACK, ...UD2]);
      for (let n = 0; n < cores; n++) begin(m, n, CODE, { ...COUNTED, [R15]: BigInt(rounds) });
      await runAll(m, cores, budget);
      const view = new DataView(m.image.buffer);
      const wide = (at: bigint): bigint => {
        let x = 0n;
        for (let n = 7n; n >= 0n; n--) x = (x << 8n) | BigInt(m.image.u8[m.at(at + n)]!);
        return x;
      };
      const all = BigInt(cores * rounds);
      expect(wide(COUNTED[7]), 'inc').to.equal(all);
      expect(wide(COUNTED[6]), 'xadd').to.equal(all);
      expect(wide(COUNTED[8]), 'cmpxchg').to.equal(all);
      expect([wide(COUNTED[9]), wide(COUNTED[9] + 8n)], 'cmpxchg16b').to.deep.equal([all, all]);
      expect(wide(COUNTED[10]), 'in two cache lines').to.equal(all);
      expect(wide(COUNTED[11]), 'in two pages').to.equal(all);
      expect(view.getUint32(m.at(COUNTED[12]), true), 'alone and as a part').to.equal(2 * cores * rounds);
      expect(wide(COUNTED[5]), 'under a lock').to.equal(all);
    });
  }

  // Without the announcement of the first it would be lost in between the two accesses of the second.
  it('lose nothing where one is on a part of the other', async () => {
    const m = bareMachine(64, undefined, true, undefined, { cores: 2 });
    m.map({ virtual: CODE, bytes: 2 * PAGE, isWritable: false, isExecutable: true });
    m.map({ virtual: DATA, bytes: PAGE });
    const rounds = 400_000;
    // lock inc dword [r12]; dec r15; jnz
    put(m, CODE, [0xf0, 0x41, 0xff, 0x04, 0x24, 0x49, 0xff, 0xcf, 0x75, 0xf6, ...UD2]);
    // lock add [r13],rbx; dec r15; jnz
    put(m, CODE + BigInt(PAGE), [0xf0, 0x49, 0x01, 0x5d, 0x00, 0x49, 0xff, 0xcf, 0x75, 0xf6, ...UD2]);
    for (const n of [0, 1]) begin(m, n, CODE + BigInt(n * PAGE), { ...COUNTED, 3: 1n << 32n, [R15]: BigInt(rounds) });
    await runAll(m, 2, 1 << 20);
    expect(m.image.i32[m.at(COUNTED[12]) >> 2]).to.equal(2 * rounds);
  });
});

/** mov eax,x; ret */
const answer = (x: number): number[] => [0xb8, x, 0, 0, 0, 0xc3];
/** mov byte [rdi+1],x: its number. */
const patch = (x: number): number[] => [0xc6, 0x47, 0x01, x];
/** mov al,[rsi]; mov al,[rbp]: two pages at the same place of the TLB. */
const EVICT = [0x8a, 0x06, 0x8a, 0x45, 0x00];
const SAME_PLACE = Array.from({ length: 1 << 14 }, (_, n) => CODE + BigInt((n + 1) * PAGE)).filter(
  (at) => at > STACK + BigInt(16 * PAGE) && tlbPlace(Number(at)) === tlbPlace(Number(CODE)),
) as [bigint, bigint];

/** A writer and a runner, whose callbacks are where one goes on while the other is in the middle of a run. */
function writerAndRunner(over: { onCounter?: () => void; onWritten?: () => void }) {
  const m = bareMachine(64, undefined, true, undefined, {
    cores: 2,
    over: {
      counter() {
        over.onCounter?.();
        return [0, 0];
      },
    },
  });
  const { image } = m;
  m.map({ virtual: CODE, bytes: PAGE, isWritable: true, isExecutable: true });
  m.map({ virtual: CODE + BigInt(PAGE), bytes: 2 * PAGE, isExecutable: true });
  m.map({ virtual: DATA, bytes: PAGE });
  m.map({ virtual: STACK, bytes: 2 * PAGE });
  put(m, CODE, answer(1));
  // call rdi; ud2
  const CALLER = CODE + BigInt(PAGE);
  put(m, CALLER, [0xff, 0xd7, ...UD2]);
  const WRITER = CODE + 2n * BigInt(PAGE);
  const shared = sharedCode(image, image.region('code-frames').base, image.region('frames').base);
  const written = (frame: number): number => {
    const before = shared.written(frame);
    over.onWritten?.();
    return before;
  };
  const runner = bareCore(image, 1, true);
  const writer = over.onWritten ? bareCore(image, 0, true, { code: { ...shared, written } }) : m.core;
  return {
    m,
    write(code: readonly number[], core: X86Core = writer) {
      put(m, WRITER, [...code, ...UD2]);
      const st = begin(m, 0, WRITER, { [RDI]: CODE, [RSI]: SAME_PLACE[0], [RBP]: SAME_PLACE[1] });
      core.codeChanged(m.at(WRITER));
      expect(core.run(st, 1000, 0, 0)).to.equal(EXIT.exception);
      expect(image.i32[(st + ST.vector) >> 2]).to.equal(VECTOR.UD);
    },
    /** What the code says in a run of its own. */
    call(): number {
      const st = begin(m, 1, CALLER, { [RDI]: CODE });
      expect(runner.run(st, 1000, 1, 1)).to.equal(EXIT.exception);
      return Number(registers({ image, st }).get(RAX));
    },
    writer,
  };
}

describe('code that one thread writes and another runs', () => {
  it('is the new one in the next run, where the writer was stopped at its write', () => {
    const { write, call } = writerAndRunner({});
    expect(call()).to.equal(1);
    write(patch(2));
    expect(call()).to.equal(2);
    write([...patch(3), ...patch(4)]);
    expect(call()).to.equal(4);
  });

  // Without a look when the writer's run ends it would be the old one, for as long as the writer does not run again.
  it('is the new one though the page could be written before it was code', () => {
    const seen: number[] = [];
    const t = writerAndRunner({ onCounter: () => seen.push(t.call()) });
    t.write([...patch(2), ...RDTSC, ...patch(3)]);
    expect(seen).to.deep.equal([2]);
    expect(t.call()).to.equal(3);
  });

  // Without a look when an entry of the TLB goes, nobody would know that the page could be written.
  it('is the new one though the writer has forgotten since that it could write the page', () => {
    const seen: number[] = [];
    const t = writerAndRunner({ onCounter: () => seen.push(t.call()) });
    for (const virtual of SAME_PLACE.slice(0, 2)) t.m.map({ virtual, bytes: PAGE });
    t.write([...patch(2), ...RDTSC, ...patch(3), ...EVICT]);
    expect(seen).to.deep.equal([2]);
    expect(t.call()).to.equal(3);
  });

  // Without the order of write and word, the runner would decode the old one anew in between, and keep it.
  it('is the new one though the runner decodes between the write and the word of it', () => {
    const seen: number[] = [];
    const t = writerAndRunner({ onWritten: () => seen.push(t.call()) });
    expect(t.call()).to.equal(1);
    t.write(patch(2));
    expect(seen.length).to.be.above(0);
    expect(t.call()).to.equal(2);
    // Its last bytes in the page, the others in the next; and of a string.
    t.write([0xb0, 3, 0x48, 0xff, 0xc7, 0xaa]);
    expect(t.call()).to.equal(3);
  });
});

describe('a run that may go on', () => {
  const FOR_EVER = [0xeb, 0xfe];
  const MORE = 16;

  /** Runs code that has no end on core 1; `meanwhile` when it asks for more the first time. @returns how often it asks, and why it ended */
  function asked(meanwhile: (m: BareMachine) => void): [asked: number, reason: number] {
    let times = 0;
    const m = bareMachine(64, undefined, true, undefined, { cores: 2 });
    m.map({ virtual: CODE, bytes: PAGE, isExecutable: true });
    m.map({ virtual: STACK, bytes: 2 * PAGE });
    put(m, CODE, FOR_EVER);
    const more = (): number => {
      if (++times === 1) meanwhile(m);
      return times < 5 ? MORE : 0;
    };
    const runner = bareCore(m.image, 1, true, { more });
    const st = begin(m, 1, CODE);
    const reason = runner.run(st, MORE, 1, 1);
    expect(m.image.i32[(st + ST.left) >> 2]).to.equal(0);
    return [times, reason];
  }

  it('goes on as long as it is given more', () => {
    expect(asked(() => {})).to.deep.equal([5, EXIT.budget]);
  });

  it('ends where its translations are taken away', () => {
    const isOver = new Error('who waits for the end of the run has been heard');
    const takeAway = (m: BareMachine): void => {
      expect(() =>
        m.core.shootDown(1, undefined, 1, () => {
          throw isOver;
        }),
      ).to.throw(isOver);
    };
    expect(asked(takeAway)).to.deep.equal([1, EXIT.budget]);
  });

  it('ends where others have written code', () => {
    expect(asked((m) => m.core.codeChanged(m.at(CODE)))).to.deep.equal([1, EXIT.budget]);
  });
});
