/** What a verb that changes something becomes: hypercalls, and what is known when they are made. */
import type { ToolCall } from '../toolstack/tool-job.js';
import type { World } from './world.js';

/** What a command is to do, and what it says when the nth of its calls fails. */
export interface Effect {
  readonly calls: readonly ToolCall[];
  failed(n: number): string;
  /** What it says when all is done. */
  readonly output?: string;
  /** What the toolstack itself keeps changes: how pools are called. Answers what is known once all calls are made. */
  after?(world: World): World;
  /** Calls that take back what was done before the nth failed. */
  undo?(n: number): readonly ToolCall[];
}

export interface Command {
  readonly usage: string;
  readonly title: string;
  /** Arguments it takes at least. */
  readonly least: number;
  /** @throws XlError for arguments that are wrong */
  compile(world: World, args: readonly string[]): Effect;
}

export const effect = (
  calls: readonly ToolCall[],
  failed: string | ((n: number) => string),
  more: Pick<Effect, 'output' | 'after' | 'undo'> = {},
): Effect => ({ calls, failed: typeof failed === 'string' ? () => failed : failed, ...more });
