/** What a verb has to know before it can act: who is there, under which names. Asked of the machine, or read from a scenario. */
import { type GuestConfig, type MachineConfig, POOL_0, topologyPcpus } from '../machine/config.js';
import type { CreditParams, SedfParams } from '../toolstack/domctl.js';
import type { CreditGlobals } from '../toolstack/sysctl.js';
import { ERROR_INVAL, XlError } from './xl-error.js';

export interface KnownDomain {
  readonly id: number;
  readonly name: string;
  /** VCPUs it has, on line or not. */
  readonly vcpus: number;
  /** Number of its cpupool. */
  readonly pool: number;
  /** Weight and cap under either credit scheduler, and its parameters under SEDF, where they are known. */
  readonly credit?: CreditParams | undefined;
  readonly sedf?: SedfParams | undefined;
}

export interface KnownPool {
  readonly id: number;
  readonly name: string;
  /** Name of its scheduler: `credit`, …; a file for a user's own. */
  readonly scheduler: string;
  readonly cpus: readonly number[];
  /** Its scheduler's own parameters, where they are known. */
  readonly globals?: CreditGlobals | undefined;
}

/** A domain that can be created. */
export interface NewDomain {
  /** The number it will have. */
  readonly id: number;
  readonly guest: GuestConfig;
}

export interface World {
  readonly pcpus: number;
  /** pCPUs of each node, which is a socket. */
  readonly nodes: readonly (readonly number[])[];
  readonly domains: readonly KnownDomain[];
  readonly pools: readonly KnownPool[];
  /** What `create` can make, by what it is called there. */
  readonly creatable: ReadonlyMap<string, NewDomain>;
}

/** pCPUs socket by socket. */
export function nodesOf({ pcpus, topology }: Pick<MachineConfig, 'pcpus' | 'topology'>): number[][] {
  const sockets = topology?.sockets ?? 1;
  const size = topology === undefined ? pcpus : topologyPcpus(topology) / sockets;
  return Array.from({ length: sockets }, (_, s) => Array.from({ length: size }, (_x, k) => s * size + k));
}

/** By name, or else by number. */
export function findDomain<D extends { readonly id: number; readonly name: string }>(
  domains: readonly D[],
  name: string,
): D {
  const found = domains.find((d) => d.name === name) ?? domains.find((d) => String(d.id) === name);
  if (found === undefined) throw new XlError(`${name} is an invalid domain identifier (rc=${ERROR_INVAL})`);
  return found;
}

export function findPool({ pools }: World, name: string): KnownPool {
  const found = pools.find((p) => p.name === name) ?? pools.find((p) => String(p.id) === name);
  if (found === undefined) throw new XlError(`unknown cpupool '${name}'`);
  return found;
}

export const poolOf = ({ pools }: World, domain: KnownDomain): KnownPool | undefined =>
  pools.find((p) => p.id === domain.pool);

/** The pool that a guest is to be in; Pool-0, however it is called by now, is for those that do not say. */
export function poolOfGuest(world: World, { pool }: GuestConfig): KnownPool {
  const zero = pool === undefined ? world.pools.find(({ id }) => id === 0) : undefined;
  return zero ?? findPool(world, pool ?? POOL_0);
}

export const domainsIn = ({ domains }: World, { id }: KnownPool): number =>
  domains.filter(({ pool }) => pool === id).length;

/** pCPUs that are in no pool. */
export function freeCpus({ pcpus, pools }: World): number[] {
  const taken = new Set(pools.flatMap(({ cpus }) => cpus));
  return Array.from({ length: pcpus }, (_, p) => p).filter((p) => !taken.has(p));
}
