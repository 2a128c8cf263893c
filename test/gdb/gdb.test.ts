/** GDB itself, in batch mode, on `ringzero boot --gdb`; and wrong uses of that. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const TEST_KERNEL = fileURLToPath(new URL('../../../guests/test-kernel/', import.meta.url));
const LIMIT_MS = 60_000;

interface Ran {
  readonly gdb: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number | null;
}

/** All that a process writes to a stream, and when so much of it is there. */
function textOf(stream: NodeJS.ReadableStream): { text: string; until(pattern: RegExp): Promise<RegExpExecArray> } {
  const told = {
    text: '',
    async until(pattern: RegExp): Promise<RegExpExecArray> {
      for (;;) {
        const found = pattern.exec(told.text);
        if (found !== null) return found;
        await once(stream, 'data');
      }
    },
  };
  stream.on('data', (chunk: Buffer) => {
    told.text += chunk.toString();
  });
  return told;
}

describe('gdb on a kernel', function () {
  this.timeout(120_000);
  let folder = '';
  let file = '';
  before(function () {
    if (spawnSync('gdb', ['--version']).status !== 0) this.skip();
    folder = mkdtempSync(join(tmpdir(), 'gdb-'));
    try {
      execFileSync(join(TEST_KERNEL, 'build.sh'), [folder], { env: { ...process.env, STRIP: '' } });
    } catch {
      this.skip();
    }
    file = join(folder, 'test-kernel.elf');
  });
  after(() => {
    if (folder !== '') rmSync(folder, { recursive: true });
  });

  /** @param during called when GDB runs */
  async function debug(vcpus: number, commands: readonly string[], during?: (gdb: ChildProcess) => void): Promise<Ran> {
    const args = [
      'boot',
      file,
      '--memory',
      '16',
      '--pcpus',
      String(vcpus),
      '--cmdline',
      `vcpus=${vcpus}`,
      '--gdb',
      '0',
    ];
    const ringzero = spawn(process.execPath, [MAIN, ...args], { timeout: LIMIT_MS });
    const [stdout, stderr] = [textOf(ringzero.stdout), textOf(ringzero.stderr)];
    const [, port] = await stderr.until(/target remote :(\d+)'/);
    const all = ['set confirm off', `target remote :${port}`, ...commands].flatMap((command) => ['-ex', command]);
    const gdb = spawn('gdb', ['-batch', '-nx', ...all, file], { timeout: LIMIT_MS });
    const said = textOf(gdb.stdout);
    const complaints = textOf(gdb.stderr);
    during?.(gdb);
    const closed = [once(gdb, 'close'), once(ringzero, 'close')] as const;
    const [, [code]] = (await Promise.all(closed)) as [unknown, [number | null]];
    return { gdb: said.text + complaints.text, stdout: stdout.text, stderr: stderr.text, code };
  }

  it('breaks at a symbol, looks around, makes steps, and goes on to the end', async () => {
    const { gdb, stdout, code } = await debug(1, [
      ...['info registers rip', 'break kmain', 'continue', 'x/i $pc', 'stepi', 'x/i $pc', 'p $xmm0.uint128'],
      ...['info threads', 'monitor info', 'p/x $cs', 'p $eflags', 'p $st0', 'p $gs_base', 'x/b 0x40000000', 'continue'],
    ]);
    expect(gdb).to.match(/^rip +0x\w+ +0x\w+ <_start>/m);
    expect(gdb).to.match(/Breakpoint 1, 0x\w+ in kmain/);
    expect(gdb).to.match(/=> 0x\w+ <kmain>:\s+push/);
    expect(gdb).to.match(/=> 0x\w+ <kmain\+\d>:/);
    expect(gdb).to.match(/\* 1 +Thread 1 \(d1v0 running\)/);
    expect(gdb).to.match(/simulation time: .* ns\nd1v0 running/);
    expect(gdb).to.match(/= 0xe033\n.*= \[ .*IF.*\]\n\$\d+ = 0\n\$\d+ = 0\n/);
    expect(gdb).to.contain('Cannot access memory at address 0x40000000');
    expect(gdb).to.contain('exited normally');
    expect(gdb).not.to.match(/warning/i);
    expect(stdout).to.match(/ passed, 0 failed\n$/);
    expect(code).to.equal(0);
  });

  it('watches data, writes memory and registers, and finishes a function', async () => {
    const { gdb, code } = await debug(1, [
      ...['watch *(long*)&passed', 'continue', 'continue', 'delete', 'set {long}&passed = 1000', 'p *(long*)&passed'],
      ...['rwatch *(long*)&passed', 'continue', 'delete', 'set $xmm3.v2_int64[1] = 9', 'p $xmm3.v2_int64'],
      ...['break check', 'continue', 'set $rdi = 5', 'p $rdi', 'finish', 'kill'],
    ]);
    expect(gdb).to.match(/Old value = 0\nNew value = 1\n/);
    expect(gdb).to.match(/Old value = 1\nNew value = 2\n/);
    expect(gdb).to.match(/= 1000\nHardware read watchpoint 2/);
    expect(gdb).to.match(/Hardware read watchpoint 2: .*\n\nValue = 1001\n/);
    expect(gdb).to.contain('= {0, 9}');
    expect(gdb).to.match(/= 5\n0x\w+ in \w+ \(\)\n.*killed/);
    expect(code).to.equal(1);
  });

  it('has VCPUs as threads, and detaches, which leaves them running', async () => {
    const { gdb, stdout, code } = await debug(2, [
      ...['break other', 'continue', 'info threads', 'stepi', 'x/i $pc', 'thread 1', 'stepi', 'info threads', 'detach'],
    ]);
    expect(gdb).to.match(/Thread 2 hit Breakpoint 1, 0x\w+ in other/);
    expect(gdb).to.match(/ {2}1 +Thread 1 \(d1v0 \w+\).*\n\* 2 +Thread 2 \(d1v1 running\)/);
    expect(gdb).to.match(/=> 0x\w+ <other\+\d+>/);
    expect(gdb).to.match(/\* 1 +Thread 1 \(d1v0 running\)/);
    expect(gdb).to.match(/detached/);
    expect(stdout).to.match(/ passed, 0 failed\n$/);
    expect(code).to.equal(0);
  });

  it('may be killed itself, which leaves them running, too', async () => {
    const { stdout, code } = await debug(1, ['break kmain', 'continue', 'shell sleep 2'], (gdb) => {
      gdb.stdout?.on('data', (chunk: Buffer) => {
        if (chunk.toString().includes('Breakpoint 1, ')) gdb.kill('SIGKILL');
      });
    });
    expect(stdout).to.match(/ passed, 0 failed\n$/);
    expect(code).to.equal(0);
  });
});

describe('ringzero boot --gdb', function () {
  this.timeout(60_000);
  const file = join(TEST_KERNEL, 'test-kernel.elf');
  const boot = async (port: string): Promise<readonly [code: number | null, stderr: string]> => {
    const child = spawn(process.execPath, [MAIN, 'boot', file, '--memory', '16', '--gdb', port], { timeout: LIMIT_MS });
    const stderr = textOf(child.stderr);
    const [code] = (await once(child, 'close')) as [number | null];
    return [code, stderr.text];
  };

  it('refuses what is no port', async () => {
    for (const wrong of ['gdb', '65536', '1.5', '-1', '']) {
      const [code, stderr] = await boot(wrong);
      expect(code, wrong).to.equal(2);
      expect(stderr).to.match(/^ringzero: .*--gdb.* (Expected a TCP port, 0 to 65535|argument missing)/);
    }
  });

  it('refuses a port where somebody listens', async () => {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const [code, stderr] = await boot(String(port));
    server.close();
    expect(code).to.equal(2);
    expect(stderr).to.equal(`ringzero: --gdb: port ${port}: somebody else listens there already\n`);
  });

  it('is interrupted while it waits for gdb', async () => {
    const child = spawn(process.execPath, [MAIN, 'boot', file, '--memory', '16', '--gdb', '0'], { timeout: LIMIT_MS });
    await textOf(child.stderr).until(/target remote/);
    child.kill('SIGINT');
    const [code] = (await once(child, 'close')) as [number | null];
    expect(code).to.equal(130);
  });
});
