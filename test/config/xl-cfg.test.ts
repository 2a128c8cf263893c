import { existsSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import fc from 'fast-check';
import { parseXlCfg, type XlValue } from '../../src/config/xl-cfg.js';
import { type XlGuest, xlGuest } from '../../src/config/xl-guest.js';
import { ConfigError } from '../../src/workload/config-error.js';

/** A value without its places. */
type Plain = number | string | readonly Plain[];

function plain(value: XlValue): Plain {
  return value.kind === 'list' ? value.items.map(plain) : value.value;
}

function settingsOf(text: string): (readonly [name: string, op: string, value: Plain])[] {
  return parseXlCfg(text, 'g.cfg').settings.map(({ name, op, value }) => [name, op, plain(value)] as const);
}

function faultOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error('the text was accepted');
}

const syntaxFault = (text: string): string => faultOf(() => parseXlCfg(text, 'g.cfg'));

function guestOf(text: string): XlGuest {
  return xlGuest(parseXlCfg(text, 'g.cfg'), { pcpus: 8, maxVirtCpus: 32, memoryMib: 64 });
}

const guestFault = (text: string): string => faultOf(() => guestOf(`name = "d"\n${text}`));

describe('parseXlCfg', () => {
  it('reads settings separated by newlines and semicolons, among comments', () => {
    expect(settingsOf('# head\n\na = 1;b="x" ; ;\n\tc.d_2+=[]# tail\n;')).to.deep.equal([
      ['a', '=', 1],
      ['b', '=', 'x'],
      ['c.d_2', '+=', []],
    ]);
    expect(settingsOf('')).to.deep.equal([]);
  });

  it('needs no newline at the end, not even after a comment', () => {
    expect(settingsOf('a=1')).to.deep.equal([['a', '=', 1]]);
    expect(settingsOf('a=1 # one')).to.deep.equal([['a', '=', 1]]);
  });

  it('accepts lines that end in CR LF', () => {
    expect(settingsOf('a=1\r\nb=[2,\r\n3]\r\n')).to.deep.equal([
      ['a', '=', 1],
      ['b', '=', [2, 3]],
    ]);
  });

  it('reads decimal, octal and hexadecimal numbers', () => {
    expect(settingsOf('a=128; a=017; a=0x1f; a=0').map(([, , value]) => value)).to.deep.equal([128, 15, 31, 0]);
  });

  it('reads strings in either quotes, with escapes', () => {
    const text = String.raw`a="it's"; a='say "x"'; a="\"\\\n\t"; a='\''; a=''; a="é#;["`;
    expect(settingsOf(text).map(([, , value]) => value)).to.deep.equal(["it's", 'say "x"', '"\\\n\t', "'", '', 'é#;[']);
  });

  it('reads nested lists over several lines with a comma at the end', () => {
    expect(settingsOf('a = [\n\n1 # one\n,\n"b", [ [], ["c",] ],\n]')).to.deep.equal([
      ['a', '=', [1, 'b', [[], ['c']]]],
    ]);
  });

  it('says where names and values stand', () => {
    const [, setting] = parseXlCfg('a=1\n  b = [ 2,\n\t"c" ]', 'g.cfg').settings;
    expect(setting!.at).to.deep.equal({ file: 'g.cfg', line: 2, column: 3 });
    expect(setting!.value.at).to.deep.equal({ file: 'g.cfg', line: 2, column: 7 });
    const items = setting!.value.kind === 'list' ? setting!.value.items : [];
    expect(items.map(({ at }) => [at.line, at.column])).to.deep.equal([
      [2, 9],
      [3, 2],
    ]);
  });

  const refused: readonly (readonly [text: string, message: string])[] = [
    ['a=1 b=2', 'g.cfg:1:5: a newline or ";" between settings is expected here, not "b"'],
    ['a=\n1', '1:3: a number, a quoted string or "[" is expected here, not "\\n"'],
    ['a', '1:2: "=" or "+=" after "a" is expected here, not the end of the file'],
    ['A=1', '1:1: the name of a setting (lower case) is expected here, not "A"'],
    ['_a=1', '1:1: the name'],
    ['a + = 1', '1:3: "=" or "+="'],
    ['a=-1', '1:3: a number'],
    ['a=x', '1:3: a number'],
    ['a=1;[2]', '1:5: the name'],
    ['a=[,]', '1:4: a number'],
    ['a=[1 2]', '1:6: "," or "]" is expected here, not "2"'],
    ['a=[1;2]', '1:5: "," or "]"'],
    ['a=[1,,2]', '1:6: a number'],
    ['a=[1', '1:5: "," or "]" is expected here, not the end of the file'],
    ['\na="x', '2:3: the string is not closed on its line'],
    ['a="x\ny"', '1:3: the string is not closed on its line'],
    ['a="x\\\ny"', '1:3: the string is not closed on its line'],
    ['a="y\\qz"', '1:5: unknown escape "\\q" in a string'],
    ['a="\\x41"', 'unknown escape "\\x"'],
    ['a="\\101"', 'unknown escape "\\1"'],
    ['a=09', '1:3: "09" is not a number'],
    ['a=12ab', '"12ab" is not a number'],
    ['a=0xG', '"0xG" is not a number'],
    ['a=99999999999999999999', 'is not a number'],
    ['\ufeffa=1', '1:1: the name'],
    [`a=${'['.repeat(100_000)}`, 'nested too deeply'],
  ];
  for (const [text, message] of refused)
    it(`refuses ${JSON.stringify(text.slice(0, 20))}`, () => {
      expect(syntaxFault(text)).to.contain(message);
    });

  it('gives back the settings that a text was printed from', () => {
    const quote = (text: string): string => {
      const escapes: Readonly<Record<string, string>> = { '\n': '\\n', '"': '\\"', '\\': '\\\\', '\t': '\\t' };
      return `"${text.replace(/[\n"\\\t]/g, (character) => escapes[character]!)}"`;
    };
    const gap = fc.constantFrom('', ' ', '\t', ' \t ');
    const breakInList = fc.constantFrom('', ' ', '\n', ' # why\n', '\r\n\n');
    const { value } = fc.letrec<{ value: readonly [Plain, string]; list: readonly [Plain, string] }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 3 },
        fc
          .tuple(fc.nat(), fc.constantFrom(10, 8, 16))
          .map(([n, base]) => [n, base === 10 ? `${n}` : `${base === 8 ? '0' : '0x'}${n.toString(base)}`] as const),
        fc.string({ unit: 'grapheme' }).map((text) => [text, quote(text)] as const),
        tie('list'),
      ),
      list: fc
        .tuple(fc.array(fc.tuple(tie('value'), breakInList), { maxLength: 4 }), fc.boolean())
        .map(([items, comma]) => {
          const texts = items.map(([[, text], space]) => `${space}${text}${space}`).join(',');
          return [items.map(([[item]]) => item), `[${texts}${comma && items.length > 0 ? ',\n' : ''}]`] as const;
        }),
    }));
    const setting = fc.tuple(
      fc.stringMatching(/^[a-z][._0-9a-z]{0,9}$/),
      fc.constantFrom('=', '+='),
      value,
      gap,
      fc.constantFrom('\n', ';', ';;\n', ' # end\n'),
    );
    fc.assert(
      fc.property(fc.array(setting), (settings) => {
        const text = settings.map(([name, op, [, printed], space, end]) => name + space + op + space + printed + end);
        expect(settingsOf(text.join(''))).to.deep.equal(settings.map(([name, op, [read]]) => [name, op, read]));
      }),
    );
  });

  it('throws nothing but a ConfigError with a place, whatever the text', () => {
    const token = fc.constantFrom(
      'a',
      'cpus',
      '=',
      '+=',
      '1',
      '0x',
      '"',
      "'",
      '[',
      ']',
      ',',
      ';',
      '\n',
      '#',
      '\\',
      ' ',
    );
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(token).map((tokens) => tokens.join('')),
    );
    fc.assert(
      fc.property(text, (source) => {
        try {
          guestOf(source);
        } catch (error) {
          if (!(error instanceof ConfigError) || !error.place) throw error;
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe('xlGuest', () => {
  it('fills in defaults', () => {
    expect(guestOf('name = "d"')).to.deep.equal({
      guest: { name: 'd', vcpus: 1, memoryMib: 64, weight: 256, cap: 0, cpus: [], cpusSoft: [] },
      boots: undefined,
      warnings: [],
    });
  });

  it('reads what describes the guest and accepts what does not', () => {
    const { guest, warnings } = guestOf(`
      name = "d"; type = "pv"; uuid = "0-0"; vcpus = 2; maxvcpus = 4; memory = "0x80"; maxmem = 512
      kernel = "/boot/vmlinuz"; ramdisk = "/boot/initrd"; root = "/dev/xvda"; extra = "ro"; cmdline = "quiet"
      pool = "Pool-0"; cpu_weight = 512; cap = 50; cpus = "0-3,^1"; cpus_soft = [2, "all"]
      on_poweroff = "destroy"; on_reboot = "restart"; on_watchdog = "preserve"; on_crash = "coredump-destroy"
      disk = [ '/dev/vg/v,raw,xvda,rw' ]; vif = [ '' ]; channel = []; tsc_mode = "default"`);
    expect(warnings).to.deep.equal([]);
    expect(guest).to.deep.equal({
      name: 'd',
      pool: 'Pool-0',
      vcpus: 2,
      maxVcpus: 4,
      memoryMib: 128,
      maxMemoryMib: 512,
      weight: 512,
      cap: 50,
      cpus: Array.from({ length: 4 }, () => [0, 2, 3]),
      cpusSoft: [[2]],
    });
  });

  it('gives list entries to VCPUs in order; VCPUs without one may use all pCPUs', () => {
    const cpus = (text: string) => guestOf(`name="d"; vcpus=3; cpus=${text}`).guest.cpus;
    expect(cpus('["all", 2]')).to.deep.equal([undefined, [2]]);
    expect(cpus('["1", "0-7", "2-3,^2", "4"]')).to.deep.equal([[1], undefined, [3]]);
    expect(cpus('"0-7"')).to.deep.equal([]);
    expect(cpus('5')).to.deep.equal([[5], [5], [5]]);
    expect(cpus('[]')).to.deep.equal([]);
  });

  it('lets the last assignment win and joins with "+="', () => {
    const { guest } = guestOf('name="a"; name="b"; name+="c"; vcpus=2; cpus+=["1"]; cpus+=["2"]');
    expect(guest.name).to.equal('bc');
    expect(guest.cpus).to.deep.equal([[1], [2]]);
    expect(guestFault('cpus="1"; cpus+=["2"]')).to.contain('g.cfg:2:17: "cpus +=" cannot join');
  });

  it('warns of settings without effect, once each, with the place', () => {
    const { warnings } = guestOf('name="d"\nvfb=[]\n pool="fast"\ntsc_mode="native"; vfb=[]');
    expect(warnings.map(({ message, at }) => `${at.line}:${at.column}: ${message}`)).to.deep.equal([
      '4:20: unknown setting "vfb" is ignored',
      '4:1: tsc_mode "native" is not supported yet and is ignored',
    ]);
  });

  const refused: readonly (readonly [text: string, message: string])[] = [
    ['type="hvm"', '2:6: type "hvm" is not supported'],
    ['builder="hvm"', 'builder "hvm" is not supported'],
    ['name=""', 'needs a "name"'],
    ['name=["x"]', '"name" must be a string, not a list'],
    ['vcpus=0', '"vcpus" is 0; it must be from 1 to 32'],
    ['vcpus=33', '"vcpus" is 33'],
    ['vcpus="two"', '2:7: "vcpus" must be a number'],
    ['vcpus=[1]', '"vcpus" must be a number, not a list'],
    ['vcpus=4; maxvcpus=2', '2:19: "maxvcpus" is 2, less than "vcpus" (4)'],
    ['memory=0', '"memory" is 0'],
    ['memory=128; maxmem=64', '"maxmem" is 64, less than "memory" (128)'],
    ['cpu_weight=0', '"cpu_weight" is 0; it must be from 1 to 65535'],
    ['cpu_weight=65536', '"cpu_weight" is 65536'],
    ['vcpus=2; cap=201', '"cap" is 201; it must be from 0 to 200'],
    ['cpus="8"', '2:6: pCPU 8 does not exist: the machine has pCPUs 0-7'],
    ['cpus=["1",\n"1,^1"]', '3:1: CPU list "1,^1" holds no pCPU'],
    ['cpus=[["1"]]', '"cpus" may not hold a list in a list'],
    ['cpus_soft=""', 'holds no pCPU'],
    ['pool=[]', '"pool" must be a string'],
    ['disk="x"', '"disk" must be a list'],
    ['kernel=[]', '"kernel" must be a string'],
    ['on_crash="explode"', 'unknown action "explode" for "on_crash"'],
    ['tsc_mode="fast"', 'unknown tsc_mode "fast"'],
  ];
  for (const [text, message] of refused)
    it(`refuses ${JSON.stringify(text)}`, () => {
      expect(guestFault(text)).to.contain(message);
    });

  it('needs a name', () => {
    expect(faultOf(() => guestOf('vcpus=1'))).to.equal('g.cfg:1:1: the domain needs a "name"');
  });

  it("accepts Debian's example of a PV guest", function () {
    const file = '/etc/xen/xlexample.pvlinux';
    if (!existsSync(file)) return this.skip();
    const { guest, warnings } = guestOf(readFileSync(file, 'utf8'));
    expect(guest).to.include({ name: 'example.pvlinux', vcpus: 2, memoryMib: 128 });
    expect(warnings).to.deep.equal([]);
  });

  it("refuses Debian's examples of HVM and PVH guests", function () {
    const files = ['/etc/xen/xlexample.hvm', '/etc/xen/xlexample.pvhlinux'].filter((file) => existsSync(file));
    if (files.length === 0) return this.skip();
    for (const file of files) expect(faultOf(() => guestOf(readFileSync(file, 'utf8')))).to.contain('is not supported');
  });
});
