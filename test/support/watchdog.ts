/**
 * Set up before all tests. One seed for every random test, printed first, so that a run that fails, or never comes back,
 * is repeated by `FC_SEED=N npm test`; and a thread that ends the run when one test keeps the main thread for too long:
 * mocha's own timeout cannot fire while a test loops without awaiting. It says which test it was, and where it loops.
 */
import { writeSync } from 'node:fs';
import { Session } from 'node:inspector';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import fc from 'fast-check';

/** Longest time, in seconds, that the main thread may be busy without a look at its event loop. */
const LIMIT_S = Number(process.env.TEST_WATCHDOG_S ?? 300);
/** Bytes kept for a test's title. */
const TITLE_BYTES = 512;

interface Watched {
  /** [0]: how often the main thread's event loop came round; [1]: bytes of the title. Written by the main thread only. */
  readonly words: Int32Array;
  readonly title: Uint8Array;
}

export const mochaHooks = (): object => {
  const seed = Number(process.env.FC_SEED ?? (Date.now() ^ (process.pid << 16)) >>> 1);
  fc.configureGlobal({ seed, ...(process.env.FC_NO_SHRINK ? { endOnFailure: true } : {}) });
  process.stdout.write(`random tests: FC_SEED=${seed}\n`);
  const watched: Watched = {
    words: new Int32Array(new SharedArrayBuffer(8)),
    title: new Uint8Array(new SharedArrayBuffer(TITLE_BYTES)),
  };
  const worker = new Worker(new URL(import.meta.url), { workerData: watched, execArgv: [] });
  worker.unref();
  const beat = setInterval(() => Atomics.add(watched.words, 0, 1), 1000);
  beat.unref();
  return {
    beforeEach(this: Mocha.Context): void {
      const bytes = new TextEncoder().encode(this.currentTest?.fullTitle() ?? '').subarray(0, TITLE_BYTES);
      watched.title.set(bytes);
      Atomics.store(watched.words, 1, bytes.length);
      Atomics.add(watched.words, 0, 1);
    },
    afterAll(): void {
      clearInterval(beat);
      void worker.terminate();
    },
  };
};

/** Where the main thread is: stops it as a debugger does, and lists the frames. */
const whereMainIs = (): Promise<string> =>
  new Promise((tell) => {
    const session = new Session();
    const urls = new Map<string, string>();
    session.connectToMainThread();
    session.on('Debugger.scriptParsed', ({ params }) => urls.set(params.scriptId, params.url));
    session.on('Debugger.paused', ({ params }) =>
      tell(
        params.callFrames
          .map(
            ({ functionName, location: { scriptId, lineNumber } }) =>
              `    at ${functionName || '(anonymous)'} (${urls.get(scriptId) ?? ''}:${lineNumber + 1})`,
          )
          .join('\n'),
      ),
    );
    session.post('Debugger.enable', () => session.post('Debugger.pause'));
    setTimeout(() => tell('    (it cannot be stopped: it waits in native code)'), 5000);
  });

const watch = ({ words, title }: Watched): void => {
  let seen = -1;
  let since = Date.now();
  setInterval(async () => {
    const now = Atomics.load(words, 0);
    if (now !== seen) {
      seen = now;
      since = Date.now();
    } else if (Date.now() - since > LIMIT_S * 1000) {
      since = Number.POSITIVE_INFINITY;
      const name = new TextDecoder().decode(title.slice(0, Atomics.load(words, 1)));
      writeSync(2, `\nwatchdog: "${name}" has not come back for ${LIMIT_S} s; it is\n${await whereMainIs()}\n`);
      writeSync(1, '\n1 failing\n');
      process.kill(process.pid, 'SIGKILL');
    }
  }, 1000);
};

if (!isMainThread) watch(workerData as Watched);
