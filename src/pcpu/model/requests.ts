/**
 * Requests between domains: a client's task writes its request into the ring of its domain's link, kicks the server by an event
 * channel and waits; a server's task takes it, works, and answers the same way. The channel is made by both guests' own hypercalls:
 * the server allocates a port for each client when it boots and publishes it (as in xenstore), the client binds to it with its
 * first request.
 *
 * Locking: a front is changed under the client kernel's lock, a back and a service under the server's; only rings are common.
 */
import { HISTOGRAM_BYTES, recordSample } from '../../shared/histogram.js';
import { NONE } from '../../shared/list.js';
import { acquireWord, releaseWord } from '../../shared/shared-words.js';
import { copyNs } from './costs.js';
import type { GuestHypercalls } from './hypercalls.js';
import type { ModelMemory } from './memory.js';
import { COMPUTING, OP, TASK_STATE } from './records.js';
import { K_BACK, RING_SLOTS } from './request-records.js';
import { rings } from './rings.js';
import { STEP, type Step } from './step.js';
import type { TaskScheduler } from './task-scheduler.js';

/** How far a task has got with its request, its serving or its answer; 0 = it is about none. */
const STAGE = { push: 1, admitted: 2, asked: 3, received: 4, done: 5, take: 6, called: 7, taken: 8, reply: 9 } as const;

/** A client whose server is not up yet looks again after this, ns. */
const CONNECT_RETRY_NS = 1e6;

export interface Requests {
  /** Server: makes a port for each client. By the VCPU that boots. */
  offer(v: number): void;
  /** Takes the events of all links of v's domain. @param take whether this port is pending, and clears it */
  takeEvents(v: number, take: (port: number) => boolean): void;
  begin(v: number, t: number, e: number, nowNs: number): Step;
  /** Goes on with what t is about. */
  goOn(v: number, t: number, e: number, nowNs: number): Step;
}

