/** Those verbs of xl that show something. */
import { setTimeout as delay } from 'node:timers/promises';
import * as domctl from '../toolstack/domctl.js';
import * as sysctl from '../toolstack/sysctl.js';
import * as xen from '../toolstack/version.js';
import { numberOf, optionsOf } from './arguments.js';
import { CREDIT_OPTIONS, mustBeUnder, poolsOf, SEDF_OPTIONS } from './commands.js';
import * as format from './format.js';
import type { LiveDomain, LiveWorld, Session } from './session.js';
import { type Look, top } from './top.js';
import { domainsIn, findDomain, findPool, freeCpus } from './world.js';
import { XlError } from './xl-error.js';

export interface Query {
  readonly usage: string;
  readonly title: string;
  readonly least: number;
  /** What goes to stdout. */
  run(session: Session, args: readonly string[]): Promise<string>;
}

/** Those named, or all. */
const chosen = ({ domains }: LiveWorld, names: readonly string[]): readonly LiveDomain[] =>
  names.length === 0 ? domains : names.map((name) => findDomain(domains, name));

async function list(session: Session, args: readonly string[]): Promise<string> {
  const { given, rest } = optionsOf(args, { c: 'cpupool' });
  const world = await session.world();
  return format.list(chosen(world, rest), given.has('c') ? world.pools : undefined);
}

async function vcpuList(session: Session, names: readonly string[]): Promise<string> {
  const { pcpus } = session;
  const domains = chosen(await session.world(), names);
  const ids = domains.flatMap(({ id, vcpus }) => Array.from({ length: vcpus }, (_, v) => [id, v] as const));
  const [states, masks] = await session.askLists([
    ids.map(([d, v]) => domctl.getVcpuInfo(d, v)),
    ids.map(([d, v]) => domctl.getVcpuAffinity(d, v, pcpus)),
  ]);
  const rows = ids.map(([d, v], n) => ({
    id: d,
    name: domains.find(({ id }) => id === d)!.name,
    vcpu: v,
    ...states[n]!,
    ...masks[n]!,
  }));
  return format.vcpuList(rows, pcpus);
}

function showCredit(scheduler: 'credit' | 'credit2') {
  return async (session: Session, args: readonly string[]): Promise<string> => {
    const { given } = optionsOf(args, CREDIT_OPTIONS);
    const world = await session.world({ params: true });
    const name = given.get('d');
    if (name !== undefined) {
      const domain = findDomain(world.domains, name);
      mustBeUnder(world, domain, scheduler);
      return format.creditHeader() + format.creditRow(domain);
    }
    const pools = poolsOf(world, scheduler, given.get('p'));
    if (given.has('s')) return pools.map(format.creditPool).join('');
    return pools
      .map((pool) => {
        const rows = world.domains.filter((d) => d.pool === pool.id).map(format.creditRow);
        return format.creditPool(pool) + format.creditHeader() + rows.join('');
      })
      .join('');
  };
}

async function showSedf(session: Session, args: readonly string[]): Promise<string> {
  const { given } = optionsOf(args, SEDF_OPTIONS);
  const world = await session.world({ params: true });
  const name = given.get('d');
  if (name === undefined) return format.schedSedf(world.domains.filter((d) => d.sedf !== undefined));
  const domain = findDomain(world.domains, name);
  mustBeUnder(world, domain, 'sedf');
  return format.schedSedf([domain]);
}

async function cpupoolList(session: Session, args: readonly string[]): Promise<string> {
  const { given, rest } = optionsOf(args, { c: 'cpus' });
  const world = await session.world();
  const [name] = rest;
  if (name !== undefined && !world.pools.some((pool) => pool.name === name || String(pool.id) === name)) {
    throw new XlError(`Pool '${name}' does not exist`);
  }
  const pools = name === undefined ? world.pools : [findPool(world, name)];
  return format.cpupoolList(
    pools.map((pool) => ({ ...pool, domains: domainsIn(world, pool) })),
    given.has('c'),
  );
}

