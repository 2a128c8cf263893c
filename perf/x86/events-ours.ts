/**
 * Events on the bare core: `events-ours.js EVENTS.ELF EVENT...`. What a hypervisor does is done here: pages that are missing are put back,
 * and page tables and TLB are what the code asks for. Prints a JSON object: ns of each event, several times.
 */
import { readFileSync } from 'node:fs';
import { readElf } from '../../src/loader/elf.js';
import { EXIT, FLAG, ST, VECTOR } from '../../src/pcpu/x86/state.js';
import { bareMachine, registers } from '../../test/x86/bench-machine.js';

/** Of events.h. */
const [AREA, PAGES] = [0x100_0000n, 512];
const PAGE = 4096;
const STACK = { virtual: 0x200_0000n, bytes: 4 * PAGE };
const [RAX, RSP, RSI, RDI] = [0, 4, 6, 7];
const HOOK = { drop: 0, flush: 1, invalidate: 2 } as const;
const REPETITIONS = 7;
const LEAST_MS = 50;
const LONG = 2 ** 30;
/** Instructions after which the interpreter is one loop, and compiled for good. */
const SETTLED = 2 ** 26;

const [file, ...events] = process.argv.slice(2) as [string, ...string[]];
// As in free mode: LOCK is an atomic access of the host, or takes the bus.
const machine = bareMachine(2048, undefined, true);
const { image, core, st } = machine;
const { i32 } = image;
const r = registers(machine);

const elf = readElf(readFileSync(file));
for (const { address, bytes, contents, isWritable, isExecutable } of elf.segments) {
  const virtual = address - (address % BigInt(PAGE));
  machine.map({ virtual, bytes: Number(address + bytes - virtual), isWritable, isExecutable });
  for (const [n, byte] of contents.entries()) image.u8[machine.at(address + BigInt(n))] = byte;
}
machine.map({ virtual: AREA, bytes: PAGES * PAGE });
machine.map({ virtual: AREA + BigInt(PAGES * PAGE), bytes: PAGE, isExecutable: true });
machine.map(STACK);

/** Page-table entries of the area's pages, as indices, and what their low words are. */
const places = Array.from({ length: PAGES }, (_, n) => machine.entryAt(AREA + BigInt(n * PAGE)) >> 2);
const entries = places.map((at) => i32[at]!);

function serve(): void {
  const hook = i32[(st + ST.gpr + 8 * RAX) >> 2]!;
  if (hook === HOOK.invalidate) core.invalidate(r.get(RDI));
  else {
    if (hook === HOOK.drop) for (const at of places) i32[at] = 0;
    core.flush();
  }
}

function putBack(): void {
  const n = (i32[(st + ST.cr2) >> 2]! - Number(AREA)) / PAGE;
  i32[places[Math.floor(n)]!] = entries[Math.floor(n)]!;
}

/** @returns ms */
function run(event: number, n: number): number {
  r.set(RDI, BigInt(event));
  r.set(RSI, BigInt(n));
  r.set(RSP, STACK.virtual + BigInt(STACK.bytes));
  r.rip = elf.entry;
  i32[(st + ST.flags) >> 2] = FLAG.IF;
  const began = performance.now();
  for (;;) {
    const reason = core.run(st, LONG);
    if (reason === EXIT.syscall) serve();
    else if (reason === EXIT.exception) {
      const vector = r.word(ST.vector);
      if (vector === VECTOR.UD) return performance.now() - began;
      if (vector !== VECTOR.PF) throw new Error(`exception ${vector} at ${r.rip.toString(16)}`);
      putBack();
    }
  }
}

// All forms are known before anything is measured.
for (const event of events.keys()) run(event, PAGES);
run(events.indexOf('lock'), SETTLED);

const counts = events.map((_, event) => {
  let n = PAGES;
  while (run(event, n) < LEAST_MS) n *= 2;
  return n;
});
const found = Object.fromEntries(events.map((name): [string, number[]] => [name, []]));
// By turns: of two the difference is taken.
for (let k = 0; k < REPETITIONS; k++) {
  for (const [event, n] of counts.entries()) found[events[event]!]!.push((run(event, n) * 1e6) / n);
}
console.log(JSON.stringify(found));
