/** The script of domain 0's toolstack: commands of xl, made ready as hypercalls before the machine runs. */
import { boots, domainNumber, type GuestConfig, type MachineConfig, mostVcpus } from '../machine/config.js';
import { bootPools, nrPools, policiesOf } from '../machine/pools.js';
import { sedfOf } from '../machine/sedf-defaults.js';
import type { ToolJob } from '../toolstack/tool-job.js';
import { ConfigError } from '../workload/config-error.js';
import type { Effect } from '../xl/command.js';
import { COMMANDS, XL_COST_NS } from '../xl/commands.js';
import { findDomain, type KnownDomain, nodesOf, poolOfGuest, type World } from '../xl/world.js';
import { XlError } from '../xl/xl-error.js';
import type { Dom0Section } from './scenario-schema.js';
import type { YamlFile } from './yaml-file.js';

const knownDomain = (guests: readonly GuestConfig[], n: number, pool: number): KnownDomain => {
  const guest = guests[n]!;
  const { name, weight, cap } = guest;
  return {
    id: domainNumber(guests, n),
    name,
    vcpus: mostVcpus(guest),
    pool,
    credit: { weight, cap },
    sedf: sedfOf(guest),
  };
};

/** The machine as it is at boot. */
export function worldAtBoot(config: MachineConfig): World {
  const { guests, pcpus } = config;
  const policies = policiesOf(config);
  const empty: World = {
    pcpus,
    nodes: nodesOf(config),
    domains: [],
    creatable: new Map(
      guests.flatMap((guest, n) =>
        boots(guest) ? [] : [[guest.name, { id: domainNumber(guests, n), guest }] as const],
      ),
    ),
    pools: bootPools(config).map(({ name, cpus, policy, tsliceNs, ratelimitNs, migrationDelayNs }, id) => ({
      id,
      name,
      cpus,
      scheduler: policies[policy]!,
      globals: { tsliceMs: tsliceNs / 1e6, ratelimitUs: ratelimitNs / 1e3, migrationDelayUs: migrationDelayNs / 1e3 },
    })),
  };
  return {
    ...empty,
    domains: guests.flatMap((guest, n) => (boots(guest) ? [knownDomain(guests, n, poolOfGuest(empty, guest).id)] : [])),
  };
}

export interface Script {
  readonly jobs: readonly ToolJob[];
  /** All guests: those of the scenario, and one more for each time that one of them is created again. */
  readonly guests: readonly GuestConfig[];
  /** Pools that it makes beside those of the scenario. */
  readonly sparePools: number;
  /** How pools are called at its end, by number. */
  readonly poolNames: readonly (readonly [number, string])[];
}

/** What the toolstack knows as its script goes on. */
class Expected {
  readonly guests: GuestConfig[];
  readonly #created = new Set<string>();
  /** The highest number that a pool has had. */
  lastPool: number;
  world: World;

  constructor(config: MachineConfig) {
    this.guests = [...config.guests];
    this.world = worldAtBoot(config);
    this.lastPool = this.world.pools.length - 1;
  }

  /** A command is to come. A domain that is created again is another one: it gets another number. */
  before(verb: string, [name]: readonly string[]): void {
    const entry = verb === 'create' ? this.world.creatable.get(name!) : undefined;
    if (entry === undefined || !this.#created.has(name!)) return;
    const { guest } = entry;
    const again = { id: domainNumber(this.guests, this.guests.length), guest };
    this.guests.push(guest);
    this.world = { ...this.world, creatable: new Map([...this.world.creatable, [name!, again]]) };
  }

  after(verb: string, [name]: readonly string[], effect: Effect): void {
    this.world = effect.after?.(this.world) ?? this.world;
    this.lastPool = Math.max(this.lastPool, ...this.world.pools.map(({ id }) => id));
    const { domains, creatable } = this.world;
    if (verb === 'create') {
      this.#created.add(name!);
      const { id, guest } = creatable.get(name!)!;
      const pool = poolOfGuest(this.world, guest).id;
      const made = knownDomain(this.guests, id - domainNumber(this.guests, 0), pool);
      this.world = { ...this.world, domains: [...domains, made] };
    } else if (verb === 'destroy') {
      const gone = findDomain(domains, name!);
      this.world = { ...this.world, domains: domains.filter((d) => d !== gone) };
    }
  }
}

/** A command as a job: what xl takes to begin with, its calls, and what takes them back. */
export function commandJob(atNs: number, text: string, { calls: [first, ...rest], undo }: Effect): ToolJob {
  const calls = first === undefined ? [] : [{ ...first, costNs: first.costNs + XL_COST_NS }, ...rest];
  return { atNs, text, calls, undo: undo?.(calls.length - 1) ?? [] };
}

/** @throws ConfigError at the command that is wrong */
export function readScript(commands: Dom0Section['commands'], yaml: YamlFile, config: MachineConfig): Script {
  const expected = new Expected(config);
  const jobs = (commands ?? []).map(({ at = 0, xl }, n): ToolJob => {
    const place = yaml.place(['dom0', 'commands', n, 'xl']);
    const [name, ...args] = xl
      .trim()
      .replace(/^xl\s+/, '')
      .split(/\s+/);
    const command = Object.hasOwn(COMMANDS, name!) ? COMMANDS[name!]! : undefined;
    if (command === undefined) {
      const known = Object.keys(COMMANDS).join(', ');
      throw new ConfigError(`no command that a script can hold: '${name}'; known: ${known}`, place);
    }
    if (args.length < command.least) throw new ConfigError(`usage: ${name} ${command.usage}`, place);
    try {
      expected.before(name!, args);
      const effect = command.compile(expected.world, args);
      expected.after(name!, args, effect);
      return commandJob(at, xl, effect);
    } catch (error) {
      if (error instanceof XlError) throw new ConfigError(`xl ${name}: ${error.message}`, place);
      throw error;
    }
  });
  return {
    jobs,
    guests: expected.guests,
    sparePools: expected.lastPool + 1 - nrPools({ ...config, sparePools: 0 }),
    poolNames: expected.world.pools.map(({ id, name }) => [id, name] as const),
  };
}
