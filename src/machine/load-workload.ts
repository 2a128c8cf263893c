/**
 * Lowers workloads into the guest kernel's memory: tasks, phases, events and the resources they name. Every instance of
 * a task gets its own copy of the program, because timers called `unique…` are the instance's own.
 */
import { DEVICE } from '../devices/records.js';
import { DEFAULT_BUFFER_BYTES, deviceNs, memoryNs, NULL_DEVICE } from '../pcpu/model/costs.js';
import type { ModelMemory } from '../pcpu/model/memory.js';
import { CLASS, CPU_WORDS, OP, RESOURCE_KINDS, type ResourceKind, TASK_STATE } from '../pcpu/model/records.js';
import type { TaskScheduling, Workload, WorkloadEvent, WorkloadPhase, WorkloadTask } from '../workload/workload.js';
import { forkLimits } from './fork-limits.js';

/** What one guest's workload takes, in records. */
export interface WorkloadSize {
  /** With those that may be forked. */
  readonly tasks: number;
  readonly phases: number;
  readonly events: number;
  readonly resources: number;
}

/** First free record of each kind; advanced by loading. */
export interface LoadCursor {
  /** Number of the next domain made at run time. */
  domain: number;
  task: number;
  phase: number;
  event: number;
  resource: number;
  timerSlot: number;
}

/** Records by which the requests of a domain find what they ask: numbers of links and services. */
export interface RequestNumbers {
  link(domain: string, service: string): number;
  service(name: string): number;
  /** Of all devices, by number. */
  readonly deviceNames: readonly string[];
}

const MAX_RESOURCES_PER_EVENT = 2;
const DEFAULT_NS_PER_LOOP = 1000;

/** iorun computes, and then sleeps where the device takes time. */
const eventsFor = (event: WorkloadEvent): number => (event.kind === 'iorun' ? 2 : 1);
const eventsIn = (phase: WorkloadPhase): number => phase.events.reduce((n, event) => n + eventsFor(event), 0);

