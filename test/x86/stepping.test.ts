/** Single steps against the processor that the tests run on. */
import { expect } from 'chai';
import fc from 'fast-check';
import { type Case, DATA_BASE, DATA_BYTES, describeCase, plainState, RCX, RDI, RSI } from './case.js';
import { coreCpu, PATIENCE } from './core-cpu.js';
import { type NativeCpu, nativeCpu } from './native/cpu.js';
import { randomCase } from './random-code.js';

const CASES = 200;

function caseOf(code: string, gpr: Readonly<Record<number, bigint>> = {}, isStepped = false): Case {
  return {
    code: Uint8Array.from(Buffer.from(code.replaceAll(' ', ''), 'hex')),
    state: plainState({ gpr }),
    data: Uint8Array.from({ length: DATA_BYTES }, (_, n) => (n < 128 ? n % 7 : 0)),
    isStepped,
  };
}

describe('the x86 core, beside a processor,', () => {
  const core = coreCpu(PATIENCE);
  let native: NativeCpu;
  before(function () {
    const found = nativeCpu();
    if (found) native = found;
    else this.skip();
  });

  function check(cases: readonly Case[], definedFlags = (_n: number, _rip: bigint): bigint => 0n): void {
    for (const [n, outcome] of native.run(cases).entries()) {
      const differences = native.compare(core.run(cases[n]!), outcome, cases[n]!, definedFlags(n, outcome.state.rip));
      if (differences.length > 0) expect.fail(`${describeCase(cases[n]!)}\n${differences.join('\n')}`);
    }
  }

  const [PUSH_TF, PUSH_NONE, POPF] = ['68 02 01 00 00', '6a 02', '9d'];
  // AMD's processors hold off the trap behind each of several such loads in a row, Intel's and the core behind the first.
  const [MOV_SS, MOV_SS_EAX] = ['8e d1', '8e d0'];
  const gpr = { [RCX]: 0x2bn, [RSI]: DATA_BASE, [RDI]: DATA_BASE + 64n };
  const steps: readonly (readonly [string, string])[] = [
    ['moves', '90 48 ff c0 90'],
    ['a jump', 'eb 00 90'],
    ['a POPF that keeps TF', `${PUSH_TF} ${POPF} 90`],
    ['a POPF that clears TF', `${PUSH_NONE} ${POPF} 90 90`],
    ['a POPF that clears TF, and one that sets it', `${PUSH_NONE} ${POPF} ${PUSH_TF} ${POPF} 90 90`],
    ['PUSHF', '9c 58 90'],
    ['a repeated string instruction', '6a 05 59 f3 a4 90'],
    ['one that is done nought times', '6a 00 59 f3 a4 90'],
    ['one that compares', '6a 05 59 f3 a6 90'],
    ['a load of SS', `90 ${MOV_SS} 90 90`],
    ['a load of SS before a repeated string instruction', `6a 03 58 91 ${MOV_SS_EAX} f3 a4 90`],
    ['a load of DS', '8e d9 90'],
    ['a fault', '90 f4'],
    ['a fault behind a load of SS', `90 ${MOV_SS} f4`],
    ['a breakpoint', '90 cc 90'],
    ['INT1', '90 f1 90'],
  ];
  for (const [what, code] of steps)
    it(`steps through ${what}`, () => {
      check([caseOf(code, gpr, true)]);
    });

  it('traps behind INT1 where TF is not set, and nowhere else', () => {
    const { exception, steps } = core.run(caseOf('90 f1 90'));
    expect([exception, steps?.count]).to.deep.equal([undefined, 1]);
  });

  it('comes to the same with breakpoints in the data, in any sequence of instructions', () => {
    const from = fc.sample(fc.nat(1e9), 1)[0]!;
    const cores = [coreCpu(PATIENCE, undefined, false, true), coreCpu(PATIENCE, 0, true, true)];
    const all = Array.from({ length: CASES }, (_, n) => randomCase(from + n));
    let hits = 0;
    for (const [n, outcome] of native.run(all.map(({ case: c }) => c)).entries()) {
      const { case: c, definedFlagsAt } = all[n]!;
      const { steps, ...came } = cores[n % 2]!.run(c);
      hits += steps!.count;
      const differences = native.compare(came, outcome, c, definedFlagsAt(outcome.state.rip));
      if (differences.length > 0) expect.fail(`case ${from + n}:\n${describeCase(c)}\n${differences.join('\n')}`);
    }
    expect(hits).to.be.above(0);
  });

  it('steps through any sequence of instructions', () => {
    const from = fc.sample(fc.nat(1e9), 1)[0]!;
    const all = Array.from({ length: CASES }, (_, n) => randomCase(from + n));
    check(
      all.map(({ case: c }) => ({ ...c, isStepped: true })),
      (n, rip) => all[n]!.definedFlagsAt(rip),
    );
  });
});
