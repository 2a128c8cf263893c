/** The encoder of WebAssembly modules: what it writes is valid, for the engine and for wabt, and means what it should. */
import { expect } from 'chai';
import wabt from 'wabt';
import { handlerModule, loopModule } from '../../src/pcpu/x86/handlers.js';
import { Code, I32, moduleBytes, OP } from '../../src/pcpu/x86/wasm-module.js';

const FEATURES = { threads: true, tail_call: true, simd: true, sign_extension: true };

async function textOf(bytes: Uint8Array): Promise<string> {
  const { readWasm } = await wabt();
  const module = readWasm(bytes, { readDebugNames: false, ...FEATURES });
  // Its types leave the argument out.
  (module as unknown as { validate(features: object): void }).validate(FEATURES);
  const text = module.toText({ foldExprs: false, inlineExport: false });
  module.destroy();
  return text;
}

describe('modules', () => {
  it('have numbers of any size', async () => {
    const code = new Code(0);
    for (const x of [0, 63, 64, -64, -65, 127, 128, 0x7fffffff, -0x80000000]) code.i32(x).op(OP.drop);
    for (const x of [0n, -1n, 1n << 62n, -(1n << 63n), 0xffff_ffff_ffff_ffffn]) code.i64(x).op(OP.drop);
    code.i32(7);
    const bytes = moduleBytes({
      types: [{ params: [], results: [I32] }],
      memoryPages: 1,
      hasTable: false,
      imports: [],
      funcs: [{ type: 0, code }],
    });
    const text = await textOf(bytes);
    const consts = [...text.matchAll(/i(?:32|64)\.const (-?\d+)\n\s+drop/g)].map((m) => m[1]);
    expect(consts).to.deep.equal(
      ['0', '63', '64', '-64', '-65', '127', '128', '2147483647', '-2147483648'].concat([
        '0',
        '-1',
        '4611686018427387904',
        '-9223372036854775808',
        '-1',
      ]),
    );
  });

  it('give locals out again, each type for itself', () => {
    const code = new Code(3);
    expect([code.local(I32), code.local(I32)]).to.deep.equal([3, 4]);
    code.releaseLocals();
    expect([code.local(I32), code.local(I32), code.local(I32)]).to.deep.equal([3, 4, 5]);
  });

  it('of no handlers, of one, and as a loop are valid', async () => {
    const steps = [
      { op: 'const', value: 1n },
      { op: 'setOperand', n: 0, size: 4, value: 0 },
    ] as never;
    for (const { bytes } of [
      loopModule([], 16),
      loopModule([{ steps }, { steps, next: steps }], 16),
      handlerModule([{ steps }], 16),
    ]) {
      expect(await textOf(bytes)).to.match(/br_table|i64\.store/);
    }
  });
});