/** @param sleep puts the current task of v to sleep until its `deadline` */
export function requests(
  mem: ModelMemory,
  tasks: TaskScheduler,
  calls: GuestHypercalls,
  sleep: (v: number, t: number) => void,
): Requests {
  const { hv, kd, task, taskRequest, event, service, front, back, serviceWaiters, frontWaiters } = mem;
  const { vcpu, image } = hv.context;
  const { i32 } = image;
  const ring = rings(hv.context);
  const backPort = image.column(K_BACK, 'port');
  const portWord = (b: number): number => (backPort.base + (b << backPort.shift)) | 0;
  const latency = image.region('request-latency').base;

  function copy(t: number, bytes: number): Step {
    if (bytes === 0) return STEP.goOn;
    task.setComputing(t, COMPUTING.memory);
    task.setRemaining(t, copyNs(bytes));
    return STEP.compute;
  }

  function wait(t: number): Step {
    task.setState(t, TASK_STATE.waiting);
    return STEP.gone;
  }

  // The client.

  /** Binds a link's channel if the server offers it already. */
  function connect(v: number, link: number): boolean {
    const b = front.back(link);
    const offered = acquireWord(i32, portWord(b));
    if (offered === 0) return false;
    const port = calls.bindInterdomain(v, back.server(b), offered);
    if (port < 0) throw new Error(`guest kernel: bind_interdomain failed with ${port}`);
    front.setPort(link, port);
    return true;
  }

  const freeSlots = (link: number): number =>
    (RING_SLOTS - (front.produced(link) - front.consumed(link)) - front.promised(link)) | 0;

  function push(v: number, t: number, e: number, nowNs: number): Step {
    const link = taskRequest.asking(t) - 1;
    if (front.port(link) === 0 && !connect(v, link)) {
      task.setDeadline(t, nowNs + CONNECT_RETRY_NS);
      sleep(v, t);
      return STEP.gone;
    }
    // Nobody overtakes those who wait, nor takes the slot that is kept for one.
    if (frontWaiters.first(link) !== NONE || freeSlots(link) === 0) {
      frontWaiters.append(link, t);
      return wait(t);
    }
    return write(v, t, e);
  }

  function write(v: number, t: number, e: number): Step {
    const link = taskRequest.asking(t) - 1;
    const n = front.produced(link);
    front.addProduced(link, 1);
    task.setStage(t, STAGE.asked);
    if (ring.requests.push(front.ring(link), n, t, event.bytes(e))) calls.send(v, front.port(link));
    return wait(t);
  }

  function readAnswers(v: number, link: number): void {
    const page = front.ring(link);
    const d = vcpu.domain(v);
    for (;;) {
      const published = ring.answers.published(page);
      while (front.consumed(link) !== published) {
        const n = front.consumed(link);
        front.addConsumed(link, 1);
        ring.answers.learn(page, n);
        const t = ring.answers.id(page, n);
        // Written by another domain: not to be trusted.
        const isOurs = t >= kd.firstTask(d) && t < kd.firstTask(d) + kd.tasks(d);
        if (!isOurs || task.stage(t) !== STAGE.asked || taskRequest.asking(t) !== link + 1) continue;
        taskRequest.setBytes(t, ring.answers.bytes(page, n));
        task.setStage(t, STAGE.received);
        tasks.wake(v, t);
      }
      ring.answers.ask(page, published + 1);
      if (ring.answers.published(page) === published) break;
    }
    while (freeSlots(link) > 0) {
      const t = frontWaiters.first(link);
      if (t === NONE) return;
      frontWaiters.remove(link, t);
      front.addPromised(link, 1);
      task.setStage(t, STAGE.admitted);
      tasks.wake(v, t);
    }
  }

  function finish(t: number, nowNs: number): Step {
    const link = taskRequest.asking(t) - 1;
    const ns = Math.max(0, nowNs - taskRequest.requestedAt(t));
    recordSample(i32, (latency + link * HISTOGRAM_BYTES) >> 2, ns);
    front.addTotalNs(link, ns);
    if (ns > front.maxNs(link)) front.setMaxNs(link, ns);
    taskRequest.setAsking(t, 0);
    task.setStage(t, 0);
    return STEP.goOn;
  }

  // The server.

  /** A link of service s with a request, beginning after the one served last; NONE = none has. */
  function find(s: number): number {
    for (let k = 0; k < service.backs(s); k++) {
      const b = service.firstBack(s) + ((service.next(s) + k) % service.backs(s));
      if (ring.requests.published(back.ring(b)) !== back.consumed(b)) return b;
    }
    return NONE;
  }

  function available(s: number): number {
    let n = 0;
    for (let b = service.firstBack(s); b < service.firstBack(s) + service.backs(s); b++)
      n += (ring.requests.published(back.ring(b)) - back.consumed(b)) | 0;
    return n;
  }

  /** Wakes a task for each request that none was woken for yet; while tasks wait beyond that, the next request is to be told. */
  function callTasks(v: number, s: number): void {
    for (;;) {
      const n = available(s);
      while (service.called(s) < n) {
        const t = serviceWaiters.first(s);
        if (t === NONE) return;
        serviceWaiters.remove(s, t);
        service.addCalled(s, 1);
        task.setStage(t, STAGE.called);
        tasks.wake(v, t);
      }
      if (serviceWaiters.first(s) === NONE) return;
      for (let b = service.firstBack(s); b < service.firstBack(s) + service.backs(s); b++)
        ring.requests.ask(back.ring(b), ring.requests.published(back.ring(b)) + 1);
      if (available(s) === n) return;
    }
  }

  function take(v: number, t: number, s: number): Step {
    const b = find(s);
    if (b === NONE) {
      task.setStage(t, STAGE.take);
      task.setState(t, TASK_STATE.waiting);
      serviceWaiters.append(s, t);
      // One may have come since: then t, or who waited longer, is woken at once.
      callTasks(v, s);
      return STEP.gone;
    }
    const n = back.consumed(b);
    const page = back.ring(b);
    ring.requests.learn(page, n);
    taskRequest.setServing(t, b + 1);
    taskRequest.setClient(t, ring.requests.id(page, n));
    back.addConsumed(b, 1);
    service.setNext(s, (b - service.firstBack(s) + 1) % service.backs(s));
    task.setStage(t, STAGE.taken);
    return copy(t, ring.requests.bytes(page, n));
  }

  function reply(v: number, t: number, e: number): Step {
    const b = taskRequest.serving(t) - 1;
    task.setStage(t, 0);
    // An answer to nobody.
    if (b === NONE) return STEP.goOn;
    taskRequest.setServing(t, 0);
    const n = back.produced(b);
    back.addProduced(b, 1);
    if (ring.answers.push(back.ring(b), n, taskRequest.client(t), event.bytes(e))) calls.send(v, back.port(b));
    return STEP.goOn;
  }

  return {
    offer(v) {
      const d = vcpu.domain(v);
      for (let b = kd.firstBack(d); b < kd.firstBack(d) + kd.backs(d); b++) {
        const port = calls.allocUnbound(v, back.client(b));
        if (port < 0) throw new Error(`guest kernel: alloc_unbound failed with ${port}`);
        releaseWord(i32, portWord(b), port);
      }
    },
    takeEvents(v, takePort) {
      const d = vcpu.domain(v);
      for (let link = kd.firstFront(d); link < kd.firstFront(d) + kd.fronts(d); link++)
        if (front.port(link) !== 0 && takePort(front.port(link))) readAnswers(v, link);
      for (let b = kd.firstBack(d); b < kd.firstBack(d) + kd.backs(d); b++)
        if (back.port(b) !== 0 && takePort(back.port(b))) callTasks(v, back.service(b));
    },
    begin(_v, t, e, nowNs) {
      switch (event.op(e)) {
        case OP.request:
          taskRequest.setRequestedAt(t, nowNs);
          taskRequest.setAsking(t, event.resource(e) + 1);
          task.setStage(t, STAGE.push);
          return copy(t, event.bytes(e));
        case OP.serve:
          task.setStage(t, STAGE.take);
          return STEP.goOn;
        default:
          task.setStage(t, STAGE.reply);
          return copy(t, event.bytes(e));
      }
    },
    goOn(v, t, e, nowNs) {
      switch (task.stage(t)) {
        case STAGE.push:
          return push(v, t, e, nowNs);
        case STAGE.admitted:
          front.addPromised(taskRequest.asking(t) - 1, -1);
          return write(v, t, e);
        case STAGE.received:
          task.setStage(t, STAGE.done);
          return copy(t, taskRequest.bytes(t));
        case STAGE.done:
          return finish(t, nowNs);
        case STAGE.called:
          service.addCalled(event.resource(e), -1);
          return take(v, t, event.resource(e));
        case STAGE.take:
          return take(v, t, event.resource(e));
        case STAGE.reply:
          return reply(v, t, e);
        default:
          task.setStage(t, 0);
          return STEP.goOn;
      }
    },
  };
}
