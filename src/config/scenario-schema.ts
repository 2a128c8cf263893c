/** The shape of a scenario file. Ranges and rules between fields are check-config.ts's, which also serves library users. */
import { z } from 'zod';
import { DURATION_HELP, parseDuration, parseFrequency, parseInstant, parseMemory } from './units.js';

const NS_PER_US = 1e3;
const NS_PER_MS = 1e6;

/** A quantity with its unit; `scale` of the parsed unit make one of the field. */
function quantity(parse: (text: string) => number | undefined, help: string, scale = 1) {
  return z
    .union([z.string(), z.number()], { error: () => `expected ${help}` })
    .transform((written, context) => {
      const value = parse(String(written));
      if (value !== undefined) return value / scale;
      context.addIssue({ code: 'custom', message: `expected ${help}, got '${written}'`, input: written });
      return z.NEVER;
    })
    .optional();
}

const duration = (scale = 1) => quantity(parseDuration, DURATION_HELP, scale);

/** `until-idle`: no horizon, the run ends when nothing is left to do. */
const horizon = quantity(
  (text) => (text === 'until-idle' ? Number.POSITIVE_INFINITY : parseDuration(text)),
  `${DURATION_HELP}, or until-idle`,
);

/** A list with an entry a pCPU; null and a missing entry: drawn. */
const perPcpu = <T>(entry: z.ZodType<T>) =>
  z.array(entry.nullable().transform((value) => value ?? undefined)).optional();

export const machineSchema = z.strictObject({
  pcpus: z.number().optional(),
  threads: z.number().optional(),
  memory: quantity(parseMemory, 'MiB, or a size such as 4GiB'),
  duration: horizon,
  seed: z.number().optional(),
  profile: z.enum(['modern', 'classic'], { error: () => 'expected modern or classic' }).optional(),
  mode: z.enum(['ordered', 'free'], { error: () => 'expected ordered or free' }).optional(),
  window: duration(),
  jitter: z.number().optional(),
  latency: duration(),
  'cycle-hz': quantity(parseFrequency, 'a frequency in Hz, or such as 1GHz'),
  pace: z.number().optional(),
  topology: z
    .strictObject({ sockets: z.int().optional(), cores: z.int().optional(), threads: z.int().optional() })
    .optional(),
  cache: z.strictObject({ core: duration(), socket: duration(), displaced: duration() }).optional(),
  scheduler: z.string().optional(),
  tslice: duration(NS_PER_MS),
  ratelimit: duration(NS_PER_US),
  'migration-delay': duration(NS_PER_US),
  boost: z.boolean().optional(),
  'credit2-runqueue': z
    .enum(['cpu', 'core', 'socket', 'node', 'all'], { error: () => 'expected cpu, core, socket, node or all' })
    .optional(),
  'credit2-load-window-shift': z.number().optional(),
  'credit2-balance-under': z.number().optional(),
  'credit2-balance-over': z.number().optional(),
  'smt-power-savings': z.boolean().optional(),
  'runq-lock': duration(),
  'private-lock': duration(),
  'guest-op': duration(),
  'boot-time': quantity(parseInstant, 'an instant in UTC, such as 2006-01-01T00:00:00Z'),
  synchronise: z.boolean().optional(),
  calibration: z.enum(['rendezvous', 'local', 'off'], { error: () => 'expected rendezvous, local or off' }).optional(),
  'tsc-offset': perPcpu(quantity(parseDuration, `${DURATION_HELP}, or null for a drawn one`)),
  'tsc-drift': perPcpu(z.number({ error: () => 'expected a number of ppm, or null for a drawn one' })),
  'platform-drift': z.number().optional(),
  trace: z.boolean().optional(),
  debug: z.boolean().optional(),
});

const cpuMask = z.union([z.string(), z.int()], { error: () => "expected a CPU list, such as '0-3,^1'" });
const cpuMasks = z
  .union([z.string(), z.int(), z.array(cpuMask)], {
    error: () => "expected a CPU list, such as '0-3,^1', or one for each VCPU",
  })
  .optional();

