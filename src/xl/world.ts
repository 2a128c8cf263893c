/** What a verb has to know before it can act: who is there, under which names. Asked of the machine, or read from a scenario. */
import type { GuestConfig } from '../machine/config.js';
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
  readonly domains: readonly KnownDomain[];
  readonly pools: readonly KnownPool[];
  /** What `create` can make, by what it is called there. */
  readonly creatable: ReadonlyMap<string, NewDomain>;
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
