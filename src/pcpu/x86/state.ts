/**
 * What an x86 VCPU consists of while it runs, at fixed offsets from the address of its block in the image, and what a decoded instruction
 * is made into. Handlers (handlers.ts) know both by these offsets and nothing else, so that code belongs to no VCPU.
 *
 * Status flags are kept as what they are computed from: the last result, sign-extended to 64 bits, and `AUX`. ZF: the result is 0;
 * SF: its bit 63, exclusive or AUX bit 0; PF: even parity of (result ^ AUX >> 8) & 0xff; CF: AUX bit 63; OF: AUX bit 63 ^ bit 62; AF: AUX
 * bit 3. So every instruction says all flags by two words without telling what it was.
 */

/** Bytes of a VCPU's block. */
export const STATE_BYTES = 1024;

/** Offsets in a VCPU's block. */
export const ST = {
  /** 16 general registers of 8 bytes, in the order of their encoding. */
  gpr: 0,
  /** Virtual address of the page that code is run from. */
  codePage: 128,
  result: 136,
  aux: 144,
  /** Direction flag: 0 or 1. */
  df: 152,
  /** RFLAGS but for the status flags and DF. */
  flags: 156,
  fsBase: 160,
  gsBase: 168,
  /** Always 0: the base or index that there is not. */
  zero: 176,
  /** The same: the segment base of accesses to the stack, whose faults are others. */
  stack: 560,
  /** At an exit: the record that was not executed or did not finish; 0 = `rip` says where. */
  record: 184,
  /** At an exit: instructions left of the budget. */
  left: 188,
  /** Of an exception. */
  vector: 192,
  errorCode: 196,
  cr2: 200,
  /** A virtual address on its way: of a jump, or of an access that takes the slow path. */
  rip: 208,
  address: 216,
  /** Image addresses of the pCPU's TLB, of the worker's TLB for code, and of the current code page's table of records. */
  tlb: 224,
  codeTlb: 228,
  records: 232,
  /** Of the bus lock (bus-lock.ts): image addresses of its owner's word and of this worker's announcement, and who this worker is. */
  bus: 592,
  announced: 596,
  busSelf: 600,
  /** Bytes of an access that takes the slow path. */
  value: 240,
  xmm: 256,
  mxcsr: 512,
  /** Whether an application runs, not its kernel: with its own page table, in its own TLB. */
  isUser: 568,
  /** What the executor (executor.ts) keeps: whether there are registers; 1 + the exit that is to be served. */
  isPresent: 572,
  pending: 576,
  /** While it runs: simulation time from which it runs, and how many instructions it has run since (f64). */
  anchor: 696,
  done: 704,
  /** When it was switched out: how far ahead of its pCPU it was, ns (f64). */
  owed: 584,
  /** Operands, result and code of floating point that is not done by handlers themselves: see floating.ts. */
  floatA: 640,
  floatB: 656,
  floatResult: 672,
  floatCode: 688,
  /** The x87: registers R0 to R7, 16 bytes each, of which 10 count; control and status word; a bit for each register that is not empty. */
  fpr: 768,
  fcw: 896,
  fsw: 898,
  ftw: 900,
  /** Addresses of the last x87 instruction that was no control instruction, and of the last such operand in memory. */
  fip: 904,
  fdp: 912,
  /** Selectors of the segment registers, 2 bytes each, in the order of their encoding. */
  selectors: 920,
  /** Whether SS was loaded just now: debug traps and events are held off until the next instruction is done (Intel SDM vol. 3, 6.8.3). */
  shadow: 932,
  /** While one instruction is run at a time: 1, so that string instructions do one element. */
  stepping: 936,
  /** SYSCALL was executed with TF set. Whoever has the VCPU go on elsewhere than behind it clears this. */
  syscallStep: 940,
  /** Debug registers: addresses DR0 to DR3; DR6, DR7; breakpoints for data that were hit and are not reported yet, as in DR6. */
  dr: 944,
  dr6: 976,
  dr7: 980,
  hits: 984,
  /** CR0.TS (task-switched.ts): 0 or 1. */
  ts: 988,
  /** Base of GS in the other mode: of applications while the kernel runs, which knows it as SHADOW_GS_BASE, and of that while they run. */
  userGsBase: 992,
  /** What the kernel has set in CR4. */
  cr4: 1000,
} as const;

/** The x87's control word as FNINIT leaves it; all else is 0 then. */
export const FCW_INITIAL = 0x37f;
/** MXCSR as a reset leaves it. */
export const MXCSR_INITIAL = 0x1f80;

/** Segment registers, in the order of their encoding. */
export const SEGMENT = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5 } as const;

export const RSP = ST.gpr + 8 * 4;

