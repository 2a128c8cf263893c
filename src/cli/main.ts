#!/usr/bin/env node
/** The `ringzero` command: options in, exit code out. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import type { MachineOverrides } from '../config/scenario.js';
import { DEFAULT_MEMORY_MIB } from '../config/scenario-guests.js';
import { DURATION_HELP, parseDuration, parseFrequency, parseNumber } from '../config/units.js';
import { type FaultInjection, PROFILES, TIME_INJECTIONS } from '../machine/config.js';
import { ask, defaultSocket } from '../xl/socket.js';
import { type BootSurroundings, bootCommand } from './boot-command.js';
import { checkTimeCommand, parseInjection } from './check-time-command.js';
import { EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE } from './exit-codes.js';
import { type RunOptions, reportError, runCommand, type Surroundings } from './run-command.js';
import { type UpSurroundings, upCommand } from './up-command.js';

/** Log lines kept per task with `--logdir`: rt-app, too, keeps the newest of a ring. */
const DEFAULT_LOG_LINES = 4096;
const MOST_PORT = 65535;

function version(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  const data: unknown = JSON.parse(text);
  return typeof data === 'object' && data !== null && 'version' in data ? String(data.version) : 'unknown';
}

function reading(parse: (text: string) => number | undefined, help: string): (text: string) => number {
  return (text) => {
    const value = parse(text);
    if (value === undefined) throw new InvalidArgumentError(`Expected ${help}.`);
    return value;
  };
}

const duration = reading(parseDuration, DURATION_HELP);
const injection = (text: string): FaultInjection => {
  const read = parseInjection(text, parseDuration);
  if (read === undefined) {
    throw new InvalidArgumentError(
      `Expected NAME, NAME@PCPU or NAME@PCPU:TIME with NAME one of ${TIME_INJECTIONS.join(', ')}.`,
    );
  }
  return read;
};
const number = reading(parseNumber, 'a number');
const tcpPort = reading((text) => {
  const port = parseNumber(text);
  return port !== undefined && Number.isInteger(port) && port >= 0 && port <= MOST_PORT ? port : undefined;
}, `a TCP port, 0 to ${MOST_PORT}`);
const frequency = reading(parseFrequency, 'a frequency, such as 1GHz or 2400000000');

/** Of `boot`. */
interface BootFlags {
  memory?: number;
  cmdline?: string;
  ramdisk?: string;
  input?: string;
  gdb?: number;
}

/** As commander hands them over: what was not given is absent. */
interface Flags {
  profile?: string;
  threads?: number;
  pcpus?: number;
  duration?: number;
  latency?: number;
  cycleHz?: number;
  seed?: number;
  mode?: string;
  window?: number;
  jitter?: number;
  pace?: number;
  sched?: string;
  json?: string | true;
  logdir?: string;
  logLines?: number;
  trace?: true;
  debug?: true;
  socket?: string;
  stallLimit?: number;
  quiet?: true;
  sync?: boolean;
  calibration?: string;
  inject?: FaultInjection;
}

/** An option that was not given must be absent rather than undefined. */
function given<T extends object>(options: { readonly [K in keyof T]: T[K] | undefined }): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}

function toRunOptions(flags: Flags): RunOptions {
  const { json, logdir } = flags;
  const overrides = given<Omit<Required<MachineOverrides>, 'checkTime'>>({
    threads: flags.threads,
    // `--no-sync` alone means something: commander sets `sync` when it is not given.
    synchronise: flags.sync === false ? false : undefined,
    calibration: flags.calibration as MachineOverrides['calibration'],
    inject: flags.inject,
    profile: flags.profile as MachineOverrides['profile'],
    pcpus: flags.pcpus,
    durationNs: flags.duration,
    latencyNs: flags.latency,
    cycleHz: flags.cycleHz,
    seed: flags.seed,
    mode: flags.mode as MachineOverrides['mode'],
    windowNs: flags.window,
    jitterSeed: flags.jitter,
    pace: flags.pace,
    scheduler: flags.sched,
    trace: flags.trace,
    debug: flags.debug,
    stallLimitMs: flags.stallLimit === undefined ? undefined : flags.stallLimit / 1e6,
    taskLogLines: flags.logLines ?? (logdir === undefined ? undefined : DEFAULT_LOG_LINES),
  });
  return {
    overrides,
    quiet: flags.quiet ?? false,
    ...given<{ json: string | true; logdir: string }>({ json, logdir }),
  };
}

