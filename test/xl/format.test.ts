/** What xl prints, byte for byte. */
import { expect } from 'chai';
import * as D from '../../src/shared/public/domctl.js';
import { parseCpus } from '../../src/xl/arguments.js';
import * as format from '../../src/xl/format.js';

const state = {
  id: 3,
  flags: D.XEN_DOMINF_running,
  shutdownCode: 0,
  pages: 65_536,
  maxPages: 65_536,
  timeNs: 36.95e9,
  onlineVcpus: 2,
  vcpus: 3,
  pool: 0,
};
const domain = {
  id: 3,
  name: 'web',
  vcpus: 3,
  pool: 0,
  credit: { weight: 512, cap: 50 },
  sedf: { periodNs: 10e6, sliceNs: 2.5e6, latencyNs: 0, extratime: true, weight: 0 },
  state,
};
const globals = { tsliceMs: 30, ratelimitUs: 1000, migrationDelayUs: 0 };
const pool = { id: 0, name: 'Pool-0', scheduler: 'credit', cpus: [0, 1], globals };

describe('what xl prints', () => {
  it('of domains', () => {
    expect(format.list([domain])).to.equal(
      'Name                                        ID   Mem VCPUs\tState\tTime(s)\n' +
        'web                                          3   256     2     r-----      37.0\n',
    );
    expect(format.list([domain], [pool])).to.equal(
      'Name                                        ID   Mem VCPUs\tState\tTime(s)         Cpupool\n' +
        'web                                          3   256     2     r-----      37.0          Pool-0\n',
    );
  });

  it('of the states of a domain', () => {
    const shown = (flags: number, shutdownCode = 0): string => format.domainState({ flags, shutdownCode });
    expect(shown(D.XEN_DOMINF_running)).to.equal('r-----');
    expect(shown(D.XEN_DOMINF_blocked | D.XEN_DOMINF_paused)).to.equal('-bp---');
    expect(shown(D.XEN_DOMINF_shutdown)).to.equal('---s--');
    expect(shown(D.XEN_DOMINF_shutdown, 3)).to.equal('---sc-');
    expect(shown(D.XEN_DOMINF_dying)).to.equal('-----d');
  });

  it('of VCPUs', () => {
    const vcpu = {
      id: 3,
      name: 'web',
      vcpu: 0,
      online: true,
      running: false,
      blocked: false,
      pcpu: 2,
      timeNs: 12.34e9,
    };
    const all = [0, 1, 2, 3];
    expect(
      format.vcpuList(
        [
          { ...vcpu, running: true, hard: all, soft: [0, 1] },
          { ...vcpu, vcpu: 1, blocked: true, hard: [2], soft: all },
          { ...vcpu, vcpu: 2, online: false, hard: [0, 1, 3], soft: all },
        ],
        4,
      ),
    ).to.equal(
      'Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)\n' +
        'web                                  3     0     2   r--      12.3 all / 0-1\n' +
        'web                                  3     1     2   -b-      12.3 2 / all\n' +
        'web                                  3     2     -   --p      12.3 0-1,3 / all\n',
    );
  });

  it('of the credit schedulers', () => {
    expect(format.creditPool(pool) + format.creditHeader() + format.creditRow(domain)).to.equal(
      'Cpupool Pool-0: tslice=30ms ratelimit=1000us migration-delay=0us\n' +
        'Name                                ID Weight  Cap\n' +
        'web                                  3    512   50\n',
    );
    expect(format.creditPool({ ...pool, scheduler: 'credit2' })).to.equal('Cpupool Pool-0: ratelimit=1000us\n');
  });

  it('of the SEDF scheduler', () => {
    expect(format.schedSedf([domain])).to.equal(
      'Name                                ID Period(ms) Slice(ms) Lat(ms) Extra Weight\n' +
        'web                                  3       10.0       2.5     0.0     1      0\n',
    );
  });

  it('of a mask', () => {
    expect(format.cpuList([], 4)).to.equal('none');
    expect(format.cpuList([0, 1, 2, 3], 4)).to.equal('all');
    expect(format.cpuList([0, 1, 2, 5, 7, 8], 9)).to.equal('0-2,5,7-8');
  });
});

describe('a CPU list of xl', () => {
  it('is ranges, and what is taken out of them', () => {
    expect(parseCpus('0-3,5,^1', 8)).to.deep.equal([0, 2, 3, 5]);
    expect(parseCpus('all', 3)).to.deep.equal([0, 1, 2]);
    expect(parseCpus('all,^2', 3)).to.deep.equal([0, 1]);
    expect(parseCpus('1-9', 3)).to.deep.equal([1, 2]);
    expect(parseCpus('-', 3)).to.equal(undefined);
    for (const wrong of ['x', '1-', '', '7', '^0', '1;2']) expect(() => parseCpus(wrong, 4), wrong).to.throw();
  });
});
