/**
 * What a domain's tools may ask of its kernel (in Xen: nodes of xenstore), by words of an area in the guest's own frames; and what
 * stands in the place of a hypercall's number when domain 0's tools write one.
 */
export const STORE = {
  /** A `SHUTDOWN_*` code, + 1. */
  shutdown: 0,
  /** VCPUs on line. */
  vcpus: 1,
  /** Pages of memory. */
  pages: 2,
} as const;

/** Arguments: the domain's number, one of STORE, the value. */
export const STORE_WRITE = -1;