async function info(session: Session): Promise<string> {
  const [host, extra, caps, changeset, compile, hole, version] = await session.ask([
    sysctl.physInfo(),
    xen.extraVersion(),
    xen.capabilities(),
    xen.changeset(),
    xen.compileInfo(),
    xen.virtStart(),
    xen.version(),
  ] as const);
  const world = await session.world();
  return format.info({
    host,
    extra,
    caps,
    changeset,
    compile,
    hole,
    ...version,
    scheduler: world.pools[0]?.scheduler ?? 'unknown',
    freeCpus: freeCpus(world).length,
  });
}

/** The hypervisor's ring. */
const CONSOLE_BYTES = 32_768;

async function dmesg(session: Session, args: readonly string[]): Promise<string> {
  const { given } = optionsOf(args, { c: 'clear' });
  const [text] = await session.ask([sysctl.readConsole(CONSOLE_BYTES, given.has('c'))]);
  return text;
}

/** Looks at most, and host seconds between two of them: a machine that answers is looked at for an hour. */
const MOST_LOOKS = 3600;
const MOST_SECONDS = 3600;

async function topBatch(session: Session, args: readonly string[]): Promise<string> {
  const { given } = optionsOf(args, { b: 'batch', i: 'iterations=', d: 'delay=', f: 'full-name', v: 'vcpus' });
  if (!given.has('b')) throw new XlError('only batch mode is here: xl top -b [-i ITERATIONS] [-d SECONDS]');
  const looks = numberOf(given.get('i') ?? '1', 'iterations', 1, MOST_LOOKS);
  const seconds = numberOf(given.get('d') ?? '3', 'delay', 1, MOST_SECONDS);
  let text = '';
  let before: Look | undefined;
  for (let n = 0; n < looks; n++) {
    if (n > 0) await delay(seconds * 1000);
    const [host] = await session.ask([sysctl.physInfo()]);
    const { domains } = await session.world();
    const look = { atNs: session.machine.progress().simulatedNs, totalPages: host.totalPages, domains };
    text += top(look, before);
    before = look;
  }
  return text;
}

const domid = async (session: Session, [name]: readonly string[]): Promise<string> =>
  `${findDomain((await session.world()).domains, name!).id}\n`;

const domname = async (session: Session, [id]: readonly string[]): Promise<string> =>
  `${findDomain((await session.world()).domains, id!).name}\n`;

/** Verbs that show when they are not told to change anything are in COMMANDS as well. */
export const QUERIES: Readonly<Record<string, Query>> = {
  list: { usage: '[options] [Domain]...', title: 'List information about all/some domains', least: 0, run: list },
  'vcpu-list': {
    usage: '[Domain, ...]',
    title: 'List the VCPUs for all/some domains',
    least: 0,
    run: vcpuList,
  },
  'sched-credit': {
    usage: '[-d <Domain> [-w[=WEIGHT]|-c[=CAP]]] [-s [-t TSLICE] [-r RATELIMIT]] [-p CPUPOOL]',
    title: 'Get/set credit scheduler parameters',
    least: 0,
    run: showCredit('credit'),
  },
  'sched-credit2': {
    usage: '[-d <Domain> [-w[=WEIGHT]]] [-p CPUPOOL]',
    title: 'Get/set credit2 scheduler parameters',
    least: 0,
    run: showCredit('credit2'),
  },
  'sched-sedf': {
    usage: '[-d <Domain> [-p <period>] [-s <slice>] [-l <latency>] [-e <0|1>] [-w <weight>]]',
    title: 'Get/set SEDF scheduler parameters (ms)',
    least: 0,
    run: showSedf,
  },
  'cpupool-list': { usage: '[-c] [<CPU Pool>]', title: 'List CPU pools on host', least: 0, run: cpupoolList },
  info: { usage: '', title: 'Get information about Xen host', least: 0, run: info },
  dmesg: { usage: '[-c]', title: 'Read and/or clear dmesg buffer', least: 0, run: dmesg },
  top: {
    usage: '-b [-i <iterations>] [-d <seconds>]',
    title: 'Monitor a host and the domains in batches',
    least: 0,
    run: topBatch,
  },
  domid: { usage: '<DomainName>', title: 'Convert a domain name to domain id', least: 1, run: domid },
  domname: { usage: '<DomainId>', title: 'Convert a domain id to domain name', least: 1, run: domname },
};
