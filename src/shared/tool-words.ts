/**
 * What a domain's tools may ask of its kernel (in Xen: nodes of xenstore), by words of an area in the guest's own frames; and what
 * stands in the place of a hypercall's number for what domain 0's tools do otherwise.
 */
export const STORE = {
  /** A `SHUTDOWN_*` code, + 1. */
  shutdown: 0,
  /** VCPUs on line. */
  vcpus: 1,
  /** Pages of memory. */
  pages: 2,
} as const;

/** Arguments: the domain's record, one of STORE, the value. */
export const STORE_WRITE = -1;
/** Builds the kernel of a domain (pcpu/model/domain-builder.ts). Argument: the domain's record. */
export const BUILD_KERNEL = -2;
