/** What `ringzero boot` runs: one domain with a kernel, beside domain 0, which serves it, until it is done. */
import { dirname, extname, resolve } from 'node:path';
import type { GuestConfig } from '../machine/config.js';
import { MAX_PCPUS, MAX_VIRT_CPUS } from '../shared/limits.js';
import { ConfigError } from '../workload/config-error.js';
import { withBuiltKernels } from './built-kernels.js';
import { noWorkload, readKernelFile } from './kernel-file.js';
import {
  buildConfig,
  checkConfig,
  checkPcpus,
  type MachineOverrides,
  pcpusOf,
  type Scenario,
  threadWarnings,
} from './scenario.js';
import { DEFAULT_MEMORY_MIB, domain0, kernelGuest, type ReadGuest } from './scenario-guests.js';
import { parseXlCfg } from './xl-cfg.js';
import { type XlGuest, xlGuest } from './xl-guest.js';
import { readUserFile } from './yaml-file.js';

/** What `ringzero boot` says of the domain; what it does not say is as in the guest's configuration, or as usual. */
export interface BootSettings {
  readonly memoryMib?: number | undefined;
  readonly commandLine?: string | undefined;
  readonly ramdisk?: string | undefined;
}

/** A kernel by itself is one domain with a VCPU for every pCPU, beside domain 0, which serves it, until it is done. */
export function loadKernel(path: string, boot: BootSettings, overrides: MachineOverrides = {}): Scenario {
  if (extname(path) === '.cfg') return loadBootedGuest(path, boot, overrides);
  checkPcpus({}, overrides, undefined);
  const pcpus = pcpusOf({}, { pcpus: 1, ...overrides });
  const ramdisk = boot.ramdisk === undefined ? undefined : { file: boot.ramdisk };
  const kernel = readKernelFile(path, boot.commandLine ?? '', undefined, ramdisk);
  return bootScenario(kernelGuest(kernel, pcpus, boot.memoryMib ?? DEFAULT_MEMORY_MIB), pcpus, [], overrides);
}

/** A guest of an xl.cfg file, in the same way; with a pCPU for each of its VCPUs if nothing else is said. */
function loadBootedGuest(path: string, boot: BootSettings, overrides: MachineOverrides): Scenario {
  checkPcpus({}, overrides, undefined);
  const parsed = parseXlCfg(readUserFile(path), path);
  const read = (pcpus: number): XlGuest =>
    xlGuest(parsed, { pcpus, maxVirtCpus: MAX_VIRT_CPUS, memoryMib: DEFAULT_MEMORY_MIB });
  // CPU lists are of as many pCPUs as there are going to be.
  const pcpus = overrides.pcpus ?? read(MAX_PCPUS).guest.vcpus;
  const { guest, boots, warnings } = read(pcpus);
  if (boots === undefined) throw new ConfigError(`${path}: the guest has no 'kernel' to boot`);
  const beside = (name: string): string => resolve(dirname(path), name);
  const named = boots.ramdisk && { file: beside(boots.ramdisk.name), from: boots.ramdisk.at };
  const ramdisk = boot.ramdisk === undefined ? named : { file: boot.ramdisk };
  const file = beside(boots.kernel.name);
  const kernel = readKernelFile(file, boot.commandLine ?? boots.commandLine, boots.kernel.at, ramdisk);
  const memoryMib = boot.memoryMib ?? guest.memoryMib;
  const config: GuestConfig = { ...guest, memoryMib, abi: 64, workload: noWorkload(file), kernel };
  const said = warnings.map(({ message, at }) => `${at.file}:${at.line}:${at.column}: ${message}`);
  return bootScenario({ config, placeOf: () => undefined }, pcpus, said, overrides);
}

/** Boots a guest beside domain 0. */
function bootScenario(
  guest: ReadGuest,
  pcpus: number,
  warnings: readonly string[],
  overrides: MachineOverrides,
): Scenario {
  const guests = [domain0(), guest];
  const config = buildConfig(
    { pcpus },
    { durationNs: Number.POSITIVE_INFINITY, ...overrides },
    guests.map((each) => each.config),
  );
  checkConfig(config, overrides, undefined, guests);
  return {
    config: withBuiltKernels(config),
    expectations: [],
    warnings: [...warnings, ...threadWarnings(config, overrides)],
  };
}
