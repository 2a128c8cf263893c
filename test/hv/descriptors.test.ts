import { expect } from 'chai';
import { checkDescriptors, checkedDescriptor } from '../../src/hv/mm/descriptors.js';
import { FLAT_KERNEL_CS } from '../../src/shared/public/arch-x86.js';
import { XEN_EINVAL } from '../../src/shared/public/errno.js';

/** High words: of code and data of privilege 0, of a call gate of privilege 3. */
const [CODE, DATA, GATE] = [0x00af9b00, 0x00cf9300, 0xec00];
const PRIVILEGE = 0x6000;

describe('a descriptor', () => {
  it('of a segment is for ring 3, whatever it says', () => {
    for (const high of [CODE, DATA, CODE | PRIVILEGE])
      expect(checkedDescriptor(0xffff, high)).to.deep.equal([0xffff, high | PRIVILEGE]);
  });

  it('that is not present may be anything', () => {
    for (const high of [0, 0x8900 & ~0x8000, 0x1234]) expect(checkedDescriptor(7, high)).to.deep.equal([7, high]);
  });

  it('of the system is refused: tasks, local tables, gates of interrupts and traps', () => {
    for (const type of [1, 2, 3, 4, 5, 6, 7, 8, 9, 0xa, 0xb, 0xd, 0xe, 0xf])
      expect(checkedDescriptor(0, 0x8000 | (type << 8)), String(type)).to.equal(undefined);
  });

  it('of a call gate has no privilege, and leads to ring 3', () => {
    const target = 8 << 16;
    expect(checkedDescriptor(target | 0x1234, GATE)).to.deep.equal([
      target | (3 << 16) | 0x1234 | 0,
      GATE & ~PRIVILEGE,
    ]);
    expect(checkedDescriptor(FLAT_KERNEL_CS[64] << 16, GATE)).to.not.equal(undefined);
    // Of the hypervisor's; with parameters.
    expect(checkedDescriptor(0xe008 << 16, GATE)).to.equal(undefined);
    expect(checkedDescriptor(target, GATE | 1)).to.equal(undefined);
  });

  it('that may not be spoils its page', () => {
    const page = new Int32Array(1024);
    page[3] = DATA;
    expect(checkDescriptors(page, 0)).to.equal(0);
    expect(page[3]).to.equal(DATA | PRIVILEGE);
    page[1023] = 0x8900;
    expect(checkDescriptors(page, 0)).to.equal(-XEN_EINVAL);
  });
});