export function sizeOfWorkload(workload: Workload): WorkloadSize {
  const forks = forkLimits(workload);
  let [tasks, phases, events] = [0, 0, 0];
  for (const t of workload.tasks) {
    const copies = t.instance + (forks.get(t.name) ?? 0);
    tasks += copies;
    phases += copies * t.phases.length;
    for (const p of t.phases) events += copies * eventsIn(p);
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

const CLASS_OF = {
  SCHED_DEADLINE: CLASS.deadline,
  SCHED_FIFO: CLASS.fifo,
  SCHED_RR: CLASS.rr,
  SCHED_OTHER: CLASS.other,
  SCHED_IDLE: CLASS.other,
} as const;

/** Of nice 0. A step of nice is a factor of 1.25: a tenth more or less of a shared CPU (sched(7)). */
const WEIGHT_0 = 1024;
const IDLE_WEIGHT = 3;

const weightOf = ({ policy, priority }: TaskScheduling): number =>
  policy === 'SCHED_IDLE' ? IDLE_WEIGHT : policy === 'SCHED_OTHER' ? Math.round(WEIGHT_0 / 1.25 ** priority) : WEIGHT_0;

/** Whether all tasks that share by weight have the same: then they take turns. */
function isWeighted(workload: Workload): boolean {
  const all = workload.tasks.flatMap((task): TaskScheduling[] => [
    task,
    ...task.phases.flatMap(({ scheduling }) => scheduling ?? []),
  ]);
  return all.some((scheduling) => weightOf(scheduling) !== WEIGHT_0);
}

/**
 * Writes `workload` as that of domain d, which may not be there yet.
 * @param vcpus how many it has when it boots
 * @param mostVcpus how many it may ever have
 */
export function loadWorkload(
  mem: ModelMemory,
  cursor: LoadCursor,
  d: number,
  vcpus: number,
  mostVcpus: number,
  workload: Workload,
  requests: RequestNumbers,
): void {
  const { kd, task, taskSched, phase, event, resource } = mem;
  const { memBufferBytes = DEFAULT_BUFFER_BYTES, ioDevice = NULL_DEVICE } = workload;
  const device = mem.hv.context.image.table(DEVICE);
  const users = barrierUsers(workload);
  const forks = forkLimits(workload);
  const resources = new Map<string, number>();
  const { tasks } = sizeOfWorkload(workload);
  const initial = workload.tasks.reduce((n, { instance }) => n + instance, 0);

  function resourceFor(kind: ResourceKind, name: string): number {
    const key = `${kind}:${name}`;
    const known = resources.get(key);
    if (known !== undefined) return known;
    const r = cursor.resource++;
    resources.set(key, r);
    resource.setKind(r, RESOURCE_KINDS.indexOf(kind));
    resource.setNextExpiry(r, -1);
    if (kind === 'device') resource.setOwner(r, requests.deviceNames.indexOf(name) + 1);
    if (kind === 'barrier') resource.setUsers(r, users.get(name) ?? 1);
    return r;
  }

  function writeOp(op: number, ns: number): void {
    const e = cursor.event++;
    event.setOp(e, op);
    event.setNs(e, ns);
  }

  /** Where tasks wait for a device, which is told. */
  function waitersOf(name: string): number {
    const r = resourceFor('device', name);
    device.setWaiters(resource.owner(r) - 1, r + 1);
    return r;
  }

  function writeEvent(ev: WorkloadEvent, instance: number): void {
    if (ev.kind === 'iorun') {
      const { computeNs, sleepNs } = deviceNs(ev.bytes, memBufferBytes, ioDevice);
      writeOp(OP.mem, computeNs);
      writeOp(OP.ioSleep, sleepNs);
      return;
    }
    const e = cursor.event++;
    event.setOp(e, OP[ev.kind]);
    switch (ev.kind) {
      case 'run':
      case 'runtime':
      case 'sleep':
        event.setNs(e, ev.ns);
        break;
      case 'mem':
        event.setNs(e, memoryNs(ev.bytes, memBufferBytes));
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
      case 'until':
        event.setNs(e, ev.ns);
        break;
      case 'tool':
        event.setResource(e, ev.job);
        break;
      case 'toolstack':
        event.setResource(e, resourceFor('point', '\0tools'));
        kd.setToolPoint(d, resourceFor('point', '\0tools') + 1);
        break;
      case 'sem_post':
      case 'sem_wait':
        event.setResource(e, resourceFor('semaphore', ev.ref));
        break;
      case 'fork':
        event.setResource(e, resourceFor('fork', ev.task));
        break;
      case 'request':
        event.setResource(e, requests.link(ev.domain, ev.service));
        event.setBytes(e, ev.bytes);
        break;
      case 'serve':
        event.setResource(e, requests.service(ev.service));
        break;
      case 'respond':
        event.setBytes(e, ev.bytes);
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

  function writeScheduling(ph: number, scheduling: TaskScheduling): void {
    phase.setSetsClass(ph, 1);
    phase.setTaskClass(ph, CLASS_OF[scheduling.policy]);
    phase.setPriority(ph, scheduling.priority);
    phase.setWeight(ph, weightOf(scheduling));
    phase.setDlRuntime(ph, scheduling.deadline?.runtimeNs ?? 0);
    phase.setDlDeadline(ph, scheduling.deadline?.deadlineNs ?? 0);
    phase.setDlPeriod(ph, scheduling.deadline?.periodNs ?? 0);
  }

  function writePhases(t: number, spec: WorkloadTask): void {
    task.setFirstPhase(t, cursor.phase);
    task.setPhases(t, spec.phases.length);
    for (const p of spec.phases) {
      const ph = cursor.phase++;
      phase.setLoop(ph, p.loop);
      phase.setFirstEvent(ph, cursor.event);
      phase.setEvents(ph, eventsIn(p));
      if (p.scheduling) writeScheduling(ph, p.scheduling);
      const cpus = p.cpus ?? spec.cpus;
      for (let w = 0; w < CPU_WORDS; w++) phase.setCpus(ph, w, cpus === undefined ? -1 : 0);
      for (const c of cpus ?? []) phase.setCpus(ph, c >> 5, phase.cpus(ph, c >> 5) | (1 << (c & 31)));
      for (const e of p.events) writeEvent(e, t);
    }
  }

  function writeTask(spec: WorkloadTask, home: number): number {
    const t = cursor.task++;
    task.setDomain(t, d);
    task.setHome(t, home);
    task.setTaskClass(t, CLASS_OF[spec.policy]);
    task.setPriority(t, spec.priority);
    taskSched.setOwnClass(t, CLASS_OF[spec.policy]);
    taskSched.setOwnPriority(t, spec.priority);
    taskSched.setWeight(t, weightOf(spec));
    taskSched.setDlRuntime(t, spec.deadline?.runtimeNs ?? 0);
    taskSched.setDlDeadline(t, spec.deadline?.deadlineNs ?? 0);
    taskSched.setDlPeriod(t, spec.deadline?.periodNs ?? 0);
    taskSched.setIndex(t, t - kd.firstTask(d));
    task.setLoop(t, spec.loop);
    task.setDelayNs(t, spec.delayNs);
    task.setCumulativeSlack(t, workload.cumulativeSlack ? 1 : 0);
    writePhases(t, spec);
    return t;
  }

  kd.setFirstTask(d, cursor.task);
  kd.setTasks(d, tasks);
  kd.setLiveTasks(d, initial);
  kd.setInitialTasks(d, initial);
  kd.setDurationNs(d, workload.durationNs ?? Infinity);
  kd.setNsPerLoop(d, workload.nsPerLoop ?? DEFAULT_NS_PER_LOOP);
  kd.setIsWeighted(d, isWeighted(workload) ? 1 : 0);
  kd.setInherits(d, workload.inheritsPriority === true ? 1 : 0);
  kd.setFirstResource(d, cursor.resource);
  let placed = 0;
  const homeOf = (spec: WorkloadTask, n: number): number => {
    const cpus = spec.phases[0]?.cpus ?? spec.cpus;
    return cpus === undefined ? placed++ % vcpus : cpus[n % cpus.length]!;
  };
  for (const spec of workload.tasks) {
    for (let n = 0; n < spec.instance; n++) writeTask(spec, homeOf(spec, n));
  }
  // Behind them, records for tasks that may be forked.
  for (const spec of workload.tasks) {
    const limit = forks.get(spec.name) ?? 0;
    if (limit === 0) continue;
    const r = resourceFor('fork', spec.name);
    resource.setOwner(r, cursor.task);
    resource.setUsers(r, limit);
    for (let n = 0; n < limit; n++) task.setState(writeTask(spec, homeOf(spec, spec.instance + n)), TASK_STATE.unborn);
  }
  kd.setResources(d, cursor.resource - kd.firstResource(d));
  // One more sleeper behind the tasks: the end of the use case.
  task.setDomain(cursor.task, d);
  cursor.task++;
  kd.setTimerSlots(d, cursor.timerSlot);
  cursor.timerSlot += mostVcpus * (tasks + 1);
}
