import { expect } from 'chai';
import { HYPERCALL_NUMBERS, HYPERCALL_STATUS } from '../../src/hv/calls/table.js';
import { XEN_ENOSYS } from '../../src/shared/public/errno.js';
import { PHYSDEVOP_eoi } from '../../src/shared/public/physdev.js';
import { __HYPERVISOR_multicall, __HYPERVISOR_set_segment_base } from '../../src/shared/public/xen.js';
import { busyProbe } from './probe.js';

describe('the hypercall table', () => {
  it('knows a number of xen.h for every hypercall with a status', () => {
    for (const name of Object.keys(HYPERCALL_STATUS)) expect(HYPERCALL_NUMBERS, name).to.have.property(name);
  });

  it('has one number for each name, all below 64', () => {
    const numbers = Object.values(HYPERCALL_NUMBERS);
    expect(new Set(numbers).size).to.equal(numbers.length);
    for (const nr of numbers) expect(nr).to.be.within(0, 63);
  });

  it('says of a partial hypercall what is missing', () => {
    for (const status of Object.values(HYPERCALL_STATUS)) {
      if (typeof status === 'object') expect(status.partial).to.not.equal('');
    }
  });

  for (const abi of [32, 64] as const) {
    it(`answers -ENOSYS to every number without a status, and only to those (${abi}-bit)`, () => {
      const p = busyProbe({ widths: [abi] });
      const v = p.vcpuOf(0);
      const served = new Set(
        Object.entries(HYPERCALL_STATUS)
          .filter(([, status]) => status !== 'absent')
          .map(([name]) => HYPERCALL_NUMBERS[name]!),
      );
      // Every hypercall with commands has a command 0 or 1, physdev_op an acknowledgement, and refuses an argument at the end of the address space.
      for (let nr = 0; nr < 64; nr++) {
        const known = [0, 1, PHYSDEVOP_eoi].some((cmd) => p.call(v, nr, cmd, 0xfffffff0, 0xfffffff0) !== -XEN_ENOSYS);
        // Bases of segments are of 64 bits only.
        const isServed = served.has(nr) && !(abi === 32 && nr === __HYPERVISOR_set_segment_base);
        expect(known, `hypercall ${nr}`).to.equal(isServed);
      }
    });

    it(`answers -ENOSYS to numbers beyond the table (${abi}-bit)`, () => {
      const p = busyProbe({ widths: [abi] });
      for (const nr of [64, 65, 1000, 0x7fffffff, -1, -64]) expect(p.call(p.vcpuOf(0), nr)).to.equal(-XEN_ENOSYS);
    });

    it(`answers the same inside a multicall (${abi}-bit)`, () => {
      const p = busyProbe({ widths: [abi] });
      const v = p.vcpuOf(0);
      const word = abi / 8;
      const list = p.arg(v, [
        [0, 63, 4],
        [8 * word, 0xffffffff, 4],
      ]);
      expect(p.call(v, __HYPERVISOR_multicall, list, 2)).to.equal(0);
      for (const entry of [0, 1]) {
        const result = list + entry * 8 * word + word;
        expect(p.u32(v, result) | 0).to.equal(-XEN_ENOSYS);
        if (abi === 64) expect(p.u32(v, result + 4)).to.equal(0xffffffff);
      }
    });
  }
});