/** General registers, in the order of their encoding; the public ABI calls them the same. */
export const GPR_NAMES: readonly string[] = [
  ...['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'],
  ...['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
];

/** Bytes of a decoded instruction. */
export const RECORD_BYTES = 32;

/** Offsets in a decoded instruction. */
export const REC = {
  /** Its handler: an index of the worker's table of functions. */
  handler: 0,
  /** Where it lies in its page, and how long it is. */
  offset: 4,
  length: 6,
  /** Memory operand: left shift of the index. */
  shift: 7,
  /** Offsets in the VCPU's block of its register operands, and of the registers of its memory operand. */
  operand0: 8,
  operand1: 10,
  operand2: 12,
  base: 14,
  index: 16,
  segment: 18,
  /** Displacement of the memory operand, signed; of a branch: the record it leads to, 0 = not known. */
  disp: 20,
  /** Immediate, extended to 64 bits; of a branch: its target, relative to the page. */
  imm: 24,
} as const;

/** Why a run of code ended. */
export const EXIT = {
  /** The budget is used up. */
  budget: 0,
  /** An exception: `vector`, `errorCode`, `cr2`. */
  exception: 1,
  /** There is no code at `rip` or `record` yet. */
  miss: 2,
  /** SYSCALL; the instruction is done. */
  syscall: 3,
  /** An access to memory that is not to be touched now (see `SharedPages` in mmu.ts): the instruction is not done. */
  kept: 4,
  /** The core is to look how code is to be run: TF was set, or SS loaded; or a string instruction has done the one element it was to do. */
  attend: 5,
  /** A debugger outside wants the VCPU halted here (debug-stops.ts); where it was to stop behind an instruction, that is done. */
  debug: 6,
} as const;

/** What the core says in `value` of the block of a segment that is looked at; behind it are its access rights, in `address` its limit. */
export const SEGMENT_LOOK = { visible: 1, readable: 2, writable: 4 } as const;

/** Exceptions by vector (Intel SDM vol. 3, 6.15). */
export const VECTOR = {
  /** No exception: the reason of EXIT.kept. */
  kept: 256,
  /** The same: a page of the local descriptor table is to be found, of which `errorCode` is the offset of an entry. */
  localTable: 257,
  DE: 0,
  DB: 1,
  NMI: 2,
  BP: 3,
  OF: 4,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  MF: 16,
  AC: 17,
  XM: 19,
} as const;

/** Those that push an error code (Intel SDM vol. 3, table 6-1). */
export const HAS_ERROR_CODE: ReadonlySet<number> = new Set([
  ...[VECTOR.DF, VECTOR.TS, VECTOR.NP, VECTOR.SS, VECTOR.GP, VECTOR.PF, VECTOR.AC],
]);

/** Bits of RFLAGS. */
export const FLAG = {
  CF: 1,
  PF: 4,
  AF: 0x10,
  ZF: 0x40,
  SF: 0x80,
  TF: 0x100,
  IF: 0x200,
  DF: 0x400,
  OF: 0x800,
  IOPL: 0x3000,
  NT: 0x4000,
  RF: 0x10000,
  AC: 0x40000,
  ID: 0x200000,
} as const;

/** What a return in ring 3 may change. */
export const LOADED_BY_IRET =
  FLAG.CF | FLAG.PF | FLAG.AF | FLAG.ZF | FLAG.SF | FLAG.TF | FLAG.DF | FLAG.OF | FLAG.NT | FLAG.RF | FLAG.AC | FLAG.ID;

/** Places of each TLB, found by a hash of the page. That for data has two entries for each: its second half holds the second ones. */
export const TLB_ENTRIES = 1024;
/** Bytes of an entry: pages that may be read (`readTag`) and written (`writeTag`), or one that has another place; image address of the page. */
export const TLB_ENTRY = { bytes: 32, readTag: 0, writeTag: 8, page: 16 } as const;
export const TLB_WAYS = 2;
export const TLB_WAY_BYTES = TLB_ENTRIES * TLB_ENTRY.bytes;
/** Bytes of an entry of the TLB for code: page, table of its records, image address of the page. */
export const CODE_TLB_ENTRY = { bytes: 16, tag: 0, records: 8, page: 12 } as const;

/** A pCPU's TLBs: that for data, that for code, and what says whose they are. */
export const TLB = {
  data: 0,
  code: TLB_WAYS * TLB_WAY_BYTES,
  /** The VCPU, plus 1, whose translations these are. */
  vcpu: TLB_WAYS * TLB_WAY_BYTES + TLB_ENTRIES * CODE_TLB_ENTRY.bytes,
  /** `marks` of code-cache.ts when frames with code were last cleared from it. */
  marks: TLB_WAYS * TLB_WAY_BYTES + TLB_ENTRIES * CODE_TLB_ENTRY.bytes + 4,
  /** Whose records the TLB for code names: a worker, plus 1, and how often that has begun anew with them. */
  worker: TLB_WAYS * TLB_WAY_BYTES + TLB_ENTRIES * CODE_TLB_ENTRY.bytes + 8,
  generation: TLB_WAYS * TLB_WAY_BYTES + TLB_ENTRIES * CODE_TLB_ENTRY.bytes + 12,
  /** Grows by one when a run of code begins and when it ends: odd = code runs. Atomics. */
  runs: TLB_WAYS * TLB_WAY_BYTES + TLB_ENTRIES * CODE_TLB_ENTRY.bytes + 16,
  /** Where the last walks, for data and for code, found their level-1 tables: root, plus 1; which 2 MiB, two words; image address of the table, plus 1 if they may be written. */
  walk: TLB_WAYS * TLB_WAY_BYTES + TLB_ENTRIES * CODE_TLB_ENTRY.bytes + 32,
  /** Which places of the TLB for data, and for code, have been used since they were last forgotten, a bit each. Behind them whether either is there at all. */
  used: TLB_WAYS * TLB_WAY_BYTES + TLB_ENTRIES * CODE_TLB_ENTRY.bytes + 64,
  usedForCode: TLB_WAYS * TLB_WAY_BYTES + TLB_ENTRIES * CODE_TLB_ENTRY.bytes + 64 + TLB_ENTRIES / 8 + 4,
} as const;
export const TLB_BYTES = TLB.code + TLB_ENTRIES * CODE_TLB_ENTRY.bytes + 64 + 2 * (TLB_ENTRIES / 8) + 64;

/** The place of a page in either TLB, by the low word of its address: its number, folded once, so that strides of any power of 2 are spread. */
export const tlbPlace = (low: number): number => ((low >>> 12) ^ (low >>> 22)) & (TLB_ENTRIES - 1);
/** What a tag of place n is when there is none: low word of a page that has another place, its neighbour's. */
export const noPage = (n: number): number => (n ^ 1) << 12;
