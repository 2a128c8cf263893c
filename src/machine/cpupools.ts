/** Cpupools as a toolstack sees them: with the names that it gives them, and errors that say what was wrong. */
import * as errno from '../shared/public/errno.js';
import type { BuiltMachine } from './build.js';
import { poolName } from './pool-names.js';

export interface CpupoolView {
  readonly id: number;
  readonly name: string;
  readonly scheduler: string;
  readonly tsliceMs: number;
  readonly ratelimitUs: number;
  readonly migrationDelayUs: number;
  /** Domains in it that have not ended. */
  readonly domains: number;
  readonly cpus: readonly number[];
}

/** What a pool's scheduler is to be; what is left out is the machine's. */
export interface NewCpupool {
  readonly name: string;
  readonly scheduler?: string | undefined;
  readonly tsliceMs?: number | undefined;
  readonly ratelimitUs?: number | undefined;
  readonly migrationDelayUs?: number | undefined;
}

const NAMES: readonly (readonly [string, number])[] = Object.entries(errno);

/** The hypervisor refused: its error number is Xen's. */
export class XenError extends RangeError {
  override readonly name = 'XenError';
  /** XEN_E…, positive. */
  readonly errno: number;
  constructor(what: string, code: number) {
    const name = NAMES.find(([, n]) => n === code)?.[0].replace('XEN_', '') ?? String(code);
    super(`${what} (${name})`);
    this.errno = code;
  }
}

/** @throws XenError for what is less than 0 */
export function checked(rc: number, what: string): number {
  if (rc < 0) throw new XenError(what, -rc);
  return rc;
}

/** All pools, by number. Of a machine that stands. */
export function poolViews(built: BuiltMachine): CpupoolView[] {
  const { cpupools } = built.core.hv;
  const views: CpupoolView[] = [];
  for (let info = cpupools.info(0); info !== undefined; info = cpupools.info(info.id + 1)) {
    const { id, policy, tsliceNs, ratelimitNs, migrationDelayNs, domains, cpus } = info;
    views.push({
      id,
      name: poolName(built.image, id) || `Pool-${id}`,
      scheduler: built.params.hv.policies[policy] ?? '',
      tsliceMs: tsliceNs / 1e6,
      ratelimitUs: ratelimitNs / 1e3,
      migrationDelayUs: migrationDelayNs / 1e3,
      domains,
      cpus,
    });
  }
  return views;
}
