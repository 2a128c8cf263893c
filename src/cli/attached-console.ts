/**
 * A guest's console on the terminal: what it says goes to stdout as it says it, and what is typed goes to it. On a terminal, keys go as
 * they are pressed, and Ctrl-] leaves.
 */
import type { RunResult } from '../machine/result.js';
import type { RunnableMachine } from './run-command.js';

/** The part of Machine that has a console. */
export interface ConsoleMachine extends RunnableMachine {
  consoleSince(n: number, from: number): { readonly bytes: Uint8Array; readonly end: number };
  type(n: number, bytes: Uint8Array): Promise<number>;
}

/** What is typed on. */
export interface Keyboard extends NodeJS.ReadableStream {
  readonly isTTY?: boolean;
  setRawMode?(isRaw: boolean): unknown;
  unref?(): unknown;
}

/** Ctrl-], as telnet and `xl console` have it. */
const LEAVE = 0x1d;
const NEWLINE = 0x0a;
/** Host ms between two looks at the console, and at whether there is room for more of what was typed. */
const LOOK_MS = 20;

/**
 * The machine with the console of its first kernel.
 * @param input is typed from the beginning @param keyboard undefined = nobody types @param left told when Ctrl-] was pressed
 */
export async function attachedConsole(
  machine: ConsoleMachine,
  out: NodeJS.WritableStream,
  input: Uint8Array,
  keyboard: Keyboard | undefined,
  left: () => void,
): Promise<RunnableMachine> {
  let seen = 0;
  let isLineOpen = false;
  let isTyping = false;
  let waiting = input;

  function show(): void {
    const { bytes, end } = machine.consoleSince(0, seen);
    seen = end;
    if (bytes.length === 0) return;
    out.write(bytes);
    isLineOpen = bytes.at(-1) !== NEWLINE;
  }

  /** Types what there is room for; the rest when there is more. */
  async function type(): Promise<void> {
    if (isTyping || waiting.length === 0) return;
    isTyping = true;
    try {
      waiting = waiting.subarray(await machine.type(0, waiting));
    } finally {
      isTyping = false;
    }
  }

  function pressed(keys: Buffer): void {
    const leaves = keyboard?.isTTY === true ? keys.indexOf(LEAVE) : -1;
    if (leaves >= 0) {
      left();
      machine.stop().catch(() => undefined);
    }
    waiting = Buffer.concat([waiting, leaves >= 0 ? keys.subarray(0, leaves) : keys]);
    // A machine that fails says so in its run.
    type().catch(() => undefined);
  }

  // Before the first turn.
  await type();
  return {
    async run(): Promise<RunResult> {
      const looking = setInterval(() => {
        show();
        type().catch(() => undefined);
      }, LOOK_MS);
      keyboard?.setRawMode?.(true);
      keyboard?.on('data', pressed);
      try {
        return await machine.run();
      } finally {
        clearInterval(looking);
        show();
        if (isLineOpen) out.write('\n');
        keyboard?.removeListener('data', pressed);
        keyboard?.pause();
        keyboard?.setRawMode?.(false);
        keyboard?.unref?.();
      }
    },
    progress: () => machine.progress(),
    stop: () => machine.stop(),
    close: () => machine.close(),
    on: (event, listener) => machine.on(event, listener),
  };
}
