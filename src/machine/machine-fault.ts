/** A fault of the simulator itself (exit code 3): a worker threw, exited or stalled. */
export class MachineFault extends Error {
  override readonly name = 'MachineFault';
  /** The pCPU whose turn it was, when known. */
  readonly pcpu: number | undefined;
  readonly worker: number;
  /** Last records of that pCPU, oldest first. */
  readonly trace: readonly string[];

  constructor(
    message: string,
    where: { pcpu: number | undefined; worker: number; trace: readonly string[] },
    cause?: unknown,
  ) {
    super(message, { cause });
    this.pcpu = where.pcpu;
    this.worker = where.worker;
    this.trace = where.trace;
  }
}