const around: Surroundings & UpSurroundings & BootSurroundings = {
  // Opened only by those who read it.
  get stdin() {
    return process.stdin;
  },
  stdout: process.stdout,
  stderr: process.stderr,
  // Loaded only when a machine is wanted: --help and a mistake in a file answer at once.
  createMachine: async (config) => (await import('../machine/machine.js')).Machine.create(config),
  onInterrupt: (listener) => {
    let asked = false;
    const handler = (): void => {
      if (asked) {
        // The second time the user means it. The progress bar has hidden the cursor (DECTCEM) and nobody else will show it.
        if (process.stderr.isTTY) process.stderr.write('\u001b[?25h\n');
        process.exit(EXIT_INTERRUPTED);
      }
      asked = true;
      listener();
    };
    process.on('SIGINT', handler);
    return () => process.off('SIGINT', handler);
  },
};

function commandLine(finish: (code: number) => void): Command {
  const program = new Command('ringzero')
    .description(
      "Xen's paravirtual x86 architecture as a multi-threaded SMP machine: a simulator of its scheduling and time.",
    )
    .version(version())
    .enablePositionalOptions()
    .exitOverride()
    .showHelpAfterError('(see ringzero --help)')
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'ringzero: ')) });
  machineOptions(
    program
      .command('run')
      .description(
        'run a scenario (YAML), or a single rt-app workload (.json) as one domain with as many VCPUs as pCPUs',
      )
      .argument('<file>', 'scenario or workload'),
  )
    .option('--json [file]', 'write the whole result as JSON, to stdout instead of the report when no file is named')
    .option('--logdir <directory>', "write rt-app's log of every task there")
    .option('--log-lines <n>', `newest log lines to keep per task (default ${DEFAULT_LOG_LINES} with --logdir)`, number)
    .addHelpText(
      'after',
      '\nExit codes: 0 ok, 1 an expectation failed, 2 usage or configuration, 3 a fault of the simulator.',
    )
    .action(async (file: string, flags: Flags) => finish(await runCommand(file, toRunOptions(flags), around)));
  machineOptions(
    program
      .command('check-time')
      .description(
        'compare what guests see of time with the truth: every page, clock read, timer and runstate of a run',
      )
      .argument('[file]', 'scenario or workload (default: examples/check-time.yaml)'),
  )
    .option('--json [file]', 'write what was found as JSON, to stdout instead of the report when no file is named')
    .option('--no-sync', 'do not synchronise the cycle counters at boot')
    .addOption(
      new Option('--calibration <how>', 'how system times are kept together').choices(['rendezvous', 'local', 'off']),
    )
    .option('--inject <fault[@pcpu[:time]]>', `make a mistake on purpose: ${TIME_INJECTIONS.join(', ')}`, injection)
    .addHelpText(
      'after',
      '\nExit codes: 0 time is consistent, 1 it is not, 2 usage or configuration, 3 a fault of the simulator.',
    )
    .action(async (file: string | undefined, flags: Flags) =>
      finish(await checkTimeCommand(file, toRunOptions(flags), around)),
    );
  machineOptions(
    program
      .command('up')
      .description('boot a machine and keep it for `ringzero xl`, until it is interrupted')
      .argument('<file>', 'scenario or workload'),
  )
    .option('--socket <path>', 'Unix socket to listen at (default: one for each user)')
    .action(async (file: string, flags: Flags) =>
      finish(await upCommand(file, toRunOptions(flags).overrides, flags.socket ?? defaultSocket(), around)),
    );
  machineOptions(
    program
      .command('boot')
      .description(
        'boot a paravirtual x86-64 kernel as one domain with as many VCPUs as pCPUs (default 1), its console on the terminal',
      )
      .argument('<file>', 'kernel (ELF, packed or not, or bzImage), or an xl.cfg file that names one'),
  )
    .option('--memory <mib>', `memory of the domain, MiB (default ${DEFAULT_MEMORY_MIB})`, number)
    .option('--cmdline <text>', 'command line of the kernel')
    .option('--ramdisk <file>', 'its ramdisk')
    .option('--input <file>', 'type what is in this file at its console, from the beginning')
    .option('--gdb <port>', 'halt before the first instruction, and wait for gdb at this TCP port; 0 = any', tcpPort)
    .option('--json [file]', 'write the whole result as JSON, to stdout instead of what the kernel says')
    .addHelpText(
      'after',
      '\nExit codes: 0 the kernel powered off or asked for a reboot, 1 it crashed or did not end, 2 usage or configuration, 3 a fault of the simulator.',
    )
    .action(async (file: string, flags: Flags & BootFlags) =>
      finish(
        await bootCommand(
          file,
          { memoryMib: flags.memory, commandLine: flags.cmdline, ramdisk: flags.ramdisk },
          { ...toRunOptions(flags), gdb: flags.gdb, input: flags.input },
          around,
        ),
      ),
    );
  program
    .command('xl')
    .description("Xen's toolstack on a machine that is up: list, vcpu-list, vcpu-pin, sched-credit, pause, …")
    .option('--socket <path>', 'Unix socket of the machine')
    .argument('[args...]', 'subcommand and its arguments')
    .helpOption(false)
    .passThroughOptions()
    .action(async (args: string[], flags: Flags) => {
      const { stdout, stderr, code } = await ask(flags.socket ?? defaultSocket(), args);
      process.stdout.write(stdout);
      process.stderr.write(stderr);
      finish(code);
    });
  return program;
}

