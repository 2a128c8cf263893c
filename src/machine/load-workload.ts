/**
 * Lowers workloads into the guest kernel's memory: tasks, phases, events and the resources they name. Every instance of
 * a task gets its own copy of the program, because timers called `unique…` are the instance's own.
 */
import { DEVICE } from '../devices/records.js';
import type { ModelMemory } from '../pcpu/model/memory.js';
import { CLASS, CPU_WORDS, OP } from '../pcpu/model/records.js';
import type { Workload, WorkloadEvent, WorkloadTask } from '../workload/workload.js';

/** What one guest's workload takes, in records. */
export interface WorkloadSize {
  readonly tasks: number;
  readonly phases: number;
  readonly events: number;
  readonly resources: number;
}

/** First free record of each kind; advanced by loading. */
export interface LoadCursor {
  task: number;
  phase: number;
  event: number;
  resource: number;
  timerSlot: number;
}

const MAX_RESOURCES_PER_EVENT = 2;

export function sizeOfWorkload(workload: Workload): WorkloadSize {
  let [tasks, phases, events] = [0, 0, 0];
  for (const t of workload.tasks) {
    tasks += t.instance;
    phases += t.instance * t.phases.length;
    for (const p of t.phases) events += t.instance * p.events.length;
  }
  return { tasks, phases, events, resources: events * MAX_RESOURCES_PER_EVENT };
}

/** Tasks that meet at each barrier: rt-app counts the users that name it. */
function barrierUsers(workload: Workload): ReadonlyMap<string, number> {
  const users = new Map<string, number>();
  for (const task of workload.tasks) {
    const named = new Set(task.phases.flatMap((p) => p.events.flatMap((e) => (e.kind === 'barrier' ? [e.ref] : []))));
    for (const name of named) users.set(name, (users.get(name) ?? 0) + task.instance);
  }
  return users;
}

const CLASS_OF = { SCHED_FIFO: CLASS.fifo, SCHED_RR: CLASS.rr, SCHED_OTHER: CLASS.other } as const;

/**
 * Writes `workload` as domain d's, whose VCPUs are `firstVcpu` .. `firstVcpu + vcpus - 1`.
 * @param deviceNames of all devices, by number
 */
export function loadWorkload(
  mem: ModelMemory,
  cursor: LoadCursor,
  d: number,
  firstVcpu: number,
  vcpus: number,
  workload: Workload,
  deviceNames: readonly string[] = [],
): void {
  const { kd, kv, task, phase, event, resource } = mem;
  const device = mem.hv.context.image.table(DEVICE);
  const users = barrierUsers(workload);
  const resources = new Map<string, number>();
  const { tasks } = sizeOfWorkload(workload);

  function resourceFor(kind: string, name: string): number {
    const key = `${kind}:${name}`;
    const known = resources.get(key);
    if (known !== undefined) return known;
    const r = cursor.resource++;
    resources.set(key, r);
    resource.setNextExpiry(r, -1);
    if (kind === 'device') resource.setOwner(r, deviceNames.indexOf(name) + 1);
    if (kind === 'barrier') resource.setUsers(r, users.get(name) ?? 1);
    return r;
  }

  /** Where tasks wait for a device, which is told. */
  function waitersOf(name: string): number {
    const r = resourceFor('device', name);
    device.setWaiters(resource.owner(r) - 1, r + 1);
    return r;
  }

  function writeEvent(e: number, ev: WorkloadEvent, instance: number): void {
    event.setOp(e, OP[ev.kind]);
    switch (ev.kind) {
      case 'run':
      case 'runtime':
      case 'sleep':
        event.setNs(e, ev.ns);
        break;
      case 'timer':
        event.setNs(e, ev.periodNs);
        event.setAbsolute(e, ev.mode === 'absolute' ? 1 : 0);
        event.setResource(e, resourceFor('timer', ev.unique ? `${ev.ref}\0${instance}` : ev.ref));
        break;
      case 'lock':
      case 'unlock':
        event.setResource(e, resourceFor('mutex', ev.mutex));
        break;
      case 'wait':
      case 'sync':
        event.setResource(e, resourceFor('cond', ev.cond));
        event.setMutex(e, resourceFor('mutex', ev.mutex));
        break;
      case 'signal':
      case 'broad':
        event.setResource(e, resourceFor('cond', ev.cond));
        break;
      case 'barrier':
        event.setResource(e, resourceFor('barrier', ev.ref));
        break;
      case 'suspend':
      case 'resume':
        event.setResource(e, resourceFor('point', ev.ref));
        break;
      case 'irq':
        event.setResource(e, waitersOf(ev.device));
        event.setMutex(e, resourceFor('seen', `${ev.device}\0${instance}`));
        break;
      case 'io':
        event.setResource(e, waitersOf(ev.device));
        break;
      case 'yield':
      case 'ntp':
        break;
    }
  }

  function writePhases(t: number, spec: WorkloadTask): void {
    task.setFirstPhase(t, cursor.phase);
    task.setPhases(t, spec.phases.length);
    for (const p of spec.phases) {
      const ph = cursor.phase++;
      phase.setLoop(ph, p.loop);
      phase.setFirstEvent(ph, cursor.event);
      phase.setEvents(ph, p.events.length);
      const cpus = p.cpus ?? spec.cpus;
      for (let w = 0; w < CPU_WORDS; w++) phase.setCpus(ph, w, cpus === undefined ? -1 : 0);
      for (const c of cpus ?? []) phase.setCpus(ph, c >> 5, phase.cpus(ph, c >> 5) | (1 << (c & 31)));
      for (const e of p.events) writeEvent(cursor.event++, e, t);
    }
  }

  kd.setFirstTask(d, cursor.task);
  kd.setTasks(d, tasks);
  kd.setLiveTasks(d, tasks);
  kd.setDurationNs(d, workload.durationNs ?? Infinity);
  let placed = 0;
  for (const spec of workload.tasks) {
    for (let n = 0; n < spec.instance; n++) {
      const t = cursor.task++;
      const cpus = spec.phases[0]?.cpus ?? spec.cpus;
      const home = cpus === undefined ? placed++ % vcpus : cpus[n % cpus.length]!;
      task.setDomain(t, d);
      task.setVcpu(t, firstVcpu + home);
      task.setTaskClass(t, CLASS_OF[spec.policy]);
      task.setPriority(t, spec.priority);
      task.setLoop(t, spec.loop);
      task.setDelayNs(t, spec.delayNs);
      task.setCumulativeSlack(t, workload.cumulativeSlack ? 1 : 0);
      writePhases(t, spec);
    }
  }
  // One more sleeper behind the tasks: the end of the use case.
  task.setDomain(cursor.task, d);
  cursor.task++;
  for (let k = 0; k < vcpus; k++) {
    kv.setTimerSlots(firstVcpu + k, cursor.timerSlot);
    cursor.timerSlot += tasks + 1;
  }
}
