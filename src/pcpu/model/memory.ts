/** The guest kernel's tables, bound once per worker, and its timer queues. */
import type { Hypervisor } from '../../hv/hypervisor.js';
import { type DeadlineHeaps, deadlineHeaps } from '../../shared/deadline-heap.js';
import type { Image } from '../../shared/image.js';
import { type List, lists } from '../../shared/list.js';
import type { Table } from '../../shared/struct.js';
import { EVENT, K_DOMAIN, K_QUEUE, K_VCPU, PHASE, RESOURCE, TASK } from './records.js';

export interface ModelMemory {
  readonly hv: Hypervisor;
  readonly kv: Table<typeof K_VCPU.fields>;
  readonly kd: Table<typeof K_DOMAIN.fields>;
  readonly task: Table<typeof TASK.fields>;
  readonly phase: Table<typeof PHASE.fields>;
  readonly event: Table<typeof EVENT.fields>;
  readonly resource: Table<typeof RESOURCE.fields>;
  /** Run queues: list 2v for real-time tasks, 2v + 1 for the others. */
  readonly runQueue: List;
  /** Tasks waiting on a resource. A task is either queued to run or waits, so both use the same links. */
  readonly waiters: List;
  /** Sleeping tasks of a VCPU. */
  readonly sleepers: DeadlineHeaps;
}

export function modelMemory(image: Image, hv: Hypervisor): ModelMemory {
  const links = image.columns(TASK, 'next', 'prev', 'linked');
  return {
    hv,
    kv: image.table(K_VCPU),
    kd: image.table(K_DOMAIN),
    task: image.table(TASK),
    phase: image.table(PHASE),
    event: image.table(EVENT),
    resource: image.table(RESOURCE),
    runQueue: lists(image.i32, links, image.columns(K_QUEUE, 'first', 'last')),
    waiters: lists(image.i32, links, image.columns(RESOURCE, 'first', 'last')),
    sleepers: deadlineHeaps(image.i32, image.f64, image.columns(TASK, 'deadline', 'position'), {
      size: image.column(K_VCPU, 'timers'),
      slots: { base: image.region('task-timer-queues').base >> 2, stride: 0 },
      offset: image.column(K_VCPU, 'timerSlots'),
    }),
  };
}
