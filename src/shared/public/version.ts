/**
 * What Xen says about itself (`version.h`): the commands of `xen_version(cmd, *)`. All return 0 on success, but for
 * version (major << 16 | minor), pagesize (bytes) and build_id (bytes).
 */

import { layout } from './layout.js';

export const XENVER_version = 0;
export const XENVER_extraversion = 1;
export const XENVER_compile_info = 2;
export const XENVER_capabilities = 3;
export const XENVER_changeset = 4;
export const XENVER_platform_parameters = 5;
export const XENVER_get_features = 6;
export const XENVER_pagesize = 7;
export const XENVER_guest_handle = 8;
export const XENVER_commandline = 9;
export const XENVER_build_id = 10;

/** NUL-terminated text, as the other typedefs of this file. */
export const xen_extraversion_t = layout('xen_extraversion_t', [16, 16], {});

export const XEN_EXTRAVERSION_LEN = 16; // bytes, with the NUL

/** Four NUL-terminated texts. */
export const xen_compile_info = layout('struct xen_compile_info', [144, 144], {
  compiler: [0, 0],
  compile_by: [64, 64],
  compile_domain: [80, 80],
  compile_date: [112, 112],
});

/** Words such as `xen-3.0-x86_32p`, separated by spaces. */
export const xen_capabilities_info_t = layout('xen_capabilities_info_t', [1024, 1024], {});

export const XEN_CAPABILITIES_INFO_LEN = 1024; // bytes, with the NUL

export const xen_changeset_info_t = layout('xen_changeset_info_t', [64, 64], {});

export const XEN_CHANGESET_INFO_LEN = 64; // bytes, with the NUL

/** Lowest address of the hypervisor's own mappings. */
export const xen_platform_parameters = layout('struct xen_platform_parameters', [4, 8], {
  virt_start: [0, 0],
});

/** IN which 32-bit submap; OUT its bits (XENFEAT_*). */
export const xen_feature_info = layout('struct xen_feature_info', [8, 8], {
  submap_idx: [0, 0],
  submap: [4, 4],
});

/** XENVER_guest_handle: the domain's UUID. */
export const xen_domain_handle_t = layout('xen_domain_handle_t', [16, 16], {});

export const xen_commandline_t = layout('xen_commandline_t', [1024, 1024], {});

/** IN u32 size of `buf`; OUT that many bytes at most. */
export const xen_build_id = layout('struct xen_build_id', [4, 4], {
  len: [0, 0],
  buf: [4, 4],
});
