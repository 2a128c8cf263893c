/** xl's verbs on cpupools. */
import { topologyPcpus } from '../machine/config.js';
import type { CpupoolView } from '../machine/inspect.js';
import { cpupoolList } from './format.js';
import { domainOf, parseCpus, poolOf, refused, type ToolstackMachine, type Verb, XlError } from './parse.js';

/** pCPUs of a socket, which is a node. */
function pcpusOfNode({ config }: ToolstackMachine, node: number): number[] {
  const { topology } = config;
  const [sockets, size] =
    topology === undefined ? [1, config.pcpus] : [topology.sockets, topologyPcpus(topology) / topology.sockets];
  if (!(node >= 0 && node < sockets)) throw new XlError(`there is no node ${node}`);
  return Array.from({ length: size }, (_, k) => node * size + k);
}

/** `0-3,5`, or `node:1`. */
function cpusOf(machine: ToolstackMachine, text: string): number[] {
  const node = /^nodes?:(\d+)$/.exec(text)?.[1];
  return node === undefined ? (parseCpus(text, machine.config.pcpus) ?? []) : pcpusOfNode(machine, Number(node));
}

/** `name="web"`, `sched=credit`, `cpus="2-3"`, as in the file that xl reads. */
function variablesOf(args: readonly string[]): Map<string, string> {
  const variables = new Map<string, string>();
  for (const arg of args) {
    const [, key, value] = /^\s*(\w+)\s*=\s*(.*?)\s*$/.exec(arg) ?? [];
    if (key === undefined || !['name', 'sched', 'cpus', 'nodes'].includes(key)) {
      throw new XlError(`'${arg}' is none of name=, sched=, cpus=, nodes=`);
    }
    const items = /^\[(.*)\]$/.exec(value!)?.[1] ?? value!;
    variables.set(key, items.replaceAll(/["'\s]/g, ''));
  }
  return variables;
}

async function create(machine: ToolstackMachine, args: readonly string[]): Promise<string> {
  const given = variablesOf(args);
  const name = given.get('name') ?? '';
  if (name === '') throw new XlError('Pool name must be given (name=)');
  const pools = await machine.cpupools();
  if (pools.some((pool) => pool.name === name)) throw new XlError(`Pool name "${name}" already exists`);
  const taken = new Set(pools.flatMap(({ cpus }) => cpus));
  const free = Array.from({ length: machine.config.pcpus }, (_, p) => p).filter((p) => !taken.has(p));
  const node = given.get('nodes');
  const list = given.get('cpus') ?? (node === undefined ? undefined : `node:${node}`);
  const cpus = list === undefined ? free.slice(0, 1) : cpusOf(machine, list);
  if (cpus.length === 0) throw new XlError('no free cpu found');
  const used = cpus.filter((p) => taken.has(p));
  if (used.length > 0) throw new XlError(`cpu ${used.join(', ')} is in a pool already`);
  const scheduler = given.get('sched') ?? pools[0]?.scheduler;
  const id = await machine.createCpupool({ name, scheduler }).catch(refused);
  for (const p of cpus) await machine.cpupoolAddCpu(id, p).catch(refused);
  return `Using config file "command line"\ncpupool name:   ${name}\nscheduler:      ${scheduler}\nnumber of cpus: ${cpus.length}\n`;
}

async function removeAll(machine: ToolstackMachine, pool: CpupoolView): Promise<void> {
  for (const p of pool.cpus) await machine.cpupoolRemoveCpu(pool.id, p).catch(refused);
}

/** libxl takes the pCPUs out first, if there are no domains. */
async function destroy(machine: ToolstackMachine, name: string): Promise<string> {
  const pool = await poolOf(machine, name);
  if (pool.domains > 0) throw new XlError(`Can't destroy cpupool '${name}': it has ${pool.domains} domains`);
  if (pool.id === 0) throw new XlError(`Can't destroy cpupool '${name}': the host boots with it`);
  await removeAll(machine, pool);
  await machine.destroyCpupool(pool.id).catch(refused);
  return '';
}

/** A pool for each node; the first is what Pool-0 becomes, with all domains. */
async function split(machine: ToolstackMachine): Promise<string> {
  const pools = await machine.cpupools();
  const [first] = pools;
  if (pools.length !== 1 || first === undefined) throw new XlError('splitting not possible, already cpupools in use');
  const nodes = machine.config.topology?.sockets ?? 1;
  await machine.renameCpupool(first.id, 'Pool-node0').catch(refused);
  for (let node = 1; node < nodes; node++) {
    const id = await machine.createCpupool({ name: `Pool-node${node}`, scheduler: first.scheduler }).catch(refused);
    for (const p of pcpusOfNode(machine, node)) {
      await machine.cpupoolRemoveCpu(first.id, p).catch(refused);
      await machine.cpupoolAddCpu(id, p).catch(refused);
    }
  }
  return '';
}

export const cpupoolVerbs: Readonly<Record<string, Verb>> = {
  'cpupool-create': {
    usage: '<variable>=<value> ...',
    title: 'Create a new CPU pool',
    least: 1,
    run: create,
  },
  'cpupool-list': {
    usage: '[-c] [<CPU Pool>]',
    title: 'List CPU pools on host',
    least: 0,
    run: async (machine, args) => {
      const names = args.filter((arg) => arg !== '-c' && arg !== '--cpus');
      const pools = names.length === 0 ? await machine.cpupools() : [await poolOf(machine, names[0]!)];
      return cpupoolList(pools, names.length < args.length);
    },
  },
  'cpupool-destroy': {
    usage: '<CPU Pool>',
    title: 'Deactivates a CPU pool',
    least: 1,
    run: (machine, [name]) => destroy(machine, name!),
  },
  'cpupool-rename': {
    usage: '<CPU Pool> <new name>',
    title: 'Renames a CPU pool',
    least: 2,
    run: async (machine, [name, to]) => {
      await machine.renameCpupool((await poolOf(machine, name!)).id, to!).catch(refused);
      return '';
    },
  },
  'cpupool-cpu-add': {
    usage: '<CPU Pool> <CPU list>|node:<node nr>',
    title: 'Adds a CPU to a CPU pool',
    least: 2,
    run: async (machine, [name, list]) => {
      const { id } = await poolOf(machine, name!);
      for (const p of cpusOf(machine, list!)) await machine.cpupoolAddCpu(id, p).catch(refused);
      return '';
    },
  },
  'cpupool-cpu-remove': {
    usage: '<CPU Pool> <CPU list>|node:<node nr>',
    title: 'Removes a CPU from a CPU pool',
    least: 2,
    run: async (machine, [name, list]) => {
      const { id } = await poolOf(machine, name!);
      for (const p of cpusOf(machine, list!)) await machine.cpupoolRemoveCpu(id, p).catch(refused);
      return '';
    },
  },
  'cpupool-migrate': {
    usage: '<Domain> <CPU Pool>',
    title: 'Moves a domain into a CPU pool',
    least: 2,
    run: async (machine, [domain, name]) => {
      const { id } = await poolOf(machine, name!);
      await machine.moveToCpupool((await domainOf(machine, domain!)).id, id).catch(refused);
      return '';
    },
  },
  'cpupool-numa-split': {
    usage: '',
    title: 'Splits up the machine into one CPU pool per NUMA node',
    least: 0,
    run: (machine) => split(machine),
  },
};
