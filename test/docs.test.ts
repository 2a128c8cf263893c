/** Documents that name files, regions and options name all of them, and none that is not there. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { loadScenario } from '../src/config/scenario.js';
import { buildMachine } from '../src/machine/build.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');
const documents = ['README.md', ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`)];

describe('documents', () => {
  it('link only to files that exist', () => {
    const lost = documents.flatMap((file) =>
      [...read(file).matchAll(/\]\(([^)#:]+)\)/g)]
        .map(([, target]) => join(dirname(file), target ?? ''))
        .filter((target) => !existsSync(join(ROOT, target)))
        .map((target) => `${file}: ${target}`),
    );
    expect(lost).to.deep.equal([]);
  });

  it('reading-order.md names every file of src once, the public ABI as a whole', () => {
    const named = [...read('docs/reading-order.md').matchAll(/`(src\/[\w./-]+\.ts)`/g)].map(([, file]) => file);
    const files = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
      .map((name) => `src/${name.replaceAll('\\', '/')}`)
      .filter((name) => name.endsWith('.ts') && !name.startsWith('src/shared/public/'));
    expect([...named].sort()).to.deep.equal(files.sort());
  });

  it('memory-map.md draws the regions of the main job in their order', () => {
    const drawing = read('docs/memory-map.md').split('```')[1] ?? '';
    const drawn = [...drawing.matchAll(/^[0-9a-f]{8} {2}[0-9a-f]{8} {2}(\S+)/gm)].map(([, name]) => name);
    const { config } = loadScenario(join(ROOT, 'examples/fair-share.yaml'));
    const { image } = buildMachine(config, 1);
    expect(drawn).to.deep.equal(image.map.map(({ name }) => name));
  });

  it('README.md lists the options of the command', () => {
    const options = (text: string): string[] =>
      [...new Set([...text.matchAll(/--[a-z][a-z-]+/g)].map(([option]) => option))].sort();
    const table = read('README.md').split('## Command')[1]?.split('## Library')[0] ?? '';
    const main = read('src/cli/main.ts').matchAll(/(?:\.option|new Option)\('(?:-\w, )?(--[a-z-]+)/g);
    // Both commands take --json.
    expect(options(table)).to.deep.equal([...new Set([...main].map(([, option]) => option))].sort());
  });
});
