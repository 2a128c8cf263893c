/** xen_version (version.h): who we are. The guest ABI is that of Xen 4.17. */

import { PAGE_SIZE } from '../../shared/image.js';
import { XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS, XEN_EPERM } from '../../shared/public/errno.js';
import {
  XENFEAT_dom0,
  XENFEAT_gnttab_map_avail_bits,
  XENFEAT_highmem_assist,
  XENFEAT_memory_op_vnode_supported,
  XENFEAT_mmu_pt_update_preserve_ad,
  XENFEAT_pae_pgdir_above_4gb,
} from '../../shared/public/features.js';
import { offsetsOf, sizeOf, type Width } from '../../shared/public/layout.js';
import * as X from '../../shared/public/version.js';
import { VMASST_TYPE_pae_extended_cr3 } from '../../shared/public/xen.js';
import { FAULT } from '../guest-memory.js';
import { type CallParts, type Handler, pointer } from './call.js';
import { PRIVILEGED } from './toolstack.js';

const MAJOR = 4;
const MINOR = 17;
const EXTRAVERSION = '-ringzero';
const CAPABILITIES = { 64: 'xen-3.0-x86_64 ', 32: 'xen-3.0-x86_32p ' } as const;
const COMPILE_INFO = {
  compiler: 'typescript',
  compile_by: 'ringzero',
  compile_domain: '',
  compile_date: '',
} as const;

/** Bytes of each command's answer. */
const sizesFor = (width: Width): Readonly<Record<number, number>> => ({
  [X.XENVER_extraversion]: X.XEN_EXTRAVERSION_LEN,
  [X.XENVER_compile_info]: sizeOf(X.xen_compile_info, width),
  [X.XENVER_capabilities]: X.XEN_CAPABILITIES_INFO_LEN,
  [X.XENVER_changeset]: X.XEN_CHANGESET_INFO_LEN,
  [X.XENVER_platform_parameters]: sizeOf(X.xen_platform_parameters, width),
  [X.XENVER_get_features]: sizeOf(X.xen_feature_info, width),
  [X.XENVER_guest_handle]: sizeOf(X.xen_domain_handle_t, width),
  [X.XENVER_commandline]: sizeOf(X.xen_commandline_t, width),
});
const SIZES = { 32: sizesFor(32), 64: sizesFor(64) } as const;

export function versionOp(parts: CallParts): Handler {
  const { context, memory } = parts;
  const { vcpu, domain, regs } = context;

  function text(addr: number, bytes: number, s: string): void {
    const to = memory.bytes(addr, bytes).fill(0);
    for (let k = 0; k < Math.min(s.length, bytes - 1); k++) to[k] = s.charCodeAt(k);
  }

  /** Those of paravirtual guests. */
  function features(d: number): number {
    const isAbove4Gb = (domain.vmAssist(d, 0) & (1 << VMASST_TYPE_pae_extended_cr3)) !== 0;
    const bits = [
      XENFEAT_memory_op_vnode_supported,
      XENFEAT_mmu_pt_update_preserve_ad,
      XENFEAT_highmem_assist,
      XENFEAT_gnttab_map_avail_bits,
      ...(isAbove4Gb ? [XENFEAT_pae_pgdir_above_4gb] : []),
      ...(d === PRIVILEGED ? [XENFEAT_dom0] : []),
    ];
    return bits.reduce((all, bit) => all | (1 << bit), 0);
  }

  return (v) => {
    const width = domain.width(vcpu.domain(v)) === 64 ? 64 : 32;
    const cmd = regs.lo(v, 0);
    if (cmd === X.XENVER_version) return (MAJOR << 16) | MINOR;
    if (cmd === X.XENVER_pagesize) return PAGE_SIZE;
    const bytes = SIZES[width][cmd];
    if (bytes === undefined) return -XEN_ENOSYS;
    const arg = pointer(parts, v, 1, bytes);
    if (arg === FAULT) return -XEN_EFAULT;
    switch (cmd) {
      case X.XENVER_extraversion:
        text(arg, bytes, EXTRAVERSION);
        return 0;
      case X.XENVER_compile_info: {
        const at = offsetsOf(X.xen_compile_info, width);
        const ends = {
          compiler: at.compile_by,
          compile_by: at.compile_domain,
          compile_domain: at.compile_date,
          compile_date: bytes,
        };
        for (const [field, end] of Object.entries(ends) as [keyof typeof ends, number][]) {
          text(arg + at[field], end - at[field], COMPILE_INFO[field]);
        }
        return 0;
      }
      case X.XENVER_capabilities:
        text(arg, bytes, CAPABILITIES[width]);
        return 0;
      case X.XENVER_changeset:
        text(arg, bytes, 'unavailable');
        return 0;
      case X.XENVER_platform_parameters: {
        // Start of the hypervisor's hole; workload guests map nothing near it.
        const virtStart = width === 64 ? 0xffff800000000000n : 0xf5800000n;
        memory.setU32(arg, Number(virtStart & 0xffffffffn));
        if (width === 64) memory.setU32(arg + 4, Number(virtStart >> 32n));
        return 0;
      }
      case X.XENVER_get_features: {
        const at = offsetsOf(X.xen_feature_info, width);
        if (memory.u32(arg + at.submap_idx) !== 0) return -XEN_EINVAL;
        memory.setU32(arg + at.submap, features(vcpu.domain(v)));
        return 0;
      }
      case X.XENVER_guest_handle:
        memory.bytes(arg, bytes).fill(0)[15] = vcpu.domain(v);
        return 0;
      default:
        return -XEN_EPERM;
    }
  };
}
