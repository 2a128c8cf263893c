/**
 * What stands behind the verbs while a machine is up: the way to domain 0's tools, and what they remember (in Xen: xenstore): how
 * domains and cpupools are called.
 */
import { resolve } from 'node:path';
import type { GuestConfig, MachineConfig } from '../machine/config.js';
import { boots, domainNumber } from '../machine/config.js';
import { bootPools } from '../machine/pools.js';
import { XEN_ENOSYS } from '../shared/public/errno.js';
import * as domctl from '../toolstack/domctl.js';
import { errnoText } from '../toolstack/errno-text.js';
import { schedulerName } from '../toolstack/schedulers.js';
import * as sysctl from '../toolstack/sysctl.js';
import type { ToolCall, ToolResult } from '../toolstack/tool-job.js';
import { version } from '../toolstack/version.js';
import { ConfigError } from '../workload/config-error.js';
import type { Effect } from './command.js';
import { creation } from './commands.js';
import { type KnownDomain, type KnownPool, type NewDomain, nodesOf, type World } from './world.js';
import { XlError } from './xl-error.js';

/** The part of Machine that the verbs use. */
export interface ToolstackMachine {
  readonly config: MachineConfig;
  /** Has domain 0 make hypercalls; ends with the first that fails. */
  privcmd(calls: readonly ToolCall[]): Promise<ToolResult[]>;
  progress(): { readonly simulatedNs: number };
  /** Makes everything ready for a domain that is to be created; the number it is to have. @throws RangeError when there is no room */
  prepare(guest: GuestConfig): number;
}

/** Domains asked for at a time. */
const DOMAINS = 128;

/** A question that costs a call and asks nothing, in the place of one that does not apply. */
const NOTHING: domctl.Query<undefined> = { ...version(), read: () => undefined };

/** `create` has its own way while a machine is up. */
const NOBODY: ReadonlyMap<string, NewDomain> = new Map();

/** What a verb wants to know of each domain and pool beyond its name. */
export interface Wanted {
  readonly params?: boolean;
}

/** A domain as it is just now. */
export interface LiveDomain extends KnownDomain {
  readonly state: domctl.DomainState;
}

export interface LiveWorld extends World {
  readonly domains: readonly LiveDomain[];
}

export class Session {
  readonly machine: ToolstackMachine;
  /** Names by numbers. */
  readonly domainNames = new Map<number, string>();
  /** What the scenario names and does not boot, with the number that is kept for it, until that is used. */
  readonly #later = new Map<string, { readonly guest: GuestConfig; readonly id?: number }>();
  readonly poolNames: Map<number, string>;

  /** Reads the file that describes a domain. */
  readonly #readGuest: (file: string) => GuestConfig;

  /** @param readGuest for `create`: reads the file that describes a domain */
  constructor(machine: ToolstackMachine, readGuest: (file: string) => GuestConfig) {
    this.machine = machine;
    this.#readGuest = readGuest;
    const { guests } = machine.config;
    this.poolNames = new Map(bootPools(machine.config).map(({ name }, id) => [id, name]));
    for (const [n, guest] of guests.entries()) {
      const id = domainNumber(guests, n);
      this.domainNames.set(id, guest.name);
      if (!boots(guest)) this.#later.set(guest.name, { id, guest });
    }
  }

  get pcpus(): number {
    return this.machine.config.pcpus;
  }

  /** @throws XlError when one of them fails */
  async ask<const T extends readonly domctl.Query<unknown>[]>(
    queries: T,
  ): Promise<{ [K in keyof T]: T[K] extends domctl.Query<infer R> ? R : never }> {
    const results = queries.length === 0 ? [] : await this.machine.privcmd(queries.map((q) => q.call));
    const last = results.at(-1);
    if (last !== undefined && last.rc < 0) throw new XlError(`libxl: error: ${errnoText(last.rc)}`);
    return queries.map((q, n) => q.read(results[n]!.data, results[n]!.rc)) as {
      [K in keyof T]: T[K] extends domctl.Query<infer R> ? R : never;
    };
  }

  /** Lists of queries in one job. @throws XlError when one of them fails */
  async askLists<const T extends readonly (readonly domctl.Query<unknown>[])[]>(
    lists: T,
  ): Promise<{ [K in keyof T]: T[K] extends readonly domctl.Query<infer R>[] ? R[] : never }> {
    const answers: unknown[] = await this.ask(lists.flat());
    return lists.map(({ length }) => answers.splice(0, length)) as {
      [K in keyof T]: T[K] extends readonly domctl.Query<infer R>[] ? R[] : never;
    };
  }

