import { expect } from 'chai';
import fc from 'fast-check';
import { parseCpuList } from '../../src/config/cpu-list.js';
import { ConfigError } from '../../src/workload/config-error.js';

const AT = { file: 'g.cfg', line: 3, column: 8 };

describe('parseCpuList', () => {
  const accepted: readonly (readonly [list: string, pcpus: number, cpus: readonly number[]])[] = [
    ['all', 4, [0, 1, 2, 3]],
    ['2', 4, [2]],
    ['0-3,5,^1', 8, [0, 2, 3, 5]],
    ['all,^7', 8, [0, 1, 2, 3, 4, 5, 6]],
    ['3,1,1-2', 4, [1, 2, 3]],
    ['0, 2 ,', 4, [0, 2]],
    ['all,^0-1', 3, [2]],
  ];
  for (const [list, pcpus, cpus] of accepted)
    it(`reads "${list}" on ${pcpus} pCPUs`, () => {
      expect(parseCpuList(list, pcpus)).to.deep.equal(cpus);
    });

  it('applies its parts from left to right', () => {
    expect(parseCpuList('^1,0-3', 4)).to.deep.equal([0, 1, 2, 3]);
    expect(parseCpuList('0-3,^1-2,1', 4)).to.deep.equal([0, 1, 3]);
  });

  const refused: readonly (readonly [list: string, message: string])[] = [
    ['', 'holds no pCPU'],
    [',', 'holds no pCPU'],
    ['1,^1', 'holds no pCPU'],
    ['^2', 'holds no pCPU'],
    ['4', 'pCPU 4 does not exist: the machine has pCPUs 0-3'],
    ['2-9', 'pCPU 4 does not exist'],
    ['0-99999999999999999999', 'pCPU 4 does not exist'],
    ['all,^4', 'pCPU 4 does not exist'],
    ['3-1', 'runs backwards'],
    ['^all', '"^" and "all" do not go together'],
    ['nodes:0', 'NUMA nodes ("nodes:0") are not supported yet'],
    ['^node:1', 'not supported yet'],
    ['-1', '"-1" is not a pCPU'],
    ['1-', 'is not a pCPU'],
    ['0x1', 'is not a pCPU'],
    ['1 2', 'is not a pCPU'],
    ['ALL', 'is not a pCPU'],
  ];
  for (const [list, message] of refused)
    it(`refuses "${list}" on 4 pCPUs, with the place`, () => {
      expect(() => parseCpuList(list, 4, AT))
        .to.throw(ConfigError, message)
        .with.property('place', AT);
    });

  it('gives back the set that a list was written from', () => {
    const pcpus = 64;
    const cpu = fc.nat(pcpus - 1);
    const part = fc.record({ a: cpu, b: cpu, not: fc.boolean() });
    fc.assert(
      fc.property(fc.array(part, { minLength: 1 }), (parts) => {
        const model = new Set<number>();
        const texts = parts.map(({ a, b, not }) => {
          const [first, last] = [Math.min(a, b), Math.max(a, b)];
          for (let i = first; i <= last; i++) not ? model.delete(i) : model.add(i);
          return `${not ? '^' : ''}${first === last ? first : `${first}-${last}`}`;
        });
        if (model.size === 0) expect(() => parseCpuList(texts.join(','), pcpus)).to.throw(ConfigError);
        else expect(parseCpuList(texts.join(','), pcpus)).to.deep.equal([...model].sort((x, y) => x - y));
      }),
    );
  });
});
