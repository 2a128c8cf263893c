/** What became of domain 0's script. */
import { modelMemory } from '../pcpu/model/memory.js';
import { TOOL_JOB } from '../pcpu/model/privcmd-records.js';
import type { BuiltMachine } from './build.js';
import type { MachineConfig } from './config.js';
import type { ScriptResult } from './result.js';

export function collectTools(
  { image, core }: Pick<BuiltMachine, 'image' | 'core'>,
  config: MachineConfig,
): ScriptResult[] {
  const job = image.table(TOOL_JOB);
  const start = modelMemory(image, core.hv).kd.start(0);
  return (config.toolstack?.jobs ?? []).map(({ text, atNs }, n) => {
    const [began, done] = [job.beganAt(1 + n), job.doneAt(1 + n)];
    return {
      text,
      atNs,
      ...(began < 0 ? {} : { beganNs: began - start }),
      ...(done < 0 ? {} : { doneNs: done - start }),
      rc: job.failed(1 + n),
    };
  });
}
