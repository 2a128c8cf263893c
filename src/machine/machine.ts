/**
 * A machine: the image, its worker threads and the control channels to them. The main thread lays it, starts it, watches
 * over it and reads its results; it takes no part in any decision of the run.
 */
import { EventEmitter } from 'node:events';
import { availableParallelism } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { MessageChannel } from 'node:worker_threads';
import { type Remote, releaseProxy, wrap } from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { Piscina } from 'piscina';
import type { SedfSpec } from '../hv/domain.js';
import { consoleSince } from '../hv/guest-console.js';
import type { PoolParams } from '../hv/sched/interface.js';
import { PolicyError, type UserPolicy } from '../hv/sched/user-policy.js';
import { lowestFloor, type PcpuView, viewOf, type WorkerControl } from '../pcpu/control.js';
import { CONTROL, RUN, WORKER } from '../pcpu/control-records.js';
import { BACK_END, CONSOLE_IN_BYTES } from '../pcpu/model/back-end-records.js';
import { modelMemory } from '../pcpu/model/memory.js';
import { LIVE_JOB, TOOL_POST } from '../pcpu/model/privcmd-records.js';
import type { WorkerTask } from '../pcpu/worker.js';
import { type Doorbells, doorbells } from '../shared/doorbell.js';
import { PAGE_SIZE } from '../shared/image.js';
import { MAX_RATELIMIT_US, MAX_WEIGHT, MIN_RATELIMIT_US, MIN_WEIGHT } from '../shared/limits.js';
import { XEN_EBUSY, XEN_EEXIST, XEN_EINVAL, XEN_ENOENT, XEN_ENOSPC } from '../shared/public/errno.js';
import { lastTrace, type TraceRecord, traceBases, traceRecords } from '../shared/trace-ring.js';
import type { ToolCall, ToolResult } from '../toolstack/tool-job.js';
import { ConfigError } from '../workload/config-error.js';
import { type BuiltMachine, buildMachine, toolArea } from './build.js';
import { findConfigProblem, paramsProblem, sedfProblem } from './check-config.js';
import { collect } from './collect.js';
import { domainNumber, type GuestConfig, type MachineConfig } from './config.js';
import { type CpupoolView, checked, type NewCpupool, poolViews, XenError } from './cpupools.js';
import { DebugPort } from './debug-port.js';
import { endOf } from './end-of-run.js';
import { forHost } from './host-order.js';
import { type DomainInfo, domainInfos } from './inspect.js';
import { invariants } from './invariants.js';
import { MachineFault } from './machine-fault.js';
import { isPolicyFile, placeIn, readPolicy } from './policy-file.js';
import { poolName, setPoolName } from './pool-names.js';
import { poolParams } from './pools.js';
import { prepareGuest } from './prepare-guest.js';
import type { RunResult } from './result.js';
import { fitting, readJob, writeJob } from './tool-jobs.js';
import { tuneCompiler } from './tune-compiler.js';
import { Watchdog } from './watchdog.js';

/** Trace records shown after a fault. */
const FAULT_TRACE = 20;
/** How long a worker may take to start, host ms. */
const START_LIMIT_MS = 30_000;

interface WorkerHandle {
  readonly control: Remote<WorkerControl>;
  readonly done: Promise<void>;
}

interface MachineEvents {
  /** `stalledMs`: how long a worker has held the turn, where that is what is wrong. */
  warning: [text: string, stalledMs?: number];
}

export { TRACE_FORMATS, traceText } from '../shared/trace-kinds.js';
export type { TraceRecord } from '../shared/trace-ring.js';

export class Machine {
  readonly config: MachineConfig;
  readonly #built: BuiltMachine;
  readonly #pool: Piscina;
  readonly #bells: Doorbells;
  readonly #workers: WorkerHandle[] = [];
  readonly #emitter = new EventEmitter<MachineEvents>();
  readonly #state: number;
  readonly #startMs: number;
  #fault: MachineFault | undefined;
  #closed = false;
  #granted = false;
  #broken: (() => string[]) | undefined;
  #tools: Promise<unknown> = Promise.resolve();

