/** A domain described by an xl.cfg file alone, as `xl create` takes it: what its kernel is to do is an rt-app file, named by `kernel`. */
import { dirname, isAbsolute, join } from 'node:path';
import type { GuestConfig } from '../machine/config.js';
import { MAX_VIRT_CPUS } from '../shared/limits.js';
import { ConfigError } from '../workload/config-error.js';
import { parseRtApp } from '../workload/rt-app.js';
import { DEFAULT_MEMORY_MIB } from './scenario-guests.js';
import { parseXlCfg } from './xl-cfg.js';
import { xlGuest } from './xl-guest.js';
import { readUserFile } from './yaml-file.js';

/** @throws ConfigError with its place */
export function readGuestFile(file: string, pcpus: number): GuestConfig {
  const xl = parseXlCfg(readUserFile(file), file);
  const kernel = xl.settings.findLast(({ name }) => name === 'kernel');
  if (kernel?.value.kind !== 'string' || !kernel.value.value.endsWith('.json')) {
    const at = kernel?.value.at ?? { file, line: 1, column: 1 };
    throw new ConfigError('"kernel" must name an rt-app workload (.json)', at);
  }
  const { guest } = xlGuest(xl, { pcpus, maxVirtCpus: MAX_VIRT_CPUS, memoryMib: DEFAULT_MEMORY_MIB });
  const { value } = kernel.value;
  const path = isAbsolute(value) ? value : join(dirname(file), value);
  return { ...guest, abi: 64, workload: parseRtApp(readUserFile(path, kernel.value.at), path) };
}
