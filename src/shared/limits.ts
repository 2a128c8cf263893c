/** Every size and range of a machine in one place. The image is laid out for these; a scenario is checked against them. */

/** Physical CPUs of a host. */
export const MAX_PCPUS = 256;
/** VCPUs of one domain. Beyond 32 a guest registers its vcpu_info (VCPUOP_register_vcpu_info). */
export const MAX_VIRT_CPUS = 128;
/** VCPUs of all domains together. */
export const MAX_VCPUS = 4096;
export const MAX_DOMAINS = 1024;
/** Cpupools; each has a lock. */
export const MAX_CPUPOOLS = 64;
/** Longest domain name, bytes; what libxl and the console ring's prefix can carry. */
export const MAX_NAME_LENGTH = 63;

/** Credit weights; Xen's libxl refuses others (1..65535). */
export const MIN_WEIGHT = 1;
export const MAX_WEIGHT = 65535;
export const DEFAULT_WEIGHT = 256;

/** SEDF's periods, and its shortest slice, ns. */
export const MIN_SEDF_PERIOD_NS = 10_000;
export const MAX_SEDF_PERIOD_NS = 10_000_000_000;
export const MIN_SEDF_SLICE_NS = 5_000;

/** `sched_credit_tslice_ms`. */
export const MIN_TSLICE_MS = 1;
export const MAX_TSLICE_MS = 1000;
/** `sched_ratelimit_us`: 0 switches it off; otherwise these bounds, and never longer than the timeslice. */
export const MIN_RATELIMIT_US = 100;
export const MAX_RATELIMIT_US = 500_000;
/** `credit2_load_window_shift`: 1 ms to 18 min; and credit2's tolerances of balancing, as powers of 2. */
export const MIN_LOAD_WINDOW_SHIFT = 20;
export const MAX_LOAD_WINDOW_SHIFT = 40;
export const MAX_BALANCE_TOLERANCE = 10;
/** `vcpu_migration_delay`, µs. */
export const MAX_MIGRATION_DELAY_US = 100_000;

/** Cycle counter, Hz: the range over which the mul/shift pair is proven to recover the frequency within 1 ppm. */
export const MIN_CYCLE_HZ = 1_000_000;
export const MAX_CYCLE_HZ = 6_000_000_000;

/** How far a cycle counter may start from the others, ns (they start 2 s before time 0), and a clock be off its rate. */
export const MAX_TSC_OFFSET_NS = 1_900_000_000;
export const MAX_DRIFT_PPM = 500;

/** Inter-CPU latency, ns. At least 1: an effect on another pCPU must lie in the future of the turn that caused it. */
export const MIN_LATENCY_NS = 1;
export const MAX_LATENCY_NS = 1_000_000_000;
/** Free mode's window, ns: what low halves of times can tell apart, with room for the latency. */
export const MAX_WINDOW_NS = 1_000_000_000;
/** Time a lock is held, ns. */
export const MAX_LOCK_NS = 1_000_000;
/** Time to fill a cache, or to displace what is in it, ns. */
export const MAX_CACHE_NS = 100_000_000;
/** Time a guest-kernel operation takes, ns. At least 1, so that a loop of operations cannot stand still in time. */
export const MIN_GUEST_OP_NS = 1;
export const MAX_GUEST_OP_NS = 1_000_000;

/** Interrupt lines: those of a host's I/O APICs, 0 (Xen's own timer) not counted. */
export const MAX_IRQ = 255;
/** Pins of one I/O APIC: a host with devices has at least so many lines. */
export const MIN_IRQS = 24;
/** Stand-in devices; shortest time between two things that one does, ns; longest of any of its times, ns. */
export const MAX_DEVICES = 64;
export const MIN_DEVICE_PERIOD_NS = 100;
export const MAX_DEVICE_NS = 3_600_000_000_000;
/** Packets that a NIC keeps until its driver takes them, and that come at once. */
export const MAX_RING = 65_536;

/** Host memory, MiB: 16 TiB, the most a Xen host of this ABI addresses. */
export const MAX_MEMORY_MIB = 16 * 1024 * 1024;
export const MAX_SEED = 0xffff_ffff;
/** Host milliseconds; one host day. */
export const MAX_STALL_LIMIT_MS = 86_400_000;
/** Simulated time is a safe integer of nanoseconds: about 104 days. */
export const MAX_DURATION_NS = Number.MAX_SAFE_INTEGER;
/** Wall-clock seconds: wc_sec is 32 bits wide in the shared info page. */
export const MAX_BOOT_TIME_S = 0xffff_ffff;
