/** What the emulation of privileged instructions asks of the hypervisor, of VCPUs by their blocks. */
export interface PrivilegedState {
  /** Whether its kernel runs, not an application. */
  isKernel(st: number): boolean;
  /** The I/O privilege level that its kernel has asked for. */
  iopl(st: number): number;
  /** Whether it is its domain's first. */
  isFirst(st: number): boolean;
  /** Its time stamp counter at this moment. */
  counter(st: number): bigint;
  cpuid(leaf: number, subleaf: number): readonly [eax: number, ebx: number, ecx: number, edx: number];
  /** The address of the last page fault, as its kernel finds it (vcpu_info.arch.cr2). */
  cr2(st: number): bigint;
  setCr2(st: number, address: bigint): void;
  /** Machine frame of its kernel's top-level page table. */
  base(st: number): bigint;
  /** The same anew, as MMUEXT_NEW_BASEPTR. @returns 0, or why it is refused, a negated errno */
  setBase(st: number, mfn: bigint): number;
  /** Makes a frame of its domain a page of hypercalls, as the builder does. @returns 0, or why it is refused, a negated errno */
  setHypercallPage(st: number, frame: bigint): number;
}
