/** The stub as a client sees it that says exactly what is written here. */
import { expect } from 'chai';
import fc from 'fast-check';
import { packetOf } from '../../src/gdb/packets.js';
import { runMachine } from '../support/run-machine.js';
import { Client, codeKernel, type Debugged, debugged, testKernel, testKernelPlaces } from './client.js';

const CODE = 0x100000n;
/** Where `codeKernel` has memory, for code of less than a page. */
const DATA = 0x102000n;
const hex = (x: bigint): string => x.toString(16);
const RIP = '10';

/** A word of 8 bytes as GDB says it. */
const word = (x: bigint): string => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(x);
  return bytes.toString('hex');
};
async function rip(client: Client): Promise<bigint> {
  return Buffer.from((await client.ask(`p${RIP}`)) ?? '', 'hex').readBigUInt64LE();
}

/** mov rbx,DATA; mov ecx,3; again: inc [rbx]; mov eax,[rbx+8]; dec ecx; jne again; hlt */
const LOOP = [
  ...[0x48, 0xc7, 0xc3, ...[0x00, 0x20, 0x10, 0x00]],
  ...[0xb9, 3, 0, 0, 0],
  ...[0xff, 0x03, 0x8b, 0x43, 0x08, 0xff, 0xc9, 0x75, 0xf7, 0xf4],
];
const AGAIN = CODE + 12n;
const LOAD = AGAIN + 2n;
const BEHIND_LOAD = LOAD + 3n;

