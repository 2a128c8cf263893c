/**
 * Rooms and doors: every file belongs to a room, a room knows only the rooms before it, and no file knows itself by a
 * detour. Imports of types count: they, too, say who has to be read first.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SRC = join(ROOT, 'src');

/** Room → rooms it may import from, besides itself. They stand in reading order: each knows only earlier ones. */
const DOORS: Readonly<Record<string, readonly string[]>> = {
  shared: [],
  // Beside the others: the tree that a workload file is parsed to. Knows nothing of ours.
  workload: [],
  // And what executables are.
  loader: ['shared'],
  // Beside the others, too: what domain 0's tools say to the hypervisor, as data.
  toolstack: ['shared'],
  // And what domain 0's xenstored answers, to whomever its messages come from.
  xenstore: ['shared'],
  balancer: ['shared'],
  hv: ['shared', 'balancer'],
  devices: ['shared', 'hv'],
  pcpu: ['shared', 'balancer', 'hv', 'devices', 'xenstore'],
  machine: ['shared', 'xenstore', 'workload', 'loader', 'toolstack', 'balancer', 'hv', 'devices', 'pcpu'],
  gdb: ['workload', 'pcpu', 'machine'],
  xl: ['shared', 'workload', 'toolstack', 'machine'],
  config: ['shared', 'workload', 'loader', 'toolstack', 'machine', 'xl'],
  report: ['toolstack', 'machine', 'config'],
  cli: ['workload', 'machine', 'gdb', 'config', 'report', 'xl'],
  'index.ts': ['workload', 'hv', 'pcpu', 'machine', 'config', 'report'],
};

/** Packages that a room may use; all others are for the rooms that talk to users. */
const PACKAGES: Readonly<Record<string, RegExp>> = {
  // The simulated machine is ours alone: nothing but Node's own modules may take part in a turn.
  shared: /^node:/,
  balancer: /^node:/,
  hv: /^node:/,
  devices: /^node:/,
  xenstore: /^node:/,
  pcpu: /^(node:|iced-x86$|comlink$|comlink\/)/,
  gdb: /^node:/,
  machine: /^(node:|amaro$|comlink$|comlink\/|piscina$|simple-statistics$|hdr-histogram-js$|pure-rand\/)/,
};

interface Import {
  readonly from: string;
  readonly specifier: string;
}

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => name.replaceAll('\\', '/'))
    .sort();
}

/** Text without comments and template literals, so that an import in an example is none. */
function codeOf(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
}

