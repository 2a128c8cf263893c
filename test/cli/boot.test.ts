/** `ringzero boot`: Debian's GRUB at its prompt, guests as xl.cfg files, and what is said of those that cannot be. */
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { expect } from 'chai';
import { elfOf } from '../support/elf.js';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
/** Of Debian's package grub-xen-host. */
const GRUB = '/usr/lib/grub-xen/grub-x86_64-xen.bin';
const GRUB_32 = '/usr/lib/grub-xen/grub-i386-xen.bin';

/** Without what a terminal does with colours and the cursor. */
const plain = (text: string): string =>
  text
    .split('\u001b')
    .map((part, n) => (n === 0 ? part : part.replace(/^\[[\d;?]*[A-Za-z]/, '')))
    .join('')
    .replaceAll('\r', '');

/** sched_op(SCHEDOP_shutdown, reason): mov eax,29; mov edi,2; lea rsi,[rip+...]; syscall; then the word. */
const shutdown = (reason: number): number[] => [
  ...[0xb8, 29, 0, 0, 0, 0xbf, 2, 0, 0, 0, 0x48, 0x8d, 0x35, 2, 0, 0, 0, 0x0f, 0x05],
  ...[reason, 0, 0, 0],
];

describe('ringzero boot', function () {
  this.timeout(60_000);
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'ringzero-boot-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  function boot(...args: string[]): SpawnSyncReturns<string> {
    return spawnSync(process.execPath, [MAIN, 'boot', ...args], {
      cwd: folder,
      encoding: 'utf8',
      timeout: 50_000,
      input: '',
    });
  }

  function write(name: string, contents: string | Uint8Array): string {
    writeFileSync(join(folder, name), contents);
    return name;
  }

  describe("Debian's GRUB", () => {
    before(function () {
      if (!existsSync(GRUB)) this.skip();
    });

    it('comes to its prompt, and answers what is typed', () => {
      const input = write('typed', 'echo hello there\nhelp\nxen_ls\nhalt\n');
      const runs = ['1', '2'].map((threads) =>
        boot(GRUB, '--memory', '64', '--pcpus', '2', '--threads', threads, '--input', input),
      );
      for (const { status, stdout, stderr } of runs) {
        expect(status, stderr).to.equal(0);
        const said = plain(stdout);
        expect(said).to.include('Welcome to GRUB!').and.to.include('grub> echo hello there\nhello there\n');
        expect(said, 'of its help').to.include('write_byte ADDR VALUE [MASK]');
        // Its node in xenstore.
        expect(said).to.match(/xen_ls\n(.*\n)*console\n/);
        expect(stderr).to.match(/^grub-x86_64-xen: poweroff after .* hash \w{16}\n$/);
      }
      expect(runs[1]!.stderr, 'another number of threads').to.equal(runs[0]!.stderr);
    });

    it('runs in free mode, from an xl.cfg file', () => {
      const cfg = write('grub.cfg', `name = "loader"\nkernel = "${GRUB}"\nmemory = 64\nvcpus = 2\n`);
      const { status, stdout, stderr } = boot(cfg, '--mode', 'free', '--input', write('typed', 'echo free\nhalt\n'));
      expect(status, stderr).to.equal(0);
      expect(plain(stdout)).to.include('grub> echo free\nfree\n');
      expect(stderr).to.match(/^loader: poweroff/m);
    });

    it('takes what is typed while it runs', async () => {
      const grub = spawn(process.execPath, [MAIN, 'boot', GRUB, '--memory', '64'], {
        stdio: ['pipe', 'pipe', 'ignore'],
      });
      let said = '';
      grub.stdout.on('data', (bytes: Buffer) => {
        const before = plain(said);
        said += bytes.toString();
        const now = plain(said);
        if (!before.includes('grub> ') && now.includes('grub> ')) grub.stdin.write('echo typed late\n');
        if (!before.includes('\ntyped late') && now.includes('\ntyped late')) grub.stdin.write('halt\n');
      });
      const code = await new Promise((resolve) => grub.on('exit', resolve));
      expect(code, plain(said)).to.equal(0);
    });

    it('is refused where it is of another width, or has too little memory', () => {
      expect(boot(GRUB_32).stderr).to.match(/^ringzero: .*grub-i386-xen.bin: a kernel of 32 bits/);
      const { status, stderr } = boot(GRUB, '--memory', '6');
      expect(status).to.equal(2);
      expect(stderr).to.include('where there is no memory any more');
    });
  });

  it('says by its exit code how the kernel ended', () => {
    const ends = { poweroff: 0, reboot: 1, suspend: 2, crash: 3 };
    const codes = Object.entries(ends).map(([name, reason]) => {
      const { status, stderr } = boot(write(`${name}.elf`, elfOf(shutdown(reason))), '--memory', '8');
      expect(stderr).to.match(new RegExp(`^${name}: ${name} after`));
      return status;
    });
    expect(codes).to.deep.equal([0, 0, 1, 1]);
  });

  it('takes kernels that are packed, and ramdisks', () => {
    // mov rax,[rsi+120]; cmp rax,5: the length of the module, and of its bytes the first; else it crashes.
    const code = [
      ...[0x48, 0x83, 0x7e, 0x78, 5, 0x75, 14, 0x48, 0x8b, 0x46, 0x70, 0x80, 0x38, 0x68, 0x75, 5, 0xe9, 2, 0, 0, 0],
      ...[0x0f, 0x0b],
      ...shutdown(0),
    ];
    const kernel = write('kernel.gz', gzipSync(elfOf(code)));
    const { status, stderr } = boot(kernel, '--memory', '8', '--ramdisk', write('ramdisk', 'hello'));
    expect(status, stderr).to.equal(0);
    expect(boot(kernel, '--memory', '8').status, 'without one').to.equal(1);
    const cfg = write('packed.cfg', 'name = "packed"\nkernel = "kernel.gz"\nramdisk = "ramdisk"\nmemory = 8\n');
    expect(boot(cfg)).to.include({ status: 0 });
  });

  it('refuses what cannot be booted, with the place', () => {
    const refused = (...args: string[]): string => {
      const { status, stdout, stderr } = boot(...args);
      expect([status, stdout]).to.deep.equal([2, '']);
      return stderr;
    };
    expect(refused('nowhere.elf')).to.equal('ringzero: nowhere.elf: no such file\n');
    expect(refused(write('text.elf', 'no kernel at all'))).to.match(/^ringzero: text.elf: .*/);
    expect(refused(write('bad.cfg', 'name = "x"\nkernel = "nowhere"\n'))).to.match(
      /^ringzero: bad.cfg:2:10: .*no such file/,
    );
    expect(refused(write('none.cfg', 'name = "x"\n'))).to.match(/^ringzero: none.cfg: the guest has no 'kernel'/);
    const elf = write('k.elf', elfOf([0x90]));
    expect(refused(elf, '--ramdisk', 'nowhere')).to.equal('ringzero: nowhere: no such file\n');
    expect(refused(elf, '--input', 'nowhere')).to.equal('ringzero: nowhere: no such file\n');
    expect(refused(elf, '--memory', 'much')).to.match(/--memory/);
  });
});
