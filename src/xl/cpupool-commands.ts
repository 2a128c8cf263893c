/** xl's verbs that change cpupools. Names are the toolstack's own: the hypervisor knows numbers. */
import { MAX_NAME_LENGTH } from '../shared/limits.js';
import { isSchedulerName, schedulerNumber } from '../toolstack/schedulers.js';
import * as sysctl from '../toolstack/sysctl.js';
import type { ToolCall } from '../toolstack/tool-job.js';
import { parseCpus } from './arguments.js';
import { type Command, type Effect, effect } from './command.js';
import { domainsIn, findDomain, findPool, freeCpus, type KnownPool, type World } from './world.js';
import { XlError } from './xl-error.js';

const VARIABLES = ['name', 'sched', 'cpus', 'nodes'];

/** `0-3,5`, or `node:1`. */
function cpusOf({ pcpus, nodes }: World, text: string): readonly number[] {
  const node = /^nodes?:(\d+)$/.exec(text)?.[1];
  if (node === undefined) return parseCpus(text, pcpus) ?? [];
  const cpus = nodes[Number(node)];
  if (cpus === undefined) throw new XlError(`there is no node ${node}`);
  return cpus;
}

/** `name="web"`, `sched=credit`, `cpus=["2","3"]`, as in the file that xl reads. */
function variablesOf(args: readonly string[]): ReadonlyMap<string, string> {
  const variables = new Map<string, string>();
  for (const arg of args) {
    const [, key, value] = /^\s*(\w+)\s*=\s*(.*?)\s*$/.exec(arg) ?? [];
    if (key === undefined || !VARIABLES.includes(key)) {
      throw new XlError(`'${arg}' is none of ${VARIABLES.map((name) => `${name}=`).join(', ')}`);
    }
    const items = /^\[(.*)\]$/.exec(value!)?.[1] ?? value!;
    variables.set(key, items.replaceAll(/["'\s]/g, ''));
  }
  return variables;
}

/** Pools with another one, or one of them as it is now, by number. */
const withPool = (world: World, pool: KnownPool): World => ({
  ...world,
  pools: [...world.pools.filter(({ id }) => id !== pool.id), pool].sort((a, b) => a.id - b.id),
});

const withoutPool = (world: World, { id }: KnownPool): World => ({
  ...world,
  pools: world.pools.filter((pool) => pool.id !== id),
});

function isName(world: World, name: string): boolean {
  return name !== '' && Buffer.byteLength(name) <= MAX_NAME_LENGTH && !world.pools.some((pool) => pool.name === name);
}

/** The lowest number that is nobody's. */
function freeId({ pools }: World): number {
  const used = new Set(pools.map(({ id }) => id));
  let id = 0;
  while (used.has(id)) id++;
  return id;
}

/** The host's, where it is one that a pool can have. */
function schedulerOf({ pools }: World, given: string | undefined): string {
  const [host] = pools;
  if (given === undefined) return host !== undefined && isSchedulerName(host.scheduler) ? host.scheduler : 'credit';
  if (!isSchedulerName(given)) throw new XlError('Unknown scheduler');
  return given;
}

/** A pool's number, scheduler and pCPUs, as calls. */
function making(id: number, scheduler: string, cpus: readonly number[]): ToolCall[] {
  const number = isSchedulerName(scheduler) ? schedulerNumber(scheduler) : 0;
  return [sysctl.poolCreate(id, number), ...cpus.map((p) => sysctl.poolAddCpu(id, p))];
}

function create(world: World, args: readonly string[]): Effect {
  const given = variablesOf(args);
  const name = given.get('name') ?? '';
  if (name === '') throw new XlError('Missing cpupool name!');
  if (world.pools.some((pool) => pool.name === name)) throw new XlError(`Pool name "${name}" already exists`);
  if (!isName(world, name)) throw new XlError(`a cpupool's name has 1 to ${MAX_NAME_LENGTH} bytes`);
  const free = freeCpus(world);
  const scheduler = schedulerOf(world, given.get('sched'));
  const node = given.get('nodes');
  const list = given.get('cpus') ?? (node === undefined ? undefined : `node:${node}`);
  const cpus = list === undefined ? free.slice(0, 1) : cpusOf(world, list);
  if (cpus.length === 0) throw new XlError('no free cpu found');
  const used = cpus.find((p) => !free.includes(p));
  if (used !== undefined) throw new XlError(`cpu ${used} illegal or not free`);
  const id = freeId(world);
  return effect(making(id, scheduler, cpus), 'error on creating cpupool', {
    output: `Using config file "command line"\ncpupool name:   ${name}\nscheduler:      ${scheduler}\nnumber of cpus: ${cpus.length}\n`,
    after: (before) => withPool(before, { id, name, scheduler, cpus }),
    // The nth call is that for pCPU n - 1.
    undo: (n) =>
      n === 0 ? [] : [...cpus.slice(0, n - 1).map((p) => sysctl.poolRemoveCpu(id, p)), sysctl.poolDestroy(id)],
  });
}

/** libxl takes the pCPUs out first, if there are no domains. */
function destroy(world: World, [name]: readonly string[]): Effect {
  const pool = findPool(world, name!);
  const failed = `Can't destroy cpupool '${name}'`;
  if (pool.id === 0 || domainsIn(world, pool) > 0) throw new XlError(failed);
  const calls = [...pool.cpus.map((p) => sysctl.poolRemoveCpu(pool.id, p)), sysctl.poolDestroy(pool.id)];
  return effect(calls, failed, { after: (before) => withoutPool(before, pool) });
}

function rename(world: World, [name, to]: readonly string[]): Effect {
  const pool = findPool(world, name!);
  const failed = `Can't rename cpupool '${name}'`;
  if (!isName(world, to!)) throw new XlError(failed);
  return effect([], failed, { after: (before) => withPool(before, { ...pool, name: to! }) });
}

function addCpus(world: World, [name, list]: readonly string[]): Effect {
  const pool = findPool(world, name!);
  const cpus = cpusOf(world, list!);
  return effect(
    cpus.map((p) => sysctl.poolAddCpu(pool.id, p)),
    `some cpus may not have been added to ${name}`,
    {
      after: (before) =>
        withPool(before, { ...pool, cpus: [...new Set([...pool.cpus, ...cpus])].sort((a, b) => a - b) }),
    },
  );
}

function removeCpus(world: World, [name, list]: readonly string[]): Effect {
  const pool = findPool(world, name!);
  const cpus = cpusOf(world, list!);
  return effect(
    cpus.map((p) => sysctl.poolRemoveCpu(pool.id, p)),
    `some cpus may have not or only partially been removed from '${name}'`,
    { after: (before) => withPool(before, { ...pool, cpus: pool.cpus.filter((p) => !cpus.includes(p)) }) },
  );
}

function migrate(world: World, [name, to]: readonly string[]): Effect {
  const pool = findPool(world, to!);
  const domain = findDomain(world.domains, name!);
  return effect([sysctl.poolMoveDomain(pool.id, domain.id)], 'Error moving domain to cpupool', {
    after: (before) => ({
      ...before,
      domains: before.domains.map((d) => (d.id === domain.id ? { ...d, pool: pool.id } : d)),
    }),
  });
}

/** A pool for each node; the first is what Pool-0 becomes, with all domains. */
function split(world: World): Effect {
  const [first, ...others] = world.pools;
  if (first === undefined || others.length > 0) throw new XlError('splitting not possible, already cpupools in use');
  const scheduler = schedulerOf(world, undefined);
  const made = world.nodes.slice(1).map((cpus, n): KnownPool => {
    return { id: n + 1, name: `Pool-node${n + 1}`, scheduler, cpus };
  });
  const calls = made.flatMap(({ id, cpus }) => [
    ...making(id, scheduler, []),
    ...cpus.flatMap((p) => [sysctl.poolRemoveCpu(first.id, p), sysctl.poolAddCpu(id, p)]),
  ]);
  return effect(calls, 'error on creating cpupool', {
    after: (before) => [{ ...first, name: 'Pool-node0', cpus: world.nodes[0] ?? [] }, ...made].reduce(withPool, before),
  });
}

export const CPUPOOL_COMMANDS: Readonly<Record<string, Command>> = {
  'cpupool-create': { usage: '<variable>=<value> ...', title: 'Create a new CPU pool', least: 1, compile: create },
  'cpupool-destroy': { usage: '<CPU Pool>', title: 'Deactivates a CPU pool', least: 1, compile: destroy },
  'cpupool-rename': { usage: '<CPU Pool> <new name>', title: 'Renames a CPU pool', least: 2, compile: rename },
  'cpupool-cpu-add': {
    usage: '<CPU Pool> <CPU list>|node:<node nr>',
    title: 'Adds a CPU to a CPU pool',
    least: 2,
    compile: addCpus,
  },
  'cpupool-cpu-remove': {
    usage: '<CPU Pool> <CPU list>|node:<node nr>',
    title: 'Removes a CPU from a CPU pool',
    least: 2,
    compile: removeCpus,
  },
  'cpupool-migrate': {
    usage: '<Domain> <CPU Pool>',
    title: 'Moves a domain into a CPU pool',
    least: 2,
    compile: migrate,
  },
  'cpupool-numa-split': {
    usage: '',
    title: 'Splits up the machine into one CPU pool per NUMA node',
    least: 0,
    compile: split,
  },
};
