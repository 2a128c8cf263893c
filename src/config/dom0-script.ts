/** The script of domain 0's toolstack: commands of xl, made ready as hypercalls before the machine runs. */
import { domainNumber, type GuestConfig, type MachineConfig } from '../machine/config.js';
import { sedfOf } from '../machine/sedf-defaults.js';
import type { ToolJob } from '../toolstack/tool-job.js';
import { ConfigError } from '../workload/config-error.js';
import { COMMANDS, XL_COST_NS } from '../xl/commands.js';
import type { KnownDomain, World } from '../xl/world.js';
import { XlError } from '../xl/xl-error.js';
import type { Dom0Section } from './scenario-schema.js';
import type { YamlFile } from './yaml-file.js';

const knownDomain = (guests: readonly GuestConfig[], n: number): KnownDomain => {
  const guest = guests[n]!;
  const { name, vcpus, weight, cap } = guest;
  return { id: domainNumber(guests, n), name, vcpus, pool: 0, credit: { weight, cap }, sedf: sedfOf(guest) };
};

/** The machine as it is at boot. */
export function worldAtBoot(config: MachineConfig): World {
  const { guests, pcpus, scheduler, tsliceMs, ratelimitUs, migrationDelayUs } = config;
  const cpus = Array.from({ length: pcpus }, (_, p) => p);
  return {
    pcpus,
    domains: guests.map((_, n) => knownDomain(guests, n)),
    pools: [{ id: 0, name: 'Pool-0', scheduler, cpus, globals: { tsliceMs, ratelimitUs, migrationDelayUs } }],
  };
}

/** @throws ConfigError at the command that is wrong */
export function readScript(commands: Dom0Section['commands'], yaml: YamlFile, config: MachineConfig): ToolJob[] {
  const world = worldAtBoot(config);
  return (commands ?? []).map(({ at = 0, xl }, n): ToolJob => {
    const place = yaml.place(['dom0', 'commands', n, 'xl']);
    const [name, ...args] = xl
      .trim()
      .replace(/^xl\s+/, '')
      .split(/\s+/);
    const command = Object.hasOwn(COMMANDS, name!) ? COMMANDS[name!]! : undefined;
    if (command === undefined) {
      throw new ConfigError(
        `no command that a script can hold: '${name}'; known: ${Object.keys(COMMANDS).join(', ')}`,
        place,
      );
    }
    if (args.length < command.least) throw new ConfigError(`usage: ${name} ${command.usage}`, place);
    try {
      const [first, ...rest] = command.compile(world, args).calls;
      const calls = first === undefined ? [] : [{ ...first, costNs: first.costNs + XL_COST_NS }, ...rest];
      return { atNs: at, text: xl, calls };
    } catch (error) {
      if (error instanceof XlError) throw new ConfigError(`xl ${name}: ${error.message}`, place);
      throw error;
    }
  });
}
