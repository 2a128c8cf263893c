/** The `cpupools` of a scenario. */
import type { CpupoolConfig } from '../machine/config.js';
import type { Place } from '../workload/config-error.js';
import { parseCpuList } from './cpu-list.js';
import type { CpupoolSection } from './scenario-schema.js';
import type { YamlFile } from './yaml-file.js';

/** Keys by the fields they give. */
const KEYS: Readonly<Record<keyof CpupoolConfig, keyof CpupoolSection>> = {
  name: 'name',
  cpus: 'cpus',
  scheduler: 'sched',
  tsliceMs: 'tslice',
  ratelimitUs: 'ratelimit',
  migrationDelayUs: 'migration-delay',
};

export function readPools(yaml: YamlFile, sections: readonly CpupoolSection[], pcpus: number): CpupoolConfig[] {
  return sections.map(({ name, cpus, sched, tslice, ratelimit, 'migration-delay': delay }, n) => ({
    name,
    cpus: cpus === undefined ? undefined : parseCpuList(String(cpus), pcpus, yaml.place(['cpupools', n, 'cpus'])),
    scheduler: sched,
    tsliceMs: tslice,
    ratelimitUs: ratelimit,
    migrationDelayUs: delay,
  }));
}

/** Where a pool, or a field of it, is written. */
export function placeOfPool(yaml: YamlFile, [index, field]: readonly (string | number)[]): Place {
  const path = ['cpupools', ...(index === undefined ? [] : [index])];
  return yaml.place(field === undefined ? path : [...path, KEYS[field as keyof CpupoolConfig]]);
}