  private constructor(config: MachineConfig, built: BuiltMachine, pool: Piscina, startMs: number) {
    this.config = config;
    this.#built = built;
    this.#pool = pool;
    this.#startMs = startMs;
    const { image } = built;
    this.#bells = doorbells(image.i32, image.region('turn-words').base);
    this.#state = (image.region('control').base + CONTROL.offsets.state) >> 2;
  }

  /**
   * Lays the image and starts the workers; simulation time stands at 0 until `run`, `step` or `runUntil`.
   * @throws ConfigError for a machine that cannot be built
   */
  static async create(asked: MachineConfig): Promise<Machine> {
    const problem = findConfigProblem(asked);
    if (problem) throw new ConfigError(`${problem.path.join('.')}: ${problem.message}`);
    const config = forHost(asked, process.arch);
    const began = performance.now();
    const policy = isPolicyFile(config.scheduler) ? await readPolicy(config.scheduler) : undefined;
    const built = layImage(config, policy);
    tuneCompiler();
    const pool = new Piscina({
      filename: new URL('../pcpu/worker.bundle.js', import.meta.url).href,
      minThreads: config.threads,
      maxThreads: config.threads,
      // One endless task a thread, and never a queued one: a pCPU without a thread would hang the token.
      concurrentTasksPerWorker: 1,
      maxQueue: 0,
      atomics: 'disabled',
      idleTimeout: Infinity,
    });
    const machine = new Machine(config, built, pool, began);
    try {
      await machine.#start();
    } catch (error) {
      const fault = machine.#fault ?? error;
      machine.#closed = true;
      await pool.destroy();
      throw fault;
    }
    return machine;
  }