/** What all commands take. */
function machineOptions(command: Command): Command {
  return command
    .addOption(new Option('--profile <profile>', 'Xen 4.18, or 3.0.4').choices(PROFILES))
    .option('--threads <n>', 'worker threads to fold the pCPUs on', number)
    .option('--pcpus <n>', 'physical CPUs', number)
    .option('--duration <time>', 'simulated time to run for', duration)
    .option('--latency <time>', 'inter-CPU communication latency', duration)
    .option('--cycle-hz <frequency>', 'frequency of the cycle counters', frequency)
    .option('--seed <n>', 'seed of everything random', number)
    .addOption(
      new Option('--mode <mode>', 'one order of everything, or workers at the same time').choices(['ordered', 'free']),
    )
    .option('--window <time>', 'free mode: how far simulation clocks may run apart', duration)
    .option('--jitter <seed>', 'free mode: pauses at locks and where races live, drawn from this seed', number)
    .option('--pace <speed>', 'simulated seconds per host second, for watching; 0 = as fast as possible', number)
    .option('--sched <name|file>', 'CPU scheduler: credit, credit2, sedf, null, or a file with a policy')
    .option('--trace', 'keep trace records')
    .option('--debug', 'check lock order and ownership')
    .option('--stall-limit <time>', 'host time without a safe point after which a worker counts as stalled', duration)
    .option('-q, --quiet', 'no progress, no report: only the exit code, and what failed on stderr');
}

async function main(): Promise<number> {
  let code = EXIT_OK;
  try {
    await commandLine((ended) => {
      code = ended;
    }).parseAsync();
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE;
    return reportError(error, process.stderr);
  }
}

// `ringzero run … | head` closes the pipe: nobody is left to tell.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  throw error;
});

// Not process.exit(): a report that is still in the pipe would be cut off.
process.exitCode = await main();
