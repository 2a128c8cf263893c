import { expect } from 'chai';
import fc from 'fast-check';
import { type FairShareDomain, fairShares, jainIndex } from '../../src/machine/fair-share.js';

const hogs = (weight: number, vcpus: number, cap = 0): FairShareDomain => ({
  weight,
  cap,
  vcpuDemands: Array.from({ length: vcpus }, () => 1),
});

function expectShares(actual: readonly number[], wanted: readonly number[]): void {
  expect(actual).to.have.length(wanted.length);
  for (const [index, share] of wanted.entries()) expect(actual[index]).to.be.closeTo(share, 1e-9);
}

describe('the fair share', () => {
  it('divides one pCPU in proportion to weights', () => {
    expectShares(fairShares(1, [hogs(256, 1), hogs(512, 1)]), [1 / 3, 2 / 3]);
  });

  it('weighs VCPUs, so that two of them deserve twice as much as one', () => {
    expectShares(fairShares(1, [hogs(256, 1), hogs(256, 2)]), [1 / 3, 2 / 3]);
  });

  it('weighs domains in the classic profile, whatever the number of their VCPUs', () => {
    expectShares(fairShares(1, [hogs(256, 1), hogs(256, 2)], 'domain'), [1 / 2, 1 / 2]);
    expectShares(fairShares(4, [hogs(256, 1), hogs(256, 6)], 'domain'), [1, 3]);
    expectShares(fairShares(4, [hogs(512, 4), hogs(256, 4)], 'domain'), [8 / 3, 4 / 3]);
    expectShares(fairShares(8, [hogs(1, 4), hogs(65535, 2)], 'domain'), [4, 2]);
  });

  it('gives nobody more than its cap, even on an idle host, and the rest to the others', () => {
    expectShares(fairShares(4, [hogs(256, 1, 50)]), [0.5]);
    expectShares(fairShares(2, [hogs(256, 2, 50), hogs(256, 2)]), [0.5, 1.5]);
  });

  it('gives a VCPU one pCPU at most, however heavy it is', () => {
    expectShares(fairShares(2, [hogs(65535, 1), hogs(1, 2)]), [1, 1]);
    expectShares(fairShares(4, [hogs(256, 1), hogs(256, 1)]), [1, 1]);
  });

  it('shares what a light load leaves over', () => {
    const interactive = { weight: 256, cap: 0, vcpuDemands: [0.1] };
    expectShares(fairShares(1, [interactive, hogs(256, 1), hogs(512, 1)]), [0.1, 0.3, 0.6]);
  });

  it('is nothing for nobody', () => {
    expect(fairShares(4, [])).to.deep.equal([]);
    expectShares(fairShares(4, [{ weight: 256, cap: 0, vcpuDemands: [] }, hogs(256, 1)]), [0, 1]);
  });

  it('never gives away more than there is, nor leaves anything that somebody wants', () => {
    const domain = fc.record({
      weight: fc.integer({ min: 1, max: 65535 }),
      cap: fc.integer({ min: 0, max: 400 }),
      vcpuDemands: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 }),
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 8 }), fc.array(domain, { maxLength: 6 }), (pcpus, domains) => {
        const wanted = domains.reduce((sum, { cap, vcpuDemands }) => {
          const demand = vcpuDemands.reduce((total, each) => total + each, 0);
          return sum + (cap > 0 ? Math.min(demand, cap / 100) : demand);
        }, 0);
        const given = fairShares(pcpus, domains).reduce((sum, share) => sum + share, 0);
        expect(given).to.be.closeTo(Math.min(pcpus, wanted), 1e-6);
      }),
    );
  });
});

describe("Jain's index", () => {
  it('is 1 for equals and for nothing, and 1/n when one has everything', () => {
    expect(jainIndex([3, 3, 3])).to.be.closeTo(1, 1e-12);
    expect(jainIndex([])).to.equal(1);
    expect(jainIndex([0, 0])).to.equal(1);
    expect(jainIndex([5, 0, 0, 0])).to.be.closeTo(0.25, 1e-12);
  });
});