describe('the GDB stub', function () {
  this.timeout(60_000);
  const withCode = (code: readonly number[], use: (machine: Debugged) => Promise<void>): Promise<void> =>
    debugged(codeKernel(code), use);

  it('halts before the first instruction, and says what it is', () =>
    withCode(LOOP, async ({ client }) => {
      expect(await client.ask('qSupported:swbreak+;hwbreak+;xmlRegisters=i386')).to.match(
        /^PacketSize=4000;.*qXfer:features:read\+.*QStartNoAckMode\+/,
      );
      expect(await client.ask('?')).to.equal('T02thread:1;');
      expect(await rip(client)).to.equal(CODE);
      expect(await client.ask('qfThreadInfo')).to.equal('m1');
      expect(await client.ask('qsThreadInfo')).to.equal('l');
      expect(Buffer.from((await client.ask('qThreadExtraInfo,1'))!, 'hex').toString()).to.match(/^d1v0 \w+$/);
      expect(await client.ask('qAttached')).to.equal('1');
      expect(await client.ask('qC')).to.equal('QC1');
      expect(await client.ask('vCont?')).to.equal('vCont;c;C;s;S;t');
      expect(await client.ask('T1')).to.equal('OK');
      expect(await client.ask('T2')).to.equal('E01');
      expect(await client.ask('Hg2')).to.equal('E01');
    }));

  it('makes steps of one instruction, each', () =>
    withCode(LOOP, async ({ client }) => {
      const places: bigint[] = [];
      for (let n = 0; n < 8; n++) {
        expect(await client.ask('vCont;s:1')).to.equal('T05thread:1;');
        places.push(await rip(client));
      }
      const loop = [LOAD, BEHIND_LOAD, BEHIND_LOAD + 2n, AGAIN];
      expect(places).to.deep.equal([CODE + 7n, AGAIN, ...loop, LOAD, BEHIND_LOAD]);
    }));

  it('stops at breakpoints, as often as code comes there, and where it is told to go on', () =>
    withCode(LOOP, async ({ client }) => {
      await client.ask('qSupported:swbreak+');
      expect(await client.ask(`Z0,${hex(LOAD)},1`)).to.equal('OK');
      for (let n = 0; n < 3; n++) {
        expect(await client.ask('c')).to.equal('T05thread:1;swbreak:;');
        expect(await rip(client)).to.equal(LOAD);
        // It is none of the guest's bytes.
        expect(await client.ask(`m${hex(LOAD)},3`)).to.equal('8b4308');
        // It stands there as long as it is there, but for a step.
        expect(await client.ask('c')).to.equal('T05thread:1;swbreak:;');
        expect(await client.ask('s')).to.equal('T05thread:1;');
        expect(await rip(client)).to.equal(BEHIND_LOAD);
      }
      expect(await client.ask(`c${hex(LOAD)}`)).to.equal('T05thread:1;swbreak:;');
      expect(await client.ask(`z0,${hex(LOAD)},1`)).to.equal('OK');
      // HLT, which a kernel of ring 3 must not: its last breath, and its end.
      expect(await client.ask('c')).to.equal('T0bthread:1;');
      expect(await rip(client)).to.equal(CODE + 21n);
      expect(await client.ask('c')).to.equal('X06');
    }));

  it('stops behind accesses to data that is watched, for writes, reads, or both', () =>
    withCode(LOOP, async ({ client }) => {
      for (const [type, address, wordFor, at] of [
        [2, DATA, 'watch', LOAD],
        [3, DATA + 8n, 'rwatch', BEHIND_LOAD],
        [4, DATA, 'awatch', LOAD],
      ] as const) {
        expect(await client.ask(`Z${type},${hex(address)},4`)).to.equal('OK');
        expect(await client.ask('c')).to.equal(`T05thread:1;${wordFor}:${hex(address)};`);
        expect(await rip(client)).to.equal(at);
        expect(await client.ask(`z${type},${hex(address)},4`)).to.equal('OK');
      }
      expect(await client.ask(`Z2,${hex(DATA + 8n)},4`)).to.equal('OK');
      // Nothing writes there, and others in its page are not meant.
      expect(await client.ask('c')).to.equal('T0bthread:1;');
    }));

  it('stops behind each element of a string, and behind locked accesses, in either mode', async () => {
    // mov edi,DATA; mov ecx,3; rep stosb; lock inc [rdi-3]; hlt
    const code = [...[0xbf, 0x00, 0x20, 0x10, 0x00, 0xb9, 3, 0, 0, 0, 0xf3, 0xaa], ...[0xf0, 0xff, 0x47, 0xfd, 0xf4]];
    for (const mode of ['ordered', 'free'] as const) {
      await debugged(codeKernel(code, { mode }), async ({ client }) => {
        await client.ask(`Z2,${hex(DATA)},2`);
        for (const [address, at] of [
          [DATA, CODE + 10n],
          [DATA + 1n, CODE + 10n],
          [DATA, CODE + 16n],
        ] as const) {
          expect(await client.ask('c')).to.equal(`T05thread:1;watch:${hex(address)};`);
          expect(await rip(client)).to.equal(at);
        }
        expect(await client.ask(`m${hex(DATA)},3`)).to.equal('010000');
        expect(await client.ask('c')).to.equal('T0bthread:1;');
      });
    }
  });

  it('makes steps over hypercalls, and into the handler of what an instruction raises', () =>
    debugged(testKernel(), async ({ client }) => {
      const { syscall } = testKernelPlaces();
      await client.ask(`Z0,${hex(syscall)},1`);
      await client.ask('c');
      expect(await rip(client)).to.equal(syscall);
      await client.ask('s');
      // Its result is there.
      expect(await rip(client)).to.equal(syscall + 2n);
      expect(await client.ask('p0')).to.equal(word(0n));
      await client.ask(`z0,${hex(syscall)},1`);
      let at = 0n;
      do {
        await client.ask('s');
        at = await rip(client);
      } while ((await client.ask(`m${hex(at)},2`)) !== '0f0b');
      // UD2: on the stack are RCX, R11 and RIP.
      await client.ask('s');
      const rsp = Buffer.from((await client.ask('p7'))!, 'hex').readBigUInt64LE();
      expect(await client.ask(`m${hex(rsp + 16n)},8`)).to.equal(word(at));
    }));

  it('reads and writes memory through the page tables, and runs code that was written', () =>
    withCode(LOOP, async ({ client }) => {
      await client.ask(`Z0,${hex(LOAD)},1`);
      await client.ask('c');
      expect(await client.ask(`m${hex(DATA)},4`)).to.equal('01000000');
      expect(await client.ask(`M${hex(DATA)},2:3412`)).to.equal('OK');
      expect(await client.ask(Buffer.from(`X${hex(DATA + 2n)},2:\x23\x7d`, 'latin1'))).to.equal('OK');
      expect(await client.ask(`m${hex(DATA)},4`)).to.equal('3412237d');
      // Not mapped; not all of it mapped.
      expect(await client.ask('m40000000,4')).to.equal('E14');
      expect(await client.ask('M40000000,1:00')).to.equal('E14');
      expect(await client.ask('m3ffffffe,4')).to.equal('E14');
      expect(await client.ask('mfffffffffffffffe,4')).to.equal('E14');
      expect(await client.ask('M3fffff,2:0000')).to.equal('E14');
      expect((await client.ask('m1000,4'))?.length).to.equal(8);
      // The code that has run: inc [rbx] becomes dec [rbx], which cannot be written by the guest.
      expect(await client.ask(`M${hex(AGAIN)},2:ff0b`)).to.equal('OK');
      await client.ask(`z0,${hex(LOAD)},1`);
      await client.ask('c');
      expect(await client.ask(`m${hex(DATA)},4`)).to.equal('3212237d');
    }));

  it('reads and writes registers, all or one', () =>
    withCode(LOOP, async ({ client }) => {
      const all = (await client.ask('g'))!;
      expect(await client.ask(`G${word(5n)}${all.slice(16)}`)).to.equal('OK');
      expect(await client.ask('p0')).to.equal(word(5n));
      expect(await client.ask(`P1=${word(DATA)}`)).to.equal('OK');
      expect((await client.ask('g'))!.slice(0, 32)).to.equal(word(5n) + word(DATA));
      for (const wrong of ['p99', 'p', 'P0=00', 'P99=00', 'G00', 'Gzz'])
        expect(await client.ask(wrong)).to.equal('E01');
    }));

  it('is interrupted, in the midst of a loop without end', () =>
    withCode([0xff, 0xc0, 0xeb, 0xfc], async ({ client }) => {
      for (let n = 0; n < 3; n++) {
        client.send('vCont;c');
        client.interrupt();
        expect(await client.next()).to.equal('T02thread:1;');
        expect(await rip(client)).to.be.oneOf([CODE, CODE + 2n]);
      }
      expect(await client.ask('s')).to.equal('T05thread:1;');
    }));

  it('tells of the end, by the reason of the shutdown', async () => {
    const { hash } = await runMachine(testKernel());
    await debugged(testKernel(), async ({ client, result }) => {
      expect(await client.ask('vCont;c')).to.equal('W00');
      expect((await result).hash).to.equal(hash);
      expect(await client.next()).to.equal(undefined);
    });
  });

  it('is nothing that the guest, or the order of turns, could see', async () => {
    for (const vcpus of [1, 2]) {
      const { hash } = await runMachine(testKernel(vcpus));
      await debugged(testKernel(vcpus), async ({ client, result }) => {
        const { syscall, data, bytes } = testKernelPlaces();
        expect(await client.ask(`Z0,${hex(syscall)},1`)).to.equal('OK');
        expect(await client.ask(`Z2,${hex(data)},${hex(bytes)}`)).to.equal('OK');
        for (let n = 0; n < 400; n++) {
          expect(await client.ask(n % 5 === 0 ? 'vCont;c' : 'vCont;s:1;c')).to.match(/^T05/);
          // From the breakpoint on.
          if ((await rip(client)) === syscall) await client.ask('vCont;s');
        }
        await client.ask(`z0,${hex(syscall)},1`);
        for (let n = 0; n < 100; n++) expect(await client.ask('vCont;c')).to.match(/^T05.*watch:/);
        await client.ask(`z2,${hex(data)},${hex(bytes)}`);
        expect(await client.ask('vCont;c')).to.equal('W00');
        const { hash: ofThis, domains } = await result;
        expect(domains[0]!.console).to.match(/ passed, 0 failed\n$/);
        expect(ofThis).to.equal(hash);
      });
    }
  });

  it('has VCPUs as threads, in free mode, too', async () => {
    for (const mode of ['ordered', 'free'] as const) {
      await debugged(testKernel(2, { mode, threads: 2 }), async ({ client, result }) => {
        const { syscall } = testKernelPlaces();
        for (let n = 0; n < 20; n++) {
          await client.ask(`Z0,${hex(syscall)},1`);
          expect(await client.ask('vCont;c')).to.equal('T05thread:1;');
          expect(await rip(client)).to.equal(syscall);
          await client.ask(`z0,${hex(syscall)},1`);
          expect(await client.ask('vCont;s:1;c')).to.equal('T05thread:1;');
        }
        expect(await client.ask('Hc1')).to.equal('OK');
        expect(await client.ask('s')).to.equal('T05thread:1;');
        expect(await client.ask('vCont;c')).to.equal('W00');
        expect((await result).domains[0]!.console).to.match(/ passed, 0 failed\n$/);
      });
    }
  });

  it('refuses a second client, and takes another when the first is gone, which leaves the guest running', () =>
    withCode([0xeb, 0xfe], async ({ client, port }) => {
      expect(await client.ask(`Z0,${hex(CODE)},1`)).to.equal('OK');
      const second = await Client.connect(port);
      second.send('?');
      expect(await second.next()).to.equal(undefined);
      client.close();
      let third = await Client.connect(port);
      // The stub may not have heard yet that the first is gone.
      for (; (await third.ask('?')) === undefined; third = await Client.connect(port));
      for (let n = 0; n < 3; n++) {
        expect(await third.ask('?')).to.equal('T02thread:1;');
        third.send('vCont;c');
        // No breakpoint is left.
        third.interrupt();
        expect(await third.next()).to.equal('T02thread:1;');
      }
      expect(await third.ask('D')).to.equal('OK');
      expect(await third.next()).to.equal(undefined);
    }));

  it('ends the machine where it is asked to', () =>
    withCode([0xeb, 0xfe], async ({ client, result }) => {
      client.send('k');
      expect((await result).outcome).to.equal('stopped');
      expect(await client.next()).to.equal(undefined);
    }));

  it('lets the machine be stopped from elsewhere while a VCPU is halted', () =>
    withCode(LOOP, async ({ client, stop, result }) => {
      await client.ask(`Z0,${hex(LOAD)},1`);
      expect(await client.ask('c')).to.match(/^T05/);
      await stop();
      expect((await result).outcome).to.be.oneOf(['stopped', 'idle']);
    }));

  it('waits as long as GDB does without taking that for a fault', async () => {
    const config = testKernel(2, { mode: 'free', threads: 2, stallLimitMs: 1000 });
    await debugged(config, async ({ client }) => {
      const { syscall } = testKernelPlaces();
      await client.ask(`Z0,${hex(syscall)},1`);
      expect(await client.ask('vCont;c')).to.match(/^T05/);
      await new Promise((resolve) => setTimeout(resolve, 2500));
      await client.ask(`z0,${hex(syscall)},1`);
      expect(await client.ask('vCont;c')).to.equal('W00');
    });
  });

  it('answers commands that are wrong with an error or nothing, and goes on', () =>
    withCode(LOOP, async ({ client }) => {
      const errors = [
        'm',
        'm1',
        'mzz,1',
        'M0,1',
        'M1000,2:00',
        'X1000,5:a',
        'Z2,0,0',
        'Z2,ffffffffffffffff,2',
        'Z9,0,1',
        'H',
        'Tz',
      ];
      for (const wrong of errors) expect(await client.ask(wrong), wrong).to.equal('E01');
      for (const unknown of ['!', 'R00', 'qSymbol::', 'vMustReplyEmpty', 'zz', ''])
        expect(await client.ask(unknown), unknown).to.be.oneOf(['', 'E01']);
      client.socket.write('$g#00');
      client.socket.write(packetOf('QStartNoAckMode'));
      expect(await client.next()).to.equal('OK');
      client.socket.write('$g#00');
      expect(await client.next()).to.equal('E01');
      expect(
        Buffer.from((await client.ask(`qRcmd,${Buffer.from('info').toString('hex')}`))!, 'hex').toString(),
      ).to.match(/^simulation time: .*\nd1v0 \w+\n$/);
      expect(await client.ask('?')).to.equal('T02thread:1;');
    }));

  it('has room for a thousand breakpoints, and says when there is none', () =>
    withCode(LOOP, async ({ client }) => {
      let room = 0;
      while ((await client.ask(`Z0,${hex(CODE + 0x100n + BigInt(room))},1`)) === 'OK') room++;
      expect(room).to.equal(1024);
      expect(await client.ask(`Z0,${hex(LOAD)},1`)).to.equal('E1c');
      expect(await client.ask(`z0,${hex(CODE + 0x100n)},1`)).to.equal('OK');
      expect(await client.ask(`Z0,${hex(LOAD)},1`)).to.equal('OK');
      await client.ask('vCont;c');
      expect(await rip(client)).to.equal(LOAD);
    }));

  it('survives wild packets', () =>
    withCode([0xeb, 0xfe], async ({ client }) => {
      const start = fc.constantFrom(
        'm',
        'M1000,',
        'X',
        'Z0,',
        'z2,',
        'vCont;',
        'g',
        'G',
        'p',
        'P',
        'H',
        'T',
        'q',
        'Q',
        'qXfer:features:read:',
      );
      const packet = fc.tuple(
        start,
        fc.string({ unit: fc.constantFrom(...'0123456789abcdef,:;-=+x?'), maxLength: 20 }),
      );
      for (const [first, rest] of fc.sample(packet, 500)) {
        // Not what lets it go on.
        if (/^vCont;[cs]/i.test(first + rest)) continue;
        expect(await client.ask(first + rest), first + rest).to.be.a('string');
      }
      expect(await client.ask('?')).to.match(/^T02/);
    }));
});