  async #start(): Promise<void> {
    const { image, shape, params } = this.#built;
    for (let self = 0; self < shape.workers; self++) {
      const { port1, port2 } = new MessageChannel();
      const task: WorkerTask = { memory: image.memory, shape, params, self, port: port2 };
      const done = this.#pool.run(task, { transferList: [port2] }) as Promise<void>;
      const control = wrap<WorkerControl>(nodeEndpoint(port1));
      this.#workers.push({ control, done });
      done.then(
        () => port1.close(),
        (error: unknown) => {
          port1.close();
          this.#workerFailed(self, error);
        },
      );
    }
    const ready = Promise.all(
      this.#workers.map((_, w) =>
        this.#askWorker(
          w,
          (c) => c.ready(),
          () => true,
        ),
      ),
    );
    const limit = new AbortController();
    const late = delay(START_LIMIT_MS, 'late', { signal: limit.signal }).catch(() => 'aborted');
    if ((await Promise.race([ready, late])) === 'late')
      throw new Error(`workers did not start in ${START_LIMIT_MS} ms`);
    limit.abort();
  }

  /** A call to a worker that may die before it answers. */
  async #ask<T>(call: Promise<T>, worker: WorkerHandle, whenFinished: () => T): Promise<T> {
    const ended = worker.done.then(
      () => {
        // Its answer may have been lost with its port: a machine at rest can be read from here.
        if (this.#fault) throw this.#fault;
        return whenFinished();
      },
      (error: unknown) => {
        throw this.#fault ?? error;
      },
    );
    return Promise.race([call, ended]);
  }

  #workerFailed(worker: number, error: unknown): void {
    if (this.#closed) return;
    const { image, core, params } = this.#built;
    const at = params.policy === undefined ? '' : placeIn(params.policy.file, error);
    const where = at === '' ? '' : `${params.policy?.file}${at}: `;
    const reason = where + (error instanceof Error ? error.message : String(error));
    const { machine, shape } = core.hv.context;
    const takesTurns = this.#bells.hasToken(worker) || image.table(WORKER).isCalled(worker) !== 0;
    const pcpu = takesTurns ? machine.turnOf(worker < shape.runners ? worker : 0) : undefined;
    this.#raise(
      `worker ${worker} failed${pcpu === undefined ? '' : ` in a turn of pCPU ${pcpu}`}: ${reason}`,
      worker,
      pcpu,
      error,
    );
    // Not merely finished: some worker may wait for a lock that the dead one holds.
    Atomics.store(image.i32, this.#state, RUN.aborted);
    this.#ringAll();
  }

  #raise(message: string, worker: number, pcpu: number | undefined, cause?: unknown): void {
    const { image } = this.#built;
    const trace = pcpu === undefined ? [] : lastTrace(image.i32, traceBases(image), pcpu, FAULT_TRACE);
    this.#fault ??= new MachineFault(message, { pcpu, worker, trace }, cause);
  }

  #ringAll(): void {
    for (let w = 0; w < this.#workers.length; w++) this.#bells.ring(w);
  }

  /** Sends a command; the bell brings the worker to its next safe point. */
  async #command(
    act: (control: Remote<WorkerControl>) => Promise<number>,
    whenFinished: () => number = () => lowestFloor(this.#built.core),
    worker = 0,
  ): Promise<number> {
    const { image } = this.#built;
    if (this.#isFinished()) return whenFinished();
    // Before `run`: the token rests until the command is there, or the machine would be past what it asks for.
    if (!this.#granted) Atomics.store(image.i32, this.#state, RUN.paused);
    this.#grant();
    // While the machine is paused the token rests with one worker, whom only a command of its own wakes at once.
    const isPaused = Atomics.load(image.i32, this.#state) === RUN.paused;
    const to = isPaused && !this.#isFree ? image.table(CONTROL).holder(0) : worker;
    const result = await this.#askWorker(to, act, whenFinished);
    if (this.#isFree && isPaused && Atomics.load(image.i32, this.#state) !== RUN.paused) this.#wakeAll();
    if (Atomics.load(image.i32, this.#state) === RUN.paused) await this.#parked();
    return result;
  }

  async #askWorker<T>(
    w: number,
    act: (control: Remote<WorkerControl>) => Promise<T>,
    whenFinished: () => T,
  ): Promise<T> {
    const worker = this.#workers[w]!;
    const call = act(worker.control);
    // Again until it is served: the first ring may come before the message has reached the worker's port.
    const again = setInterval(() => this.#bells.ring(w), 5);
    this.#bells.ring(w);
    try {
      return await this.#ask(call, worker, whenFinished);
    } finally {
      clearInterval(again);
    }
  }

  /** Workers that rest listen to their ports only. */
  #wakeAll(): void {
    for (const { control } of this.#workers) control.wake().catch(() => undefined);
  }

  #isFinished(): boolean {
    return Atomics.load(this.#built.image.i32, this.#state) >= RUN.finished;
  }

  /** The first token. Until then no turn is taken. */
  #grant(): void {
    if (this.#granted) return;
    this.#granted = true;
    // In free mode all begin at once.
    const runners = this.#isFree ? this.#workers.length : 1;
    for (let w = 0; w < runners; w++) this.#bells.grant(w);
  }

  on(event: 'warning', listener: (text: string, stalledMs?: number) => void): this {
    this.#emitter.on(event, listener);
    return this;
  }

  /** Simulation time and scheduler events so far; cheap, and never waits for the workers. */
  progress(): { simulatedNs: number; events: number } {
    const { machine } = this.#built.core.hv.context;
    // Boot lies before time 0.
    const { core, shape } = this.#built;
    let events = 0;
    for (let w = 0; w < shape.hv.runners; w++) events += machine.events(w);
    // A worker that has nothing left to do is at infinity.
    const floor = lowestFloor(core);
    return { simulatedNs: Math.max(0, Math.min(floor, this.config.durationNs)), events };
  }

  /**
   * Runs to the horizon, until nothing is left to do, or until `stop`.
   * @throws MachineFault when a worker throws, exits or stalls
   */
  async run(): Promise<RunResult> {
    const began = performance.now();
    const watchdog = new Watchdog(this.#built, this.config.stallLimitMs, {
      warn: (text, stalledMs) => this.#emitter.emit('warning', text, stalledMs),
      stalled: (worker, pcpu, text) => {
        this.#raise(text, worker, pcpu);
        void this.close();
      },
    });
    try {
      this.#grant();
      await Promise.allSettled(this.#workers.map((w) => w.done));
    } finally {
      watchdog.close();
    }
    if (this.#fault) throw this.#fault;
    return collect(this.#built, this.config, { startMs: this.#startMs, runMs: performance.now() - began });
  }

  /** Parks the machine between two turns. @returns simulation time at which it stands, ns */
  async pause(): Promise<number> {
    return this.#command((c) => c.pause());
  }

  async resume(): Promise<number> {
    return this.#command((c) => c.resume());
  }

  /**
   * For a debugger outside, of a machine made with `hasDebugger`.
   * @throws RangeError for any other
   */
  debugPort(): DebugPort {
    return new DebugPort(this.#built, this.config, {
      pause: () => this.pause(),
      resume: () => this.resume(),
      isFinished: () => this.#isFinished() || this.#fault !== undefined || this.#closed,
    });
  }

  /** Takes `turns` turns and pauses again. */
  async step(turns = 1): Promise<number> {
    if (this.#isFree) throw new RangeError('free mode has no one order of turns to step through');
    if (!Number.isSafeInteger(turns) || turns < 1) throw new RangeError(`${turns} is no number of turns`);
    await this.#command((c) => c.step(turns));
    return this.#paused();
  }

  /** Runs up to the first turn at or after `ns`, a whole number or Infinity, and pauses there. */
  async runUntil(ns: number): Promise<number> {
    // What is left of a fraction would be computed for ever: no clock of a guest can show it.
    if (!Number.isInteger(ns) && ns !== Number.POSITIVE_INFINITY) throw new RangeError(`${ns} is no time in whole ns`);
    await this.#command((c) => c.runUntil(ns));
    return this.#paused();
  }

  /** What pCPU p is doing, between two turns. */
  async inspect(p: number): Promise<PcpuView> {
    if (!Number.isSafeInteger(p) || p < 0 || p >= this.config.pcpus) throw new RangeError(`there is no pCPU ${p}`);
    const { core } = this.#built;
    if (this.#isFinished() || !this.#granted) return viewOf(core, p);
    return this.#askWorker(
      core.hv.context.pcpu.worker(p),
      (c) => c.inspect(p),
      () => viewOf(core, p),
    );
  }

  /** Ends the run; `run` resolves with what there is. */
  async stop(): Promise<void> {
    await this.#command((c) => c.stop());
    this.#ringAll();
  }

  /** Ends all threads. A machine that is not closed keeps the process alive. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const worker of this.#workers) worker.control[releaseProxy]();
    await this.#pool.destroy();
  }

  async #paused(): Promise<number> {
    const { image, core } = this.#built;
    while (Atomics.load(image.i32, this.#state) === RUN.running) {
      if (this.#fault) throw this.#fault;
      await delay(1);
    }
    if (this.#fault) throw this.#fault;
    await this.#parked();
    return lowestFloor(core);
  }

  /** In free mode a machine is paused when all workers rest; in ordered mode when one does, as only one takes turns. */
  async #parked(): Promise<void> {
    if (!this.#isFree) return;
    const { image } = this.#built;
    const { base, shift } = image.column(WORKER, 'parked');
    while (Atomics.load(image.i32, this.#state) === RUN.paused) {
      if (this.#fault) throw this.#fault;
      if (this.#workers.every((_, w) => Atomics.load(image.i32, base + (w << shift)) === 1)) return;
      await delay(1);
    }
  }

  /**
   * What is wrong with a paused machine, by the rules of invariants.ts; nothing when all is well.
   * @throws RangeError while it runs
   */
  verify(): string[] {
    const isPaused = Atomics.load(this.#built.image.i32, this.#state) === RUN.paused;
    if (this.#granted && !isPaused && !this.#isFinished())
      throw new RangeError('only a paused machine can be verified');
    this.#broken ??= invariants(this.#built);
    return this.#broken();
  }

  /** Memory of the domain of this number as it is in the image, behind its shared info page: to be read while the machine is paused, or over. */
  memoryOf(id: number): Uint8Array {
    const { domains, context } = this.#built.core.hv;
    const d = domains.find(id);
    if (d < 0) throw new RangeError(`there is no domain ${id}`);
    const first = context.domain.frames(d) + PAGE_SIZE;
    return this.#built.image.u8.subarray(first, first + context.domain.nrFrames(d) * PAGE_SIZE);
  }

  /**
   * What a pCPU did last and why, oldest first, of a machine made with `trace`; TRACE_FORMATS says what the words of each kind are.
   * While the machine is paused, or over.
   */
  trace(p: number): TraceRecord[] {
    if (!Number.isSafeInteger(p) || p < 0 || p >= this.config.pcpus) throw new RangeError(`there is no pCPU ${p}`);
    const { image } = this.#built;
    return traceRecords(image.i32, traceBases(image), p);
  }

  /** Work of every task so far, ns, in the order of guests, tasks and instances. While the machine is paused. */
  work(): number[] {
    const { core, image } = this.#built;
    const { kd, task } = modelMemory(image, core.hv);
    return this.config.guests.flatMap((_, n) => {
      const d = domainNumber(this.config.guests, n);
      return Array.from({ length: kd.tasks(d) }, (_, k) => task.work(kd.firstTask(d) + k));
    });
  }

  /**
   * Hard and soft affinity of a VCPU from now on, pCPU numbers; undefined leaves one as it is. What soft affinity wishes beyond
   * the hard one is kept, and counts when it can be had.
   * @param domain its number
   */
  async pin(
    domain: number,
    vcpu: number,
    hard: readonly number[] | undefined,
    soft?: readonly number[] | undefined,
  ): Promise<void> {
    this.#checkVcpu(domain, vcpu);
    const known = [hard, soft].map((cpus) =>
      cpus?.filter((p) => Number.isSafeInteger(p) && p >= 0 && p < this.config.pcpus),
    );
    if (known.some((cpus) => cpus?.length === 0)) {
      throw new RangeError(`none of the pCPUs [${(known[0]?.length === 0 ? hard : soft)?.join(', ')}] exists`);
    }
    if (soft !== undefined && this.config.profile === 'classic')
      throw new RangeError('the classic profile has no soft affinity');
    const { domain: record, queues } = this.#built.core.hv.context;
    const pool = record.pool(domain);
    if (known[0]?.every((p) => !queues.masks.has(queues.pool(pool), p)) === true) {
      throw new XenError(
        `none of the pCPUs [${hard?.join(', ')}] is in ${poolName(this.#built.image, pool)}`,
        XEN_EINVAL,
      );
    }
    await this.#command((c) => c.pin(domain, vcpu, known[0], known[1]));
  }

  /** Takes a VCPU off its pCPU, whatever it was doing, until `unpauseVcpu`. */
  async pauseVcpu(domain: number, vcpu: number): Promise<void> {
    this.#checkVcpu(domain, vcpu);
    await this.#command((c) => c.pauseVcpu(domain, vcpu));
  }

  async unpauseVcpu(domain: number, vcpu: number): Promise<void> {
    this.#checkVcpu(domain, vcpu);
    await this.#command((c) => c.unpauseVcpu(domain, vcpu));
  }

  /** Credit weight (1..65535) and cap (percent of one pCPU, 0 = none) of a domain from now on. */
  async setCredit(domain: number, weight: number, cap: number): Promise<void> {
    this.#checkVcpu(domain, 0);
    if (!(Number.isSafeInteger(weight) && weight >= MIN_WEIGHT && weight <= MAX_WEIGHT)) {
      throw new RangeError(`a weight of ${weight}: must be ${MIN_WEIGHT} to ${MAX_WEIGHT}`);
    }
    if (!(Number.isSafeInteger(cap) && cap >= 0)) throw new RangeError(`a cap of ${cap}: must be 0 or more`);
    await this.#command((c) => c.setCredit(domain, weight, cap));
  }

  /** What a domain is under the SEDF scheduler from now on: a slice of each period, or a weight without a slice. */
  async setSedf(domain: number, spec: SedfSpec): Promise<void> {
    this.#checkVcpu(domain, 0);
    const guest = this.config.guests[domain - domainNumber(this.config.guests, 0)]!;
    const problem = sedfProblem({ ...guest, sedf: spec.weight > 0 ? spec : { ...spec, weight: undefined } });
    if (problem !== undefined) throw new RangeError(problem[1]);
    await this.#command((c) => c.setSedf(domain, spec));
  }

  /**
   * Makes everything ready for a domain that domain 0's tools are to create; all of it is left to them.
   * @returns the number that it is to have
   * @throws RangeError when there is no room
   */
  prepare(guest: GuestConfig): number {
    return prepareGuest(this.#built, this.config, guest);
  }

  /**
   * Has domain 0's tools make hypercalls, each after the work before it, on domain 0's time. Ends with the first that fails. Waits
   * as long as domain 0 does not get on, as while the machine is paused.
   * @returns a result for each call that was made
   * @throws RangeError for a machine without tools that listen
   */
  privcmd(calls: readonly ToolCall[]): Promise<ToolResult[]> {
    if (this.config.toolstack?.live !== true) throw new RangeError('domain 0 has no tools that listen');
    const results = this.#tools.then(() => this.#makeCalls(calls));
    this.#tools = results.catch(() => undefined);
    return results;
  }

  async #makeCalls(calls: readonly ToolCall[]): Promise<ToolResult[]> {
    const { image } = this.#built;
    const area = toolArea(this.#built, this.config);
    const done = (image.region('tool-post').base + TOOL_POST.offsets.done) >> 2;
    const results: ToolResult[] = [];
    while (results.length < calls.length) {
      const some = calls.slice(results.length, results.length + fitting(calls, results.length));
      if (some.length === 0) throw new RangeError('a call with more data than the tools have room for');
      writeJob(image, area, LIVE_JOB, { calls: some }, { call: 0, data: 0 });
      const before = Atomics.load(image.i32, done);
      await this.#command((c) => c.giveJob());
      while (Atomics.load(image.i32, done) === before) {
        if (this.#fault) throw this.#fault;
        if (this.#isFinished()) throw new RangeError('the machine is not running any more');
        // Now and then a look at whether the machine is still well.
        const { async: isWaiting, value } = Atomics.waitAsync(image.i32, done, before, 200);
        if (isWaiting) await value;
      }
      const made = readJob(image, area, LIVE_JOB, some, 0);
      results.push(...made);
      if (made.length < some.length || (made.at(-1)?.rc ?? 0) < 0) break;
    }
    return results;
  }

  /**
   * What the nth guest with a kernel has said on its console since its byte number `from`, as far as it is still there.
   * @returns it, and the number of the byte behind it
   */
  consoleSince(n: number, from: number): { readonly bytes: Uint8Array; readonly end: number } {
    const { image, core } = this.#built;
    return consoleSince(image, core.hv.context.domain, image.table(BACK_END).domain(n), from);
  }

  /**
   * Types at the console of the nth guest with a kernel. Before the machine runs it is there from the beginning.
   * @returns how many bytes there was room for
   */
  async type(n: number, bytes: Uint8Array): Promise<number> {
    const { image } = this.#built;
    const { base } = image.region('console-in');
    const { base: column, shift } = image.column(BACK_END, 'typed');
    const at = column + (n << shift);
    const typed = Atomics.load(image.i32, at);
    const room = CONSOLE_IN_BYTES - ((typed - image.table(BACK_END).given(n)) >>> 0);
    const length = Math.min(room, bytes.length);
    for (let k = 0; k < length; k++)
      image.u8[base + n * CONSOLE_IN_BYTES + ((typed + k) & (CONSOLE_IN_BYTES - 1))] = bytes[k]!;
    Atomics.store(image.i32, at, (typed + length) | 0);
    if (this.#granted && length > 0) await this.#command((c) => c.typed(n));
    return length;
  }

  /** The scheduler's ratelimit from now on: 0 (off) or 100..500000, us. @throws RangeError where the scheduler cannot change it */
  async setRatelimit(ratelimitUs: number): Promise<void> {
    const isIn = ratelimitUs === 0 || (ratelimitUs >= MIN_RATELIMIT_US && ratelimitUs <= MAX_RATELIMIT_US);
    if (!Number.isSafeInteger(ratelimitUs) || !isIn) {
      const bounds = `0 (off), or ${MIN_RATELIMIT_US} to ${MAX_RATELIMIT_US}`;
      throw new RangeError(`a ratelimit of ${ratelimitUs} us: must be ${bounds}`);
    }
    if (this.#built.core.hv.sched.ops.settings === undefined) {
      throw new RangeError(`the ratelimit of ${this.config.scheduler} cannot be changed while a machine runs`);
    }
    await this.#command((c) => c.setRatelimit(ratelimitUs * 1000));
  }

  /** The scheduler's ratelimit as it is, us. */
  get ratelimitUs(): number {
    const { settings } = this.#built.core.hv.sched.ops;
    return settings === undefined ? this.config.ratelimitUs : settings.ratelimitNs() / 1000;
  }

  /** Powers a domain off, whatever it was doing. */
  async shutdown(domain: number): Promise<void> {
    this.#checkVcpu(domain, 0);
    await this.#command((c) => c.shutdown(domain));
  }

  /** Takes a pCPU off line: its VCPUs go on elsewhere, those that were pinned there alone anywhere. pCPU 0 stays. */
  async offline(pcpu: number): Promise<void> {
    if (this.#checkPcpu(pcpu) === 0) throw new RangeError('pCPU 0 cannot go off line');
    await this.#command((c) => c.offline(pcpu));
  }

  /** Brings a pCPU back on line, once its clock is in step. */
  async online(pcpu: number): Promise<void> {
    await this.#command((c) => c.online(this.#checkPcpu(pcpu)));
  }

  /** Destroys a domain, whatever it was doing: nothing is left of it, and its numbers are gone. */
  async destroy(domain: number): Promise<void> {
    this.#checkVcpu(domain, 0);
    await this.#command((c) => c.destroy(domain));
  }

  #checkPcpu(pcpu: number): number {
    const exists = Number.isSafeInteger(pcpu) && pcpu >= 0 && pcpu < this.config.pcpus;
    if (!exists) throw new RangeError(`there is no pCPU ${pcpu}`);
    return pcpu;
  }

  /** The machine's domains as they are, between two turns: a running machine is paused for a moment. */
  async domains(): Promise<DomainInfo[]> {
    return this.#standing((at) => domainInfos(this.#built, this.config, at));
  }

  /** The machine's cpupools, in the same way. */
  async cpupools(): Promise<CpupoolView[]> {
    return this.#standing(() => poolViews(this.#built));
  }

  /** @param look is given where simulation time stands */
  async #standing<T>(look: (atNs: number) => T): Promise<T> {
    const resumes = this.#granted && Atomics.load(this.#built.image.i32, this.#state) === RUN.running;
    const at = resumes ? await this.pause() : lowestFloor(this.#built.core);
    const seen = look(this.#isFinished() ? endOf(this.#built) : Math.max(0, at));
    if (resumes) await this.resume();
    return seen;
  }

  /**
   * Makes a cpupool without pCPUs. The machine must have been made with `sparePools`.
   * @returns its number
   * @throws RangeError, or XenError with what the hypervisor says
   */
  async createCpupool(pool: NewCpupool): Promise<number> {
    if ((await this.cpupools()).some(({ name }) => name === pool.name)) {
      throw new XenError(`a second cpupool named '${pool.name}'`, XEN_EEXIST);
    }
    const policy = this.#built.params.hv.policies.indexOf(pool.scheduler ?? this.config.scheduler);
    const spec = { policy, ...this.#poolParams(pool) };
    const rc = await this.#poolCommand((c) => c.cpupoolCreate(spec));
    const id = checked(
      rc,
      rc === -XEN_ENOSPC ? 'no more cpupools can be made (sparePools)' : `no cpupool '${pool.name}' can be made`,
    );
    setPoolName(this.#built.image, id, pool.name);
    return id;
  }

  #poolParams({ tsliceMs, ratelimitUs, migrationDelayUs }: Omit<NewCpupool, 'name'>): PoolParams {
    const { config } = this;
    const given = {
      tsliceMs: tsliceMs ?? config.tsliceMs,
      ratelimitUs: ratelimitUs ?? config.ratelimitUs,
      migrationDelayUs: migrationDelayUs ?? config.migrationDelayUs,
    };
    const problem = paramsProblem({ ...config, ...given });
    if (problem !== undefined) throw new RangeError(problem.message);
    return poolParams(config, given);
  }

  /** Other parameters for a pool's scheduler from now on; what is left out is the machine's. */
  async adjustCpupool(id: number, params: Omit<NewCpupool, 'name'>): Promise<void> {
    if (this.#built.shape.hv.pools === 1)
      throw new RangeError('the parameters of the only cpupool are fixed (sparePools)');
    const ns = this.#poolParams(params);
    checked(await this.#poolCommand((c) => c.cpupoolAdjust(id, ns)), `there is no cpupool ${id}`);
  }

  /** An empty cpupool: without pCPUs and domains. */
  async destroyCpupool(id: number): Promise<void> {
    checked(await this.#poolCommand((c) => c.cpupoolDestroy(id)), `cpupool ${id} cannot be destroyed`);
  }

  async renameCpupool(id: number, name: string): Promise<void> {
    const pools = await this.cpupools();
    if (!pools.some((pool) => pool.id === id)) throw new XenError(`there is no cpupool ${id}`, XEN_ENOENT);
    if (pools.some((pool) => pool.name === name)) throw new XenError(`a second cpupool named '${name}'`, XEN_EEXIST);
    setPoolName(this.#built.image, id, name);
  }

  /** Gives a pCPU that is in no pool to one. */
  async cpupoolAddCpu(id: number, p: number): Promise<void> {
    checked(await this.#poolCommand((c) => c.cpupoolAddCpu(id, p)), `pCPU ${p} cannot be added to cpupool ${id}`);
  }

  /** Takes a pCPU out of its pool; the VCPUs there go to others of the pool first. */
  async cpupoolRemoveCpu(id: number, p: number): Promise<void> {
    const { pcpu } = this.#built.core.hv.context;
    const owner = this.#isFree && p >= 0 && p < this.config.pcpus ? pcpu.worker(p) : 0;
    checked(
      await this.#poolCommand((c) => c.cpupoolRemoveCpu(id, p), owner),
      `pCPU ${p} cannot be removed from cpupool ${id}`,
    );
  }

  /** Moves a domain to another cpupool; its VCPUs may then use all pCPUs there. */
  async moveToCpupool(domain: number, id: number): Promise<void> {
    this.#checkVcpu(domain, 0);
    checked(
      await this.#poolCommand((c) => c.cpupoolMoveDomain(domain, id)),
      `domain ${domain} cannot move to cpupool ${id}`,
    );
  }

  /** @returns what the hypervisor answers */
  async #poolCommand(act: (control: Remote<WorkerControl>) => Promise<number>, worker = 0): Promise<number> {
    return this.#command(act, () => -XEN_EBUSY, worker);
  }

  #checkVcpu(d: number, vcpu: number): void {
    const { domain, shape } = this.#built.core.hv.context;
    const exists = Number.isSafeInteger(d) && d >= 0 && d < shape.domains && vcpu >= 0 && vcpu < domain.maxVcpus(d);
    if (!exists || !Number.isSafeInteger(vcpu)) throw new RangeError(`there is no VCPU ${vcpu} of domain ${d}`);
  }

  get #isFree(): boolean {
    return this.config.mode === 'free';
  }
}

function layImage(config: MachineConfig, policy: UserPolicy | undefined): BuiltMachine {
  try {
    return buildMachine(config, availableParallelism(), policy);
  } catch (error) {
    if (error instanceof RangeError || error instanceof PolicyError) throw new ConfigError(error.message);
    throw error;
  }
}
