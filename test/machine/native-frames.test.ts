/** What exceptions of applications leave for their kernel: as in ring 3 of a PC, but for what is Xen's own. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { noWorkload, readKernelFile } from '../../src/config/kernel-file.js';
import { guest, machineConfig } from '../support/in-process.js';
import { runMachine } from '../support/run-machine.js';

const GUESTS = fileURLToPath(new URL('../../../guests/', import.meta.url));
const QEMU = 'qemu-system-x86_64';
const DEBUG_EXIT = 'isa-debug-exit,iobase=0xf4,iosize=4';
const NO_COMPILER = 77;
/** isa-debug-exit, of a value of 0. */
const DONE = 1;

/** What a command says; undefined: it is not there, or says by its status that there is no compiler. */
function output(command: string, args: readonly string[]): string | undefined {
  try {
    return execFileSync(command, args, { encoding: 'utf8', timeout: 60_000, stdio: ['ignore', 'pipe', 'inherit'] });
  } catch (error) {
    const { code, status, stdout } = error as { code?: string; status?: number; stdout?: string };
    if (code === 'ENOENT' || status === NO_COMPILER) return undefined;
    if (status === DONE) return stdout;
    throw error;
  }
}

/** Without where the code is; and of a gate that ring 3 may not use QEMU says 16 times its number, while processors say 8 times it. */
const comparable = (line: string): string =>
  line.replace(/^(frame app_write .* error 7 .*) cr2 \w+$/, '$1').replace(/^(frame app_int83 .* error) \w+/, '$1');

describe('frames of applications that fault', function () {
  this.timeout(120_000);

  it('are those of the same applications in ring 3 of a PC', async function () {
    const folder = mkdtempSync(join(tmpdir(), 'native-frames-'));
    try {
      const isBuilt = output(join(GUESTS, 'native-frames/build.sh'), [folder]) !== undefined;
      const machine = ['-kernel', join(folder, 'native-frames.elf'), '-display', 'none', '-no-reboot', '-m', '64'];
      const native = isBuilt ? output(QEMU, [...machine, '-debugcon', 'stdio', '-device', DEBUG_EXIT]) : undefined;
      if (native === undefined) this.skip();
      const file = join(GUESTS, 'test-kernel/test-kernel.elf');
      const kernel = readKernelFile(file, 'frames=1');
      const guests = [guest({ name: 'test', memoryMib: 16, workload: noWorkload(file), kernel })];
      const { domains } = await runMachine(machineConfig({ pcpus: 1, durationNs: 1e9, guests }));
      const ours = domains[0]!.console.split('\n').filter((line) => line.startsWith('frame '));
      expect(ours).to.have.length.above(5);
      expect(ours.map(comparable)).to.deep.equal(native.trim().split('\n').map(comparable));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
