/** The `devices` of a scenario. */
import { DEVICE_DEFAULTS, type DeviceConfig } from '../machine/config.js';
import { ConfigError } from '../workload/config-error.js';
import type { DeviceSection } from './scenario-schema.js';
import type { YamlFile, YamlPath } from './yaml-file.js';

/** Keys of a device by the fields they give, which check-config's complaints name. */
export const DEVICE_KEYS: Readonly<Record<keyof DeviceConfig, keyof DeviceSection>> = {
  name: 'name',
  kind: 'kind',
  irq: 'irq',
  domain: 'domain',
  vcpu: 'vcpu',
  handlerNs: 'handler',
  itemNs: 'item',
  periodNs: 'period',
  arrivals: 'arrivals',
  burst: 'burst',
  ring: 'ring',
  startNs: 'start',
  stopNs: 'stop',
};

function periodOf(section: DeviceSection, yaml: YamlFile, path: YamlPath): number {
  const { period, rate } = section;
  if ((period === undefined) === (rate === undefined)) {
    throw new ConfigError(`a device needs either a 'period' or a 'rate'`, yaml.place(path));
  }
  if (rate !== undefined && rate <= 0) throw new ConfigError('a rate is above 0', yaml.place([...path, 'rate']));
  return period ?? Math.round(1e9 / (rate ?? 1));
}

/** @throws ConfigError with the place of the first fault */
export function readDevices(yaml: YamlFile, sections: readonly DeviceSection[]): DeviceConfig[] {
  return sections.map((section, n) => {
    const given = Object.entries(DEVICE_KEYS).flatMap(([field, key]) =>
      section[key] === undefined ? [] : [[field, section[key]] as const],
    );
    const { name, kind, irq } = section;
    const periodNs = periodOf(section, yaml, ['devices', n]);
    return { ...DEVICE_DEFAULTS, ...Object.fromEntries(given), name, kind, irq, periodNs };
  });
}
