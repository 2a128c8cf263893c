/** What the credit scheduler says of itself to the debug key `r`: the lines of Xen's csched_dump and csched_dump_pcpu. */
import { DEFAULT_WEIGHT } from '../../shared/limits.js';
import { NONE } from '../../shared/list.js';
import type { HvContext } from '../context.js';
import type { CreditState } from './credit-accounting.js';
import { CREDITS_PER_MS } from './credit-records.js';
import type { SchedulerOps } from './interface.js';

export function creditDump(
  hv: HvContext,
  { cv, cg, activeVcpus, activeDomains, pool }: CreditState,
): Required<Pick<SchedulerOps, 'dumpGlobal' | 'dumpPcpu'>> {
  const { domain, vcpu, pcpu, queues, isIdle, shape } = hv;
  const { entry, runq, list, masks } = queues;
  const G = pool.index;
  const all = Array.from({ length: shape.pcpus }, (_, p) => p);

  function unit(v: number): string {
    const d = vcpu.domain(v);
    const flags = (cv.isParked(v) !== 0 ? 1 : 0) | (entry.yielded(v) !== 0 ? 2 : 0) | (cv.isMigrating(v) !== 0 ? 4 : 0);
    const [who, where] = [`[${domain.id(d)}.${vcpu.id(v)}]`, `cpu=${entry.processor(v)}`];
    const share = `[w=${domain.weight(d)},cap=${domain.cap(d)}]`;
    return `${who} pri=${entry.pri(v)} flags=${flags.toString(16)} ${where} credit=${cv.credit(v)} ${share}`;
  }

  /** A mask as `%*pb` prints it: words of 32 bits, the highest first. */
  function bits(cpus: readonly number[]): string {
    const words = Array.from({ length: Math.ceil(shape.pcpus / 32) }, (_, w) =>
      cpus.filter((p) => p >> 5 === w).reduce((sum, p) => sum + 2 ** (p & 31), 0),
    );
    return words
      .reverse()
      .map((w, n) => w.toString(16).padStart(n === 0 ? Math.ceil((((shape.pcpus - 1) & 31) + 1) / 4) : 8, '0'))
      .join(',');
  }

  return {
    dumpGlobal() {
      const tslice = cg.tsliceNs(G);
      const lines = [
        'info:',
        `\tncpus              = ${pool.pcpus()}`,
        `\tmaster             = ${pool.master()}`,
        `\tcredit             = ${Math.floor((tslice / 1e6) * CREDITS_PER_MS) * pool.pcpus()}`,
        `\tcredit balance     = ${cg.balance(G)}`,
        `\tweight             = ${cg.weight(G)}`,
        `\trunq_sort          = ${cg.sortEpoch(G)}`,
        `\tdefault-weight     = ${DEFAULT_WEIGHT}`,
        `\ttslice             = ${tslice / 1e6}ms`,
        `\tratelimit          = ${cg.ratelimitNs(G) / 1e3}us`,
        `\tcredits per msec   = ${CREDITS_PER_MS}`,
        `\tticks per tslice   = ${Math.round(tslice / cg.tickNs(G))}`,
        `\tmigration delay    = ${cg.migrationDelayNs(G) / 1e3}us`,
        `idlers: ${bits(all.filter((p) => masks.has(queues.idlers(p), p)))}`,
        'active units:',
      ];
      let n = 0;
      for (let d = activeDomains.first(G); d !== NONE; d = activeDomains.next(d)) {
        for (let v = activeVcpus.first(d); v !== NONE; v = activeVcpus.next(v))
          lines.push(`\t${`${++n}`.padStart(3)}: ${unit(v)}`);
      }
      return lines;
    },

    dumpPcpu(p) {
      const current = pcpu.current(p);
      const lines = [
        `CPU[${`${p}`.padStart(2, '0')}] nr_run=${runq.nrRunnable(p)}, sort=${runq.sortEpoch(p)}, sibling={${p}}, core={${p}}`,
      ];
      if (!isIdle(current)) lines.push(`\trun: ${unit(current)}`);
      let n = 0;
      for (let v = list.first(p); v !== NONE; v = list.next(v)) lines.push(`\t${`${++n}`.padStart(3)}: ${unit(v)}`);
      return lines;
    },
  };
}
