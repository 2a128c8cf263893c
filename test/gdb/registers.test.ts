import { expect } from 'chai';
import fc from 'fast-check';
import { REGISTERS, readAll, TARGET_XML, writeAll } from '../../src/gdb/registers.js';
import { resetState } from '../../src/pcpu/x86/reset.js';
import { ST, STATE_BYTES } from '../../src/pcpu/x86/state.js';
import { X87Registers } from '../../src/pcpu/x86/x87-registers.js';

function block(): DataView {
  const view = new DataView(new ArrayBuffer(STATE_BYTES));
  resetState(view, 0);
  return view;
}

const named = (name: string) => REGISTERS.find((r) => r.name === name)!;
const value = (view: DataView, name: string): number => Buffer.from(named(name).read(view, 0)).readUInt32LE();

describe('registers as GDB knows them', () => {
  it('are described in the order in which they are sent', () => {
    const described = [...TARGET_XML.matchAll(/<reg name="(\w+)" bitsize="(\d+)" type="(\w+)" regnum="(\d+)"/g)];
    expect(described.map(([, name, bits, , n]) => [name, Number(bits) / 8, Number(n)])).to.deep.equal(
      REGISTERS.map(({ name, bytes }, n) => [name, bytes, n]),
    );
    expect(REGISTERS.map(({ name }) => name).slice(0, 8)).to.deep.equal([
      'rax',
      'rbx',
      'rcx',
      'rdx',
      'rsi',
      'rdi',
      'rbp',
      'rsp',
    ]);
  });

  it('are all what was written, but for bits that there are not', () => {
    const size = readAll(block(), 0).length;
    fc.assert(
      fc.property(fc.uint8Array({ minLength: size, maxLength: size }), (data) => {
        const view = block();
        expect(writeAll(view, 0, data)).to.equal(true);
        const once = readAll(view, 0);
        expect(writeAll(view, 0, once)).to.equal(true);
        expect([...readAll(view, 0)]).to.deep.equal([...once]);
        // From rax to rip, and xmm0 to xmm15.
        expect([...once.subarray(0, 136)]).to.deep.equal([...data.subarray(0, 136)]);
      }),
    );
    expect(writeAll(block(), 0, new Uint8Array(size - 1))).to.equal(false);
  });

  it('begin as a reset leaves them', () => {
    const view = block();
    // ZF and PF: the last result is 0.
    expect(value(view, 'eflags')).to.equal(0x246);
    expect(value(view, 'cs')).to.equal(0xe033);
    expect(value(view, 'ftag')).to.equal(0xffff);
    expect(value(view, 'fctrl')).to.equal(0x37f);
  });

  it('have ST(0) where the status word says', () => {
    const view = block();
    const x87 = new X87Registers(view.buffer);
    x87.select(0);
    x87.push({ isNegative: false, exponent: 0x3fff, significand: 1n << 63n });
    expect(Buffer.from(named('st0').read(view, 0)).toString('hex')).to.equal('0000000000000080ff3f');
    expect(value(view, 'fstat') >> 11).to.equal(7);
    named('st0').write(view, 0, Buffer.from('0000000000000080ff7f', 'hex'));
    expect(x87.get(0).exponent).to.equal(0x7fff);
    expect(view.getUint16(ST.fpr + 16 * 7 + 8, true)).to.equal(0x7fff);
  });
});
