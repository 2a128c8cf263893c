/** Programs in processes of their own, none of which goes on for ever. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface Line {
  readonly text: string;
  /** When it came, s. */
  readonly at: number;
}

const isDoneWord = (line: string): boolean => line === 'DONE';

/**
 * Runs a program until it ends, or has said its last line.
 * @param isLast whether it is that. @default DONE is
 * @returns its lines
 * @throws Error when it fails or takes longer than `limitS`
 */
export function linesOf(
  command: readonly [string, ...string[]],
  limitS: number,
  isLast: (line: string) => boolean = isDoneWord,
): Promise<Line[]> {
  const [program, ...args] = command;
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 1000 * limitS,
    killSignal: 'SIGKILL',
  });
  const lines: Line[] = [];
  let isDone = false;
  createInterface(child.stdout).on('line', (text) => {
    lines.push({ text: text.trim(), at: performance.now() / 1000 });
    if (!isLast(text.trim())) return;
    isDone = true;
    child.kill('SIGKILL');
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status, signal) => {
      if (isDone || status === 0) resolve(lines);
      else reject(new Error(`${program} ${signal === null ? `ended with ${status}` : `took longer than ${limitS} s`}`));
    });
  });
}

/** A script of this folder. */
export const script = (name: string, ...args: string[]): readonly [string, ...string[]] => [
  process.execPath,
  fileURLToPath(new URL(name, import.meta.url)),
  ...args,
];
