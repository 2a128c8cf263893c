/**
 * gnuplot files beside the logs (`global.gnuplot`), as rt-app 1.0 writes them: one for each task, with load, running time and
 * period, and two with those of all tasks. Names in them are relative, so gnuplot is run in the logs' folder.
 */
export interface PlottedTask {
  /** Its log without `.log`. */
  readonly stem: string;
  /** In the workload file. */
  readonly name: string;
  readonly policy: string;
}

export interface Plot {
  readonly file: string;
  readonly text: string;
}

interface Axes {
  readonly output: string;
  readonly title: string;
  readonly x: string;
  readonly y: string;
  /** Further settings. */
  readonly more?: readonly string[];
}

function plot({ output, title, x, y, more = [] }: Axes, curves: readonly string[]): string {
  const lines = [
    'set terminal postscript enhanced color',
    `set output '${output}.eps'`,
    'set grid',
    'set key outside right',
    `set title "${title}"`,
    `set xlabel "${x}"`,
    `set ylabel "${y}"`,
    ...more,
    `plot ${curves.join(', ')}`,
    'set terminal wxt',
    'replot',
    '',
  ];
  return lines.join('\n');
}

function taskPlot(basename: string, { stem, name }: PlottedTask): string {
  const curve = (column: number, title: string): string =>
    `"${stem}.log" u ($5/1000000):${column} w l title "${title} "`;
  const axes = {
    output: `${basename}-${name}`,
    title: `Measured ${name} Loop stats`,
    x: 'Loop start time [msec]',
    y: 'Run Time [msec]',
    // Blanks and all.
    more: ['set y2label "Load [nb loop]"', 'set y2tics  '],
  };
  return plot(axes, [`${curve(2, 'load')} axes x1y2`, curve(3, 'run'), `${curve(4, 'period')} `]);
}

const SUMMARIES = [
  { kind: 'period', column: 4, title: 'Measured time per loop', y: 'Period Time [usec]' },
  { kind: 'run', column: 3, title: 'Measured run time per loop', y: 'Run Time [usec]' },
] as const;

export function plots(basename: string, tasks: readonly PlottedTask[]): Plot[] {
  return [
    ...tasks.map((task) => ({ file: `${task.stem}.plot`, text: taskPlot(basename, task) })),
    ...SUMMARIES.map(({ kind, column, title, y }) => {
      const output = `${basename}-${kind}`;
      const curves = tasks.map(
        ({ stem, name, policy }) => `"${stem}.log" u ($5/1000):${column} w l title "thread [${name}] (${policy})"`,
      );
      return { file: `${output}.plot`, text: plot({ output, title, x: 'Loop start time [usec]', y }, curves) };
    }),
  ];
}
