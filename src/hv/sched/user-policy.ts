/**
 * A scheduling policy in the user's own file (docs/write-a-scheduler.md). Every worker loads its code; the file's default export is
 * a function that is given `policyKit` and makes a policy like the built-in ones. What it decides is checked, because a VCPU
 * on two pCPUs would be seen much later, and somewhere else.
 */
import { type Region, tableRegion } from '../../shared/image.js';
import { lists, NONE } from '../../shared/list.js';
import { struct } from '../../shared/struct.js';
import type { HvContext } from '../context.js';
import type { GenericScheduler, PoolView, SchedulerOps, SchedulerPolicy } from './interface.js';
import { registerScheduler } from './registry.js';

export interface UserPolicy {
  /** Path of the file; the policy is known by it. */
  readonly file: string;
  /** JavaScript, an ES module without imports. */
  readonly code: string;
}

/** What a policy needs to keep its state in the image. */
export const policyKit = { struct, tableRegion, lists, NONE };
export type PolicyKit = typeof policyKit;
const REQUIRED = ['insert', 'sleep', 'wake', 'yield', 'doSchedule', 'pickCpu', 'migrate'] as const;
/** What a policy must do; the rest of the scheduler interface may be left out. */
export type PolicyOps = Pick<SchedulerOps, (typeof REQUIRED)[number]> & Partial<SchedulerOps>;
export interface Policy extends Partial<Omit<SchedulerPolicy, 'name' | 'create'>> {
  create(hv: HvContext, generic: GenericScheduler, pool: PoolView): PolicyOps;
}
/** The default export of a policy file. */
export type PolicyFactory = (kit: PolicyKit) => Policy;

export class PolicyError extends Error {
  override readonly name = 'PolicyError';
}

/** Operations that a policy may leave out, and what they do then: nothing, never. */
const OPTIONAL: Omit<SchedulerOps, 'name' | (typeof REQUIRED)[number]> = {
  init: () => {},
  initPcpu: () => {},
  deinitPcpu: () => {},
  remove: () => {},
  contextSaved: () => {},
  adjust: () => {},
  adjustAffinity: () => {},
  nextTick: () => Infinity,
  tick: () => {},
  nextAccounting: () => Infinity,
  accounting: () => {},
  dumpSettings: () => '',
};

/** Asks whether what the policy says can be done. */
function checked(file: string, hv: HvContext, generic: GenericScheduler, ops: SchedulerOps): SchedulerOps {
  const { pcpu, vcpu, queues, shape, idleOf } = hv;
  const { entry, masks } = queues;
  const fail = (what: string): never => {
    throw new PolicyError(`${file}: ${what}`);
  };
  const why = (v: number, p: number): string | undefined => {
    if (!(Number.isInteger(v) && v >= 0 && v < shape.vcpus)) return 'there is no such VCPU';
    if (!generic.isRunnable(v)) return 'it cannot run';
    if (entry.processor(v) !== p) return `it belongs to pCPU ${entry.processor(v)}`;
    if (queues.isQueued(v)) return 'it is still in the run queue';
    if (entry.isRunning(v) !== 0 && pcpu.current(p) !== v) return 'it still runs elsewhere';
    return undefined;
  };
  return {
    ...ops,
    doSchedule(p) {
      pcpu.setNext(p, NONE);
      pcpu.setNextSlice(p, Infinity);
      ops.doSchedule(p);
      const v = pcpu.next(p);
      const wrong = v === idleOf(p) ? undefined : why(v, p);
      if (wrong !== undefined) fail(`doSchedule chose VCPU ${v} for pCPU ${p}: ${wrong}`);
      if (!(pcpu.nextSlice(p) > 0)) fail(`doSchedule gave VCPU ${v} a timeslice of ${pcpu.nextSlice(p)} ns`);
    },
    pickCpu(v) {
      const p = ops.pickCpu(v);
      const exists = Number.isInteger(p) && p >= 0 && p < shape.pcpus;
      if (!exists || !masks.has(queues.affinity(v, 1), p)) {
        fail(`pickCpu chose pCPU ${p} for VCPU ${vcpu.id(v)} of domain ${vcpu.domain(v)}, which it may not use`);
      }
      return p;
    },
  };
}

function complete(file: string, ops: PolicyOps): SchedulerOps {
  for (const name of REQUIRED) {
    if (typeof ops?.[name] !== 'function') throw new PolicyError(`${file}: the policy has no operation "${name}"`);
  }
  return { ...OPTIONAL, ...ops, name: file };
}

/**
 * Loads a policy under the name of its file, in this thread.
 * @throws PolicyError when it is none; whatever the file throws
 */
export async function loadPolicy({ file, code }: UserPolicy): Promise<void> {
  const url = `data:text/javascript;base64,${Buffer.from(`${code}\n//# sourceURL=${file}`).toString('base64')}`;
  const { default: factory } = (await import(url)) as { default?: unknown };
  if (typeof factory !== 'function') throw new PolicyError(`${file}: the default export is no function`);
  const policy = (factory as PolicyFactory)(policyKit);
  if (typeof policy?.create !== 'function') throw new PolicyError(`${file}: what it makes has no operation "create"`);
  registerScheduler({
    name: file,
    title: policy.title ?? file,
    isWorkConserving: policy.isWorkConserving ?? true,
    regions: (shape): Region[] => policy.regions?.(shape) ?? [],
    create: (hv, generic, pool) => checked(file, hv, generic, complete(file, policy.create(hv, generic, pool))),
  });
}
