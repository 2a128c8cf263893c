/** The guest kernel's tables, bound once per worker, and its timer queues. */
import type { Hypervisor } from '../../hv/hypervisor.js';
import { type DeadlineHeaps, deadlineHeaps } from '../../shared/deadline-heap.js';
import { type List, lists } from '../../shared/list.js';
import type { Image } from '../../shared/image.js';
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
  const kv = image.table(K_VCPU);
  const task = image.table(TASK);
  const resource = image.table(RESOURCE);
  const slots = image.region('task-timer-queues').base >> 2;
  const sizes = (image.region('k-vcpu').base + K_VCPU.offsets.timers) >> 2;
  return {
    hv,
    kv,
    kd: image.table(K_DOMAIN),
    task,
    phase: image.table(PHASE),
    event: image.table(EVENT),
    resource,
    runQueue: lists(task, image.table(K_QUEUE)),
    waiters: lists(task, resource),
    sleepers: deadlineHeaps(
      image.i32,
      task,
      (v) => sizes + v * (K_VCPU.size >> 2),
      (v) => slots + kv.timerSlots(v),
    ),
  };
}
