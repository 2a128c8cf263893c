/**
 * What domain 0's tools want of the hypervisor: hypercalls with their structures, as bytes of the 64-bit ABI. Plain data, made
 * outside the machine and carried out inside it, by a task of domain 0.
 */

/** In place of an argument: the guest address of the call's data. */
export const DATA = Symbol('data');

export interface ToolCall {
  /** What the tool computes before the call, ns of domain 0's time. */
  readonly costNs: number;
  /** One of `__HYPERVISOR_*`. */
  readonly nr: number;
  /** Up to four. */
  readonly args: readonly (number | typeof DATA)[];
  /** The least answer that is a success. @default 0 */
  readonly needs?: number;
  /** A structure and the buffers behind it; what the hypervisor writes there is in the result. */
  readonly data: Uint8Array;
  /** Guest handles in `data` that point into it: where each stands, and what it points to. */
  readonly pointers: readonly (readonly [at: number, to: number])[];
}

export interface ToolJob {
  /** When it is due after domain 0's start, ns. */
  readonly atNs: number;
  /** How it was written, for reports. */
  readonly text: string;
  readonly calls: readonly ToolCall[];
  /** Made, whatever comes of them, when one that is not the first fails: they take back what was done. @default none */
  readonly undo?: readonly ToolCall[];
}

/** What came of one call. */
export interface ToolResult {
  /** 0 or more, or a negated errno. */
  readonly rc: number;
  readonly data: Uint8Array;
}

/** Bytes of a call's data, kept on boundaries of eight. */
export const dataBytes = ({ data }: ToolCall): number => Math.ceil(data.length / 8) * 8;

/** What domain 0's tools are to do. */
export interface ToolstackConfig {
  /** Whether they also do what comes from outside while the machine runs. */
  readonly live: boolean;
  readonly jobs: readonly ToolJob[];
  /** How cpupools are called once all jobs are done, by number. */
  readonly poolNames?: readonly (readonly [number, string])[];
}
