/**
 * V8 settings for the machine's code: many small functions (accessors, list and heap steps) under hot ones. V8's own limits
 * stop inlining long before the leaves, and a call that is not inlined costs some 25 instructions and boxes its doubles
 * (measured: 1.3 to 1.7 × the events a second; docs/performance.md). The settings are the process's; they change no
 * result, only how code is compiled from now on.
 */
import { setFlagsFromString } from 'node:v8';

const FLAGS = ['--min-inlining-frequency=0.01', '--max-inlined-bytecode-size-cumulative=4500'];

/** Before the first worker starts. */
export function tuneCompiler(): void {
  for (const flag of FLAGS) setFlagsFromString(flag);
}
