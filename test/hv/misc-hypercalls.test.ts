/** Registers and tables of a kernel, as far as they are asked for by hypercalls that fail: what they do, the test kernel shows. */
import { expect } from 'chai';
import { XEN_EFAULT, XEN_EINVAL, XEN_ENODEV, XEN_ENOSYS } from '../../src/shared/public/errno.js';
import { XENNMI_register_callback, XENNMI_unregister_callback } from '../../src/shared/public/nmi.js';
import * as X from '../../src/shared/public/xen.js';
import { busyProbe } from './probe.js';

const BAD = 0xffff_fff0;
const MOST_GDT_ENTRIES = 14 * 512;
const NOT_CANONICAL = 1n << 47n;

describe('hypercalls about registers', () => {
  it('set bases of segments of 64-bit guests, which are addresses', () => {
    const p = busyProbe({ widths: [64] });
    const set = (which: number, base: bigint): number =>
      p.call(p.vcpuOf(0), X.__HYPERVISOR_set_segment_base, which, base);
    for (const which of [0, 1, 2]) {
      expect(set(which, 0xffff_8000_0000_0000n)).to.equal(0);
      expect(set(which, NOT_CANONICAL)).to.equal(-XEN_EINVAL);
    }
    expect(set(3, NOT_CANONICAL)).to.equal(0);
    expect(set(4, 0n)).to.equal(-XEN_EINVAL);
    const narrow = busyProbe({ widths: [32] });
    expect(narrow.call(narrow.vcpuOf(0), X.__HYPERVISOR_set_segment_base, 0, 0)).to.equal(-XEN_ENOSYS);
  });

  it('find no debug registers in a modelled guest, and let it switch tasks', () => {
    const p = busyProbe();
    expect(p.call(p.vcpuOf(0), X.__HYPERVISOR_set_debugreg, 0, 0)).to.equal(-XEN_ENODEV);
    expect(p.call(p.vcpuOf(0), X.__HYPERVISOR_get_debugreg, 0)).to.equal(-XEN_ENODEV);
    expect(p.call(p.vcpuOf(0), X.__HYPERVISOR_fpu_taskswitch, 1)).to.equal(0);
  });

  for (const abi of [32, 64] as const) {
    it(`remember assistance by its type, of ${abi}-bit guests`, () => {
      const p = busyProbe({ widths: [abi] });
      const v = p.vcpuOf(0);
      const { domain } = p.context;
      const d = p.domainOf(0);
      const assist = (cmd: number, type: number): number => p.call(v, X.__HYPERVISOR_vm_assist, cmd, type);
      for (const type of [0, 1, 2, 3, 4, 5]) {
        expect(assist(X.VMASST_CMD_enable, type)).to.equal(0);
        expect(domain.vmAssist(d, 0)).to.equal(1 << type);
        expect(assist(X.VMASST_CMD_disable, type)).to.equal(0);
        expect(domain.vmAssist(d, 0)).to.equal(0);
      }
      const strict = abi === 64 ? 0 : -XEN_EINVAL;
      expect(assist(X.VMASST_CMD_enable, X.VMASST_TYPE_m2p_strict)).to.equal(strict);
      expect(domain.vmAssist(d, 1)).to.equal(abi === 64 ? 1 : 0);
      for (const type of [6, 31, 33, 64, -1]) expect(assist(X.VMASST_CMD_enable, type)).to.equal(-XEN_EINVAL);
      expect(assist(2, 0)).to.equal(-XEN_ENOSYS);
      expect(assist(2, 6)).to.equal(-XEN_EINVAL);
    });

    it(`take a callback for interrupts that cannot be masked, of ${abi}-bit guests`, () => {
      const p = busyProbe({ widths: [abi] });
      const v = p.vcpuOf(0);
      const nmi = (cmd: number, arg: number): number => p.call(v, X.__HYPERVISOR_nmi_op, cmd, arg);
      expect(nmi(XENNMI_register_callback, BAD)).to.equal(-XEN_EFAULT);
      expect(nmi(XENNMI_register_callback, p.arg(v, [[0, 0x1000, 8]]))).to.equal(0);
      const bad = abi === 64 ? -XEN_EINVAL : 0;
      expect(nmi(XENNMI_register_callback, p.arg(v, [[0, NOT_CANONICAL, 8]]))).to.equal(bad);
      expect(nmi(XENNMI_unregister_callback, 0)).to.equal(0);
      expect(nmi(2, 0)).to.equal(-XEN_ENOSYS);
    });

    it(`give no descriptor tables to modelled guests, of ${abi} bits`, () => {
      const p = busyProbe({ widths: [abi] });
      const v = p.vcpuOf(0);
      const gdt = (list: number, entries: number): number => p.call(v, X.__HYPERVISOR_set_gdt, list, entries);
      expect(gdt(BAD, 0)).to.equal(0);
      expect(gdt(BAD, 1)).to.equal(-XEN_EFAULT);
      expect(gdt(BAD, MOST_GDT_ENTRIES + 1)).to.equal(-XEN_EINVAL);
      expect(gdt(p.arg(v, [[0, 0, 8]]), 512)).to.equal(-XEN_EINVAL);
      expect(p.call(v, X.__HYPERVISOR_update_descriptor, 0, 0)).to.equal(-XEN_EINVAL);
    });
  }
});
