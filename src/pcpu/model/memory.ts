/** The guest kernel's tables, bound once per worker, and its timer queues. */
import type { Hypervisor } from '../../hv/hypervisor.js';
import { type DeadlineHeaps, deadlineHeaps } from '../../shared/deadline-heap.js';
import type { Image } from '../../shared/image.js';
import { type List, lists } from '../../shared/list.js';
import type { Table } from '../../shared/struct.js';
import { EVENT, K_DOMAIN, K_FAIR, K_QUEUE, K_VCPU, PHASE, RESOURCE, TASK, TASK_SCHED } from './records.js';
import { K_BACK, K_FRONT, K_SERVICE, TASK_REQUEST } from './request-records.js';

export interface ModelMemory {
  readonly hv: Hypervisor;
  readonly kv: Table<typeof K_VCPU.fields>;
  readonly fairness: Table<typeof K_FAIR.fields>;
  readonly kd: Table<typeof K_DOMAIN.fields>;
  readonly task: Table<typeof TASK.fields>;
  readonly taskSched: Table<typeof TASK_SCHED.fields>;
  readonly taskRequest: Table<typeof TASK_REQUEST.fields>;
  readonly phase: Table<typeof PHASE.fields>;
  readonly event: Table<typeof EVENT.fields>;
  readonly resource: Table<typeof RESOURCE.fields>;
  readonly service: Table<typeof K_SERVICE.fields>;
  readonly front: Table<typeof K_FRONT.fields>;
  readonly back: Table<typeof K_BACK.fields>;
  /** Run queues: list 3v for SCHED_DEADLINE, 3v + 1 for real-time tasks, 3v + 2 for the others. */
  readonly runQueue: List;
  /** Tasks waiting on a resource, for a request, for room in a ring. A task is queued to run or waits for one thing: one set of links. */
  readonly waiters: List;
  readonly serviceWaiters: List;
  readonly frontWaiters: List;
  /** Sleeping tasks of a VCPU. */
  readonly sleepers: DeadlineHeaps;
}

export function modelMemory(image: Image, hv: Hypervisor): ModelMemory {
  const links = image.columns(TASK, 'next', 'prev', 'linked');
  return {
    hv,
    kv: image.table(K_VCPU),
    fairness: image.table(K_FAIR),
    kd: image.table(K_DOMAIN),
    task: image.table(TASK),
    taskSched: image.table(TASK_SCHED),
    taskRequest: image.table(TASK_REQUEST),
    phase: image.table(PHASE),
    event: image.table(EVENT),
    resource: image.table(RESOURCE),
    service: image.table(K_SERVICE),
    front: image.table(K_FRONT),
    back: image.table(K_BACK),
    runQueue: lists(image.i32, links, image.columns(K_QUEUE, 'first', 'last')),
    waiters: lists(image.i32, links, image.columns(RESOURCE, 'first', 'last')),
    serviceWaiters: lists(image.i32, links, image.columns(K_SERVICE, 'first', 'last')),
    frontWaiters: lists(image.i32, links, image.columns(K_FRONT, 'first', 'last')),
    sleepers: deadlineHeaps(image.i32, image.f64, image.columns(TASK, 'deadline', 'position'), {
      size: image.column(K_VCPU, 'timers'),
      slots: { base: image.region('task-timer-queues').base >> 2, stride: 0 },
      offset: image.column(K_VCPU, 'timerSlots'),
    }),
  };
}