/** The settings of xl.cfg that make sense beside a scenario; a `config` file may hold any. */
export const xlKeys = {
  name: z.string().optional(),
  vcpus: z.int().optional(),
  maxvcpus: z.int().optional(),
  memory: z.int().optional(),
  maxmem: z.int().optional(),
  cpu_weight: z.int().optional(),
  cap: z.int().optional(),
  cpus: cpuMasks,
  cpus_soft: cpuMasks,
  pool: z.string().optional(),
} as const;

/** What a domain is under the SEDF scheduler. */
const sedfSchema = z.strictObject({
  period: duration(),
  slice: duration(),
  latency: duration(),
  extratime: z.boolean().optional(),
  weight: z.number().optional(),
});

/** A set of pCPUs with a scheduler of its own. */
const cpupoolSchema = z.strictObject({
  name: z.string(),
  cpus: cpuMask.optional(),
  sched: z.string().optional(),
  tslice: duration(NS_PER_MS),
  ratelimit: duration(NS_PER_US),
  'migration-delay': duration(NS_PER_US),
});

export const guestSchema = z.strictObject({
  config: z.string().optional(),
  workload: z
    .union([z.string(), z.record(z.string(), z.unknown())], {
      error: () => 'expected the name of an rt-app file, or a workload as a mapping',
    })
    .optional(),
  /** An ELF executable in the place of a workload, and what is said to it. */
  kernel: z.string().optional(),
  cmdline: z.string().optional(),
  abi: z.union([z.literal(32), z.literal(64)], { error: () => 'expected 32 or 64' }).optional(),
  instances: z.int().optional(),
  boot: z.boolean().optional(),
  sedf: sedfSchema.optional(),
  ...xlKeys,
});

/** Domain 0: what it does for the host. */
export const dom0Schema = z.strictObject({
  vcpus: xlKeys.vcpus,
  memory: xlKeys.memory,
  cpu_weight: xlKeys.cpu_weight,
  cap: xlKeys.cap,
  cpus: xlKeys.cpus,
  cpus_soft: xlKeys.cpus_soft,
  pool: xlKeys.pool,
  sedf: sedfSchema.optional(),
  /** A script of its toolstack: commands of xl, each when its time has come. */
  commands: z.array(z.strictObject({ at: duration(), xl: z.string() })).optional(),
  ntp: z
    .strictObject({
      /** Time between two looks at the reference. */
      poll: duration(),
      /** System time after which it looks no more. */
      stop: duration(),
    })
    .optional(),
});

/** A source of interrupts. */
export const deviceSchema = z.strictObject({
  name: z.string(),
  kind: z.enum(['timer', 'nic', 'disk'], { error: () => 'expected timer, nic or disk' }),
  irq: z.number(),
  domain: z.string().optional(),
  vcpu: z.number().optional(),
  handler: duration(),
  item: duration(),
  period: duration(),
  /** The same as a period, for who thinks in frequencies. */
  rate: quantity(parseFrequency, 'a rate in Hz, or such as 10kHz'),
  arrivals: z.enum(['periodic', 'poisson', 'burst'], { error: () => 'expected periodic, poisson or burst' }).optional(),
  burst: z.number().optional(),
  ring: z.number().optional(),
  start: duration(),
  stop: duration(),
});

export const scenarioSchema = z.strictObject({
  devices: z.array(deviceSchema).optional(),
  dom0: dom0Schema.optional(),
  machine: machineSchema.optional(),
  cpupools: z.array(cpupoolSchema).optional(),
  guests: z.array(guestSchema),
  // An item's body depends on its quantity: expectations.ts checks it.
  expect: z.array(z.record(z.string(), z.unknown())).optional(),
});

export type CpupoolSection = z.infer<typeof cpupoolSchema>;
export type Dom0Section = z.infer<typeof dom0Schema>;
export type SedfSection = z.infer<typeof sedfSchema>;
export type MachineSection = z.infer<typeof machineSchema>;
export type DeviceSection = z.infer<typeof deviceSchema>;
export type GuestSection = z.infer<typeof guestSchema>;
