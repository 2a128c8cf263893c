/**
 * What stands behind the verbs while a machine is up: the way to domain 0's tools, and what they remember (in Xen: xenstore): how
 * domains and cpupools are called.
 */
import type { MachineConfig } from '../machine/config.js';
import { boots, domainNumber } from '../machine/config.js';
import * as domctl from '../toolstack/domctl.js';
import { errnoText } from '../toolstack/errno-text.js';
import { schedulerName } from '../toolstack/schedulers.js';
import * as sysctl from '../toolstack/sysctl.js';
import type { ToolCall, ToolResult } from '../toolstack/tool-job.js';
import { version } from '../toolstack/version.js';
import type { Effect } from './commands.js';
import type { KnownDomain, KnownPool, NewDomain, World } from './world.js';
import { XlError } from './xl-error.js';

/** The part of Machine that the verbs use. */
export interface ToolstackMachine {
  readonly config: MachineConfig;
  /** Has domain 0 make hypercalls; ends with the first that fails. */
  privcmd(calls: readonly ToolCall[]): Promise<ToolResult[]>;
  progress(): { readonly simulatedNs: number };
}

/** Domains asked for at a time. */
const DOMAINS = 128;

/** A question that costs a call and asks nothing, in the place of one that does not apply. */
const NOTHING: domctl.Query<undefined> = version();

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
  /** What the scenario names and does not boot. */
  readonly creatable = new Map<string, NewDomain>();
  readonly poolNames = new Map<number, string>([[0, 'Pool-0']]);

  constructor(machine: ToolstackMachine) {
    this.machine = machine;
    const { guests } = machine.config;
    for (const [n, guest] of guests.entries()) {
      const id = domainNumber(guests, n);
      this.domainNames.set(id, guest.name);
      if (!boots(guest)) this.creatable.set(guest.name, { id, guest });
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
    return queries.map((q, n) => q.read(results[n]!.data)) as {
      [K in keyof T]: T[K] extends domctl.Query<infer R> ? R : never;
    };
  }

  async #domains(): Promise<domctl.DomainState[]> {
    const all: domctl.DomainState[] = [];
    for (;;) {
      const [some] = await this.ask([sysctl.getDomainInfoList((all.at(-1)?.id ?? -1) + 1, DOMAINS)]);
      all.push(...some);
      if (some.length < DOMAINS) return all;
    }
  }

  async #pools(): Promise<KnownPool[]> {
    const pools: KnownPool[] = [];
    for (let next = 0; ; ) {
      const query = sysctl.poolInfo(next, this.pcpus);
      const [result] = await this.machine.privcmd([query.call]);
      if (result === undefined || result.rc < 0) return pools;
      const { id, scheduler, cpus } = query.read(result.data);
      pools.push({ id, name: this.poolNames.get(id) ?? `Pool-${id}`, scheduler: schedulerName(scheduler), cpus });
      next = id + 1;
    }
  }

  /** The machine as domain 0 sees it. */
  async world(wanted: Wanted = {}): Promise<LiveWorld> {
    const [states, pools] = [await this.#domains(), await this.#pools()];
    const known = states.map((state): LiveDomain => {
      const { id, vcpus, pool } = state;
      return { id, name: this.domainNames.get(id) ?? `(null)`, vcpus, pool, state };
    });
    const rest = wanted.params === true ? await this.#params(known, pools) : { domains: known, pools };
    return { pcpus: this.pcpus, creatable: this.creatable, ...rest };
  }

  /** Adds what the schedulers know of domains and pools. */
  async #params(
    domains: readonly LiveDomain[],
    pools: readonly KnownPool[],
  ): Promise<Pick<LiveWorld, 'domains' | 'pools'>> {
    const under = (d: LiveDomain): string | undefined => pools.find((p) => p.id === d.pool)?.scheduler;
    const credits = new Map<LiveDomain, domctl.CreditParams>();
    for (const scheduler of ['credit', 'credit2'] as const) {
      const those = domains.filter((d) => under(d) === scheduler);
      const answers = await this.ask(those.map((d) => domctl.getCredit(d.id, scheduler)));
      for (const [n, d] of those.entries()) credits.set(d, answers[n]!);
    }
    const underSedf = domains.filter((d) => under(d) === 'sedf');
    const sedf = await this.ask(underSedf.map((d) => domctl.getSedf(d.id)));
    const globals = await this.ask(
      pools.map(({ id, scheduler }): domctl.Query<sysctl.CreditGlobals | undefined> => {
        if (scheduler === 'credit') return sysctl.getCreditGlobals(id);
        return scheduler === 'credit2' ? sysctl.getCredit2Globals(id) : NOTHING;
      }),
    );
    return {
      domains: domains.map((d) => ({ ...d, credit: credits.get(d), sedf: sedf[underSedf.indexOf(d)] })),
      pools: pools.map((pool, n) => ({ ...pool, globals: globals[n] })),
    };
  }

  /** @throws XlError when a call fails */
  async carryOut({ calls, failed }: Effect): Promise<void> {
    if (calls.length === 0) return;
    const results = await this.machine.privcmd(calls);
    const last = results.at(-1);
    if (last !== undefined && last.rc < 0)
      throw new XlError(`libxl: error: ${errnoText(last.rc)}\n${failed(results.length - 1)}`);
  }
}
