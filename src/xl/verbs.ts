/** xl's verbs on a machine that is up: arguments in, what xl would print and its exit code out. */
import { COMMANDS } from './commands.js';
import { QUERIES } from './queries.js';
import type { Session } from './session.js';
import { XlError } from './xl-error.js';

export interface Answer {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number;
}

/** Options by which a verb that is both a question and a command becomes a command. */
const CHANGING: Readonly<Record<string, RegExp>> = {
  'sched-credit': /^(-[wctrm]|--(weight|cap|tslice_ms|ratelimit_us|migration_delay_us))(=|$)/,
  'sched-credit2': /^(-[wcr]|--(weight|cap|ratelimit_us))(=|$)/,
  'sched-sedf': /^(-[pslew]|--(period|slice|latency|extra|weight))(=|$)/,
};

async function run(session: Session, name: string, args: readonly string[], cwd: string): Promise<string> {
  const query = QUERIES[name];
  const changing = CHANGING[name];
  if (query !== undefined && (changing === undefined || !args.some((arg) => changing.test(arg)))) {
    return query.run(session, args);
  }
  if (name === 'create') {
    await session.create(args[0]!, cwd);
    return '';
  }
  const world = await session.world({ params: changing !== undefined });
  const effect = COMMANDS[name]!.compile(world, args);
  await session.carryOut(effect, world);
  return effect.output ?? '';
}

function help(): string {
  const titles = [...Object.entries(QUERIES), ...Object.entries(COMMANDS)].map(
    ([name, { title }]) => [name, title] as const,
  );
  const rows = [...new Map(titles)]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([name, title]) => ` ${name.padEnd(19)} ${title}\n`);
  return `Usage: ringzero xl [--socket PATH] <subcommand> [args]\n\nxl full list of subcommands:\n\n${rows.join('')}`;
}

/**
 * @param cwd where the user is
 * @returns what xl would print; never throws for what the user wrote
 */
export async function xl(session: Session, args: readonly string[], cwd = '.'): Promise<Answer> {
  const [name, ...rest] = args;
  if (name === undefined || name === 'help') return { stdout: help(), stderr: '', code: name === undefined ? 1 : 0 };
  const verb = [QUERIES, COMMANDS].find((verbs) => Object.hasOwn(verbs, name))?.[name];
  if (verb === undefined) return { stdout: '', stderr: `command "${name}" not implemented\n`, code: 1 };
  const usage = `Usage: xl ${name} ${verb.usage}\n\n${verb.title}.\n`;
  if (rest[0] === '-h' || rest[0] === '--help') return { stdout: usage, stderr: '', code: 0 };
  if (rest.length < verb.least) {
    const count = `at least ${verb.least} argument${verb.least === 1 ? '' : 's'}`;
    return { stdout: '', stderr: `'xl ${name}' requires ${count}.\n\n${usage}`, code: 1 };
  }
  try {
    return { stdout: await run(session, name, rest, cwd), stderr: '', code: 0 };
  } catch (error) {
    if (!(error instanceof XlError)) throw error;
    return { stdout: '', stderr: `${error.message}\n`, code: 1 };
  }
}
