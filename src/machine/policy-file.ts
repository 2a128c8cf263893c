/** Reads a scheduling policy from the user's file: TypeScript without its types, every character in its place, or JavaScript. */
import { readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { loadPolicy, type UserPolicy } from '../hv/sched/user-policy.js';
import { ConfigError } from '../workload/config-error.js';

const TYPESCRIPT = ['.ts', '.mts'];
const EXTENSIONS = [...TYPESCRIPT, '.js', '.mjs'];

/** Whether a scheduler is named by its file. */
export const isPolicyFile = (scheduler: string): boolean => EXTENSIONS.includes(extname(scheduler));

/** What the type stripper throws; columns count from 0. */
interface Unstrippable {
  readonly message: string;
  readonly startLine: number;
  readonly startColumn: number;
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : error;
    throw new ConfigError(`${file}: ${code === 'ENOENT' ? 'no such file' : code}`);
  }
}

/** Where in the file an error came from, `:line:column`; empty when it did not. */
export function placeIn(file: string, error: unknown): string {
  const stack = error instanceof Error ? (error.stack ?? '') : '';
  const at = stack.indexOf(`${file}:`);
  return at < 0 ? '' : (/^(:\d+)+/.exec(stack.slice(at + file.length))?.[0] ?? '');
}

/**
 * Reads and loads a policy in this thread.
 * @returns what every worker needs to load it, too
 * @throws ConfigError with the place of the fault
 */
export async function readPolicy(file: string): Promise<UserPolicy> {
  const text = read(file);
  let code = text;
  if (TYPESCRIPT.includes(extname(file))) {
    // Only for those who need it: a compiler in WebAssembly.
    const { transformSync } = await import('amaro');
    try {
      code = transformSync(text, { mode: 'strip-only' }).code;
    } catch (error) {
      const { message, startLine, startColumn } = error as Unstrippable;
      throw new ConfigError(message, { file, line: startLine, column: startColumn + 1 });
    }
  }
  const imported = /^\s*(?:import|export)\b[^'"\n]*\bfrom\s*['"]([^'"]+)['"]|^\s*import\s*['"]([^'"]+)['"]/m.exec(code);
  if (imported !== null) {
    const line = code.slice(0, imported.index).split('\n').length + (/^\s*\n/.test(imported[0]) ? 1 : 0);
    throw new ConfigError(`a policy imports types only ('import type'): "${imported[1] ?? imported[2]}"`, {
      file,
      line,
      column: 1,
    });
  }
  const policy = { file, code };
  try {
    await loadPolicy(policy);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigError(reason.startsWith(file) ? reason : `${file}${placeIn(file, error)}: ${reason}`);
  }
  return policy;
}