/** Static, re-exporting, side-effect and dynamic imports, and import types. */
function importsOf(file: string): Import[] {
  const code = codeOf(readFileSync(join(SRC, file), 'utf8'));
  const statements = code.matchAll(
    /\b(?:import|export)\b[^'";()]*?\bfrom\s*(['"])(.*?)\1|\bimport\s*(['"])(.*?)\3|\bimport\s*\(\s*(['"])(.*?)\5/g,
  );
  return [...statements].map((match) => ({ from: file, specifier: match[2] ?? match[4] ?? match[6] ?? '' }));
}

const files = filesUnder(SRC);
const imports = files.flatMap(importsOf);
const roomOf = (file: string): string => file.split('/')[0] ?? '';
const isOurs = ({ specifier }: Import): boolean => specifier.startsWith('.');
const target = ({ from, specifier }: Import): string =>
  relative(SRC, join(SRC, dirname(from), specifier))
    .replaceAll('\\', '/')
    .replace(/\.js$/, '.ts');

/** A way from a file back to itself. */
function findCycle(edges: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>();
  const path: string[] = [];
  function visit(file: string): string[] | undefined {
    const at = path.indexOf(file);
    if (at >= 0) return [...path.slice(at), file];
    if (done.has(file)) return undefined;
    path.push(file);
    for (const next of edges.get(file) ?? []) {
      const cycle = visit(next);
      if (cycle) return cycle;
    }
    path.pop();
    done.add(file);
    return undefined;
  }
  for (const file of edges.keys()) {
    const cycle = visit(file);
    if (cycle) return cycle;
  }
  return undefined;
}

describe('rooms and doors', () => {
  it('finds the imports at all', () => {
    expect(files.length).to.be.greaterThan(60);
    expect(imports.filter(isOurs).length).to.be.greaterThan(200);
    const worker = imports.filter(({ from }) => from === 'pcpu/worker.ts').map(({ specifier }) => specifier);
    expect(worker).to.include.members(['node:worker_threads', 'comlink', './ordered-loop.js', './free-loop.js']);
    const main = imports.filter(({ from }) => from === 'cli/main.ts').map(({ specifier }) => specifier);
    expect(main, 'a dynamic import').to.include('../machine/machine.js');
  });

  it('has a room for every file', () => {
    const homeless = files.filter((file) => !Object.hasOwn(DOORS, roomOf(file)));
    expect(homeless).to.deep.equal([]);
  });

  it('lists the rooms in reading order: every door leads to an earlier one', () => {
    const rooms = Object.keys(DOORS);
    for (const [room, doors] of Object.entries(DOORS)) {
      for (const door of doors)
        expect(rooms.indexOf(door), `${room} → ${door}`).to.be.within(0, rooms.indexOf(room) - 1);
    }
  });

  it('imports only files that exist, with the ending they have when built', () => {
    const known = new Set(files);
    const lost = imports.filter((i) => isOurs(i) && !(i.specifier.endsWith('.js') && known.has(target(i))));
    expect(lost.map(({ from, specifier }) => `${from}: ${specifier}`)).to.deep.equal([]);
  });

  it('goes through no door the wrong way', () => {
    const breaches = imports.filter((i) => {
      if (!isOurs(i)) return false;
      const [from, to] = [roomOf(i.from), roomOf(target(i))];
      return from !== to && !DOORS[from]?.includes(to);
    });
    expect(breaches.map((i) => `${i.from} → ${target(i)}`)).to.deep.equal([]);
  });

  it('has no door that nobody uses', () => {
    const used = new Set(imports.filter(isOurs).map((i) => `${roomOf(i.from)} → ${roomOf(target(i))}`));
    const unused = Object.entries(DOORS).flatMap(([room, doors]) =>
      doors.map((door) => `${room} → ${door}`).filter((door) => room !== 'index.ts' && !used.has(door)),
    );
    expect(unused).to.deep.equal([]);
  });

  it('has no cycle between files', () => {
    const edges = new Map(files.map((file) => [file, imports.filter((i) => i.from === file && isOurs(i)).map(target)]));
    expect(findCycle(edges)?.join(' → ')).to.equal(undefined);
  });

  it('keeps packages out of the rooms that take turns', () => {
    const strangers = imports.filter((i) => !isOurs(i) && PACKAGES[roomOf(i.from)]?.test(i.specifier) === false);
    expect(strangers.map(({ from, specifier }) => `${from}: ${specifier}`)).to.deep.equal([]);
  });

  it('lets only the worker entry, the machine and who unpacks kernels know threads', () => {
    const known = [
      ...['pcpu/worker.ts', 'pcpu/comlink-node.d.ts', 'machine/machine.ts'],
      ...['loader/unpack-now.ts', 'loader/unpack-worker.ts'],
    ];
    const users = new Set(
      imports.filter(({ specifier }) => specifier === 'node:worker_threads').map(({ from }) => from),
    );
    expect([...users].filter((file) => !known.includes(file))).to.deep.equal([]);
  });
});

describe('cycle finder', () => {
  it('finds a cycle of any length and reports the way', () => {
    const edges = new Map([
      ['a', ['b']],
      ['b', ['c', 'd']],
      ['c', []],
      ['d', ['b']],
    ]);
    expect(findCycle(edges)).to.deep.equal(['b', 'd', 'b']);
    expect(findCycle(new Map([['a', ['a']]]))).to.deep.equal(['a', 'a']);
  });

  it('does not take two ways to one file for a cycle', () => {
    const edges = new Map([
      ['a', ['b', 'c']],
      ['b', ['d']],
      ['c', ['d']],
      ['d', []],
    ]);
    expect(findCycle(edges)).to.equal(undefined);
  });
});
