/**
 * The thread that the race of mail.test.ts runs against: a worker that posts to another one's pCPUs, and looks between its
 * postings whether it is held back for as long as it has to be.
 */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { IPI_KINDS, type IpiKind } from '../../src/hv/smp.js';
import { type Mail, mail, mailRegions } from '../../src/pcpu/mail.js';
import { type AddressMap, Image, layOut, rawRegion } from '../../src/shared/image.js';
import { noJitter } from '../../src/shared/jitter.js';

/** pCPUs 0 and 1 are worker 0's, to whom workers 1 and 2, with a pCPU each, post. */
export const WORKERS = 3;
const PCPUS = 4;
export const workerOf = (p: number): number => Math.max(0, p - 1);
const pcpusOf = (w: number): number[] => [0, 1, 2, 3].filter((p) => workerOf(p) === w);

/** For each sender, pCPU and kind: the last number that was posted, and the last that was delivered; a line each sender. */
const PLACES = 2 * IPI_KINDS;
export const map: AddressMap = layOut([
  ...mailRegions(PCPUS, WORKERS),
  rawRegion('sent', 64, WORKERS),
  rawRegion('got', 64, WORKERS),
  rawRegion('done', 64, 2),
]);

export function attach(image: Image, self: number): Mail {
  return mail(image, {
    self,
    workers: WORKERS,
    workerOf,
    pcpus: pcpusOf(self),
    raceWindow: noJitter,
    wake: () => {},
  });
}

export function words(image: Image) {
  const word = (region: string, w: number): number => (image.region(region).base >> 2) + 16 * w;
  return {
    sent: (w: number, q: number, kind: number): number => word('sent', w) + q * IPI_KINDS + kind,
    got: (w: number, q: number, kind: number): number => word('got', w) + q * IPI_KINDS + kind,
    /** Senders that are at the start, and at the end. */
    started: word('done', 0),
    done: word('done', 1),
  };
}

export interface PosterData {
  readonly memory: WebAssembly.Memory;
  readonly self: number;
  readonly postings: number;
}

export interface Findings {
  /** Times at which the floor was let go of something that had not been delivered. */
  early: number;
  /** Times at which everything was let go. */
  settled: number;
}

/** How long to wait for anything, host ms. */
export const PATIENCE_MS = 20_000;

/** Postings after which a sender looks: not after each, or senders would hardly ever meet. */
const LOOK = 8;
/** Postings in a row, after which a sender waits until all of them are taken up. */
export const BURST = 32;

function post({ memory, self, postings }: PosterData): Findings {
  const image = new Image(memory, map);
  const { i32 } = image;
  const { sent, got, started, done } = words(image);
  const box = attach(image, self);
  const findings: Findings = { early: 0, settled: 0 };

  /** Nothing that lies before the earliest unseen arrival is still to come. Arrivals are the postings' numbers. */
  function look(): number {
    const earliest = box.earliestUnseen();
    for (let place = 0; place < PLACES; place++) {
      const last = i32[sent(self, 0, place)]!;
      if (last < earliest && Atomics.load(i32, got(self, 0, place)) < last) findings.early++;
    }
    return earliest;
  }

  Atomics.add(i32, started, 1);
  while (Atomics.load(i32, started) < WORKERS - 1) Atomics.wait(i32, started, 1, 1);
  for (let n = 1; n <= postings; n++) {
    const q = n & 1;
    const kind = ((n * 7) % IPI_KINDS) as IpiKind;
    // What goes with it: a plain store, that is there when the posting is taken.
    i32[sent(self, q, kind)] = n;
    box.post(q, kind, n, n);
    if (n % LOOK === 0) look();
    if (n % BURST !== 0 && n !== postings) continue;
    const until = performance.now() + PATIENCE_MS;
    for (let tries = 0; look() !== Infinity; tries++) {
      if (tries % 4096 === 4095) Atomics.wait(i32, started, 2, 0.05);
      if (performance.now() > until) throw new Error(`posting ${n} of worker ${self} is not taken up`);
    }
    findings.settled++;
  }
  Atomics.add(i32, done, 1);
  return findings;
}

if (!isMainThread) parentPort?.postMessage(post(workerData as PosterData));