  /** Domains and cpupools in one job, as far as they are where the names say: each job waits for domain 0's VCPU to run. */
  async #look(): Promise<{ readonly states: domctl.DomainState[]; readonly pools: KnownPool[] }> {
    const states: domctl.DomainState[] = [];
    const pools: KnownPool[] = [];
    /** Numbers to look from; undefined where all is known. */
    let domain: number | undefined = 0;
    let pool: number | undefined = 0;
    while (domain !== undefined || pool !== undefined) {
      const domains: domctl.Query<domctl.DomainState[]>[] =
        domain === undefined ? [] : [sysctl.getDomainInfoList(domain, DOMAINS)];
      const from: number[] = pool === undefined ? [] : [pool, ...this.#poolsFrom(pool).map((id) => id + 1)];
      const asked = from.map((id) => sysctl.poolInfo(id, this.pcpus));
      const results = await this.machine.privcmd([...domains, ...asked].map(({ call }) => call));
      for (const query of domains) {
        const { rc, data } = results.shift()!;
        if (rc < 0) throw new XlError(`libxl: error: ${errnoText(rc)}`);
        const some = query.read(data, rc);
        states.push(...some);
        domain = some.length < DOMAINS ? undefined : some.at(-1)!.id + 1;
      }
      for (const [n, { rc, data }] of results.entries()) {
        if (rc === -XEN_ENOSYS) return { states, pools: await this.#withoutPools() };
        // There are others than the names say.
        if (from[n] !== pool) break;
        if (rc < 0) {
          pool = undefined;
          break;
        }
        const { id, scheduler, cpus } = asked[n]!.read(data, rc);
        pools.push({ id, name: this.poolNames.get(id) ?? `Pool-${id}`, scheduler: schedulerName(scheduler), cpus });
        pool = id + 1;
      }
    }
    return { states, pools };
  }

  /** Numbers, in order. */
  #poolsFrom(id: number): number[] {
    return [...this.poolNames.keys()].filter((known) => known >= id).sort((a, b) => a - b);
  }

  /** Xen 3.0.4 knows no pools: all pCPUs are under the one scheduler. */
  async #withoutPools(): Promise<KnownPool[]> {
    const [id] = await this.ask([sysctl.schedId()]);
    const cpus = Array.from({ length: this.pcpus }, (_, p) => p);
    return [{ id: 0, name: 'Pool-0', scheduler: schedulerName(id), cpus }];
  }

  /** The machine as domain 0 sees it. */
  async world(wanted: Wanted = {}): Promise<LiveWorld> {
    const { states, pools } = await this.#look();
    const known = states.map((state): LiveDomain => {
      const { id, vcpus, pool } = state;
      return { id, name: this.domainNames.get(id) ?? `(null)`, vcpus, pool, state };
    });
    const rest = wanted.params === true ? await this.#params(known, pools) : { domains: known, pools };
    return { pcpus: this.pcpus, nodes: nodesOf(this.machine.config), creatable: NOBODY, ...rest };
  }

  /** Adds what the schedulers know of domains and pools. */
  async #params(
    domains: readonly LiveDomain[],
    pools: readonly KnownPool[],
  ): Promise<Pick<LiveWorld, 'domains' | 'pools'>> {
    const under = (d: LiveDomain): string | undefined => pools.find((p) => p.id === d.pool)?.scheduler;
    const credited = domains.flatMap((d) => {
      const scheduler = under(d);
      return scheduler === 'credit' || scheduler === 'credit2' ? [{ d, scheduler } as const] : [];
    });
    const underSedf = domains.filter((d) => under(d) === 'sedf');
    const [credits, sedf, globals] = await this.askLists([
      credited.map(({ d, scheduler }) => domctl.getCredit(d.id, scheduler)),
      underSedf.map((d) => domctl.getSedf(d.id)),
      pools.map(({ id, scheduler }): domctl.Query<sysctl.CreditGlobals | undefined> => {
        if (scheduler === 'credit') return sysctl.getCreditGlobals(id);
        return scheduler === 'credit2' ? sysctl.getCredit2Globals(id) : NOTHING;
      }),
    ]);
    return {
      domains: domains.map((d) => ({
        ...d,
        credit: credits[credited.findIndex((c) => c.d === d)],
        sedf: sedf[underSedf.indexOf(d)],
      })),
      pools: pools.map((pool, n) => ({ ...pool, globals: globals[n] })),
    };
  }

  /**
   * Creates what a file describes, or a guest of the scenario that did not boot.
   * @throws XlError when that fails; then nothing is left of it
   */
  async create(what: string, cwd: string): Promise<void> {
    const kept = this.#later.get(what);
    const guest = kept?.guest ?? this.#read(resolve(cwd, what));
    const world = await this.world();
    if (world.domains.some(({ name }) => name === guest.name)) {
      throw new XlError(`Domain with name "${guest.name}" already exists.`);
    }
    const id = kept?.id ?? this.#prepare(guest);
    // Another one of that name would be another domain; but a kernel has no other place to be built in.
    if (kept !== undefined && guest.kernel === undefined) this.#later.set(what, { guest });
    await this.carryOut(creation({ id, guest }, world), world);
    this.domainNames.set(id, guest.name);
  }

  #read(file: string): GuestConfig {
    try {
      return this.#readGuest(file);
    } catch (error) {
      throw error instanceof ConfigError ? new XlError(error.message) : error;
    }
  }

  #prepare(guest: GuestConfig): number {
    try {
      return this.machine.prepare(guest);
    } catch (error) {
      throw error instanceof RangeError ? new XlError(`libxl: error: ${error.message}`) : error;
    }
  }

  /**
   * @param world what the effect was made for
   * @throws XlError when a call fails
   */
  async carryOut({ calls, failed, after, undo }: Effect, world: World): Promise<void> {
    const results = calls.length === 0 ? [] : await this.machine.privcmd(calls);
    const last = results.at(-1);
    if (last !== undefined && last.rc < 0) {
      const back = undo?.(results.length - 1) ?? [];
      if (back.length > 0) await this.machine.privcmd(back);
      throw new XlError(`libxl: error: ${errnoText(last.rc)}\n${failed(results.length - 1)}`);
    }
    if (after === undefined) return;
    this.poolNames.clear();
    for (const { id, name } of after(world).pools) this.poolNames.set(id, name);
  }
}
