/** A YAML file together with the place of every node in it, so that each complaint can point at what it is about. */
import { readFileSync } from 'node:fs';
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  parseDocument,
  visit,
  type YAMLMap,
} from 'yaml';
import { ConfigError, type Place } from '../workload/config-error.js';

export type YamlPath = readonly PropertyKey[];

/** Reads a text file that the user named; `from` is where they named it. */
export function readUserFile(file: string, from?: Place): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw readingError(file, error, from);
  }
}

/** Why a file cannot be read, in words. */
export function readingError(file: string, error: unknown, from?: Place): ConfigError {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: 'no such file',
    EISDIR: 'is a directory',
    EACCES: 'permission denied',
  };
  const reason = (typeof code === 'string' ? reasons[code] : undefined) ?? String(error);
  return new ConfigError(`${file}: ${reason}`, from);
}

/** Strings say which key they are, numbers which item; anything else is no key of ours. */
function sameKey(pair: Pair, key: PropertyKey): boolean {
  const written = isScalar(pair.key) ? pair.key.value : pair.key;
  return String(written) === String(key);
}

/** The library reads a plain `<<` as a symbol of its own. */
function isMergeKey(pair: Pair): boolean {
  return isScalar(pair.key) && typeof pair.key.value === 'symbol';
}

export class YamlFile {
  readonly file: string;
  /** The contents as plain data. */
  readonly data: unknown;
  readonly #document: Document.Parsed;
  readonly #lines = new LineCounter();

  constructor(text: string, file: string) {
    this.file = file;
    this.#document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false, merge: true });
    const fault = this.#document.errors[0] ?? this.#document.warnings[0];
    if (fault) throw new ConfigError(fault.message, this.#placeAt(fault.pos[0]));
    visit(this.#document, {
      Alias: (_, alias) => {
        if (alias.resolve(this.#document)) return;
        throw new ConfigError(`no anchor named '${alias.source}' before this`, this.placeOf(alias));
      },
    });
    try {
      this.data = this.#document.toJS({ maxAliasCount: 1000 }) ?? undefined;
    } catch (error) {
      throw new ConfigError(error instanceof Error ? error.message : String(error), this.#placeAt(0));
    }
  }

  static read(file: string): YamlFile {
    return new YamlFile(readUserFile(file), file);
  }

  #placeAt(offset: number): Place {
    const { line, col } = this.#lines.linePos(offset);
    return { file: this.file, line: Math.max(line, 1), column: Math.max(col, 1) };
  }

  #resolved(node: unknown): unknown {
    return isAlias(node) ? node.resolve(this.#document) : node;
  }

  #pair(map: YAMLMap, key: PropertyKey): Pair | undefined {
    const own = map.items.find((pair) => sameKey(pair, key));
    if (own) return own;
    for (const pair of map.items) {
      const merged = isMergeKey(pair) ? this.#resolved(pair.value) : undefined;
      for (const source of isSeq(merged) ? merged.items.map((item) => this.#resolved(item)) : [merged]) {
        const found = isMap(source) ? this.#pair(source, key) : undefined;
        if (found) return found;
      }
    }
    return undefined;
  }

  /** The node at `path`, aliases followed; undefined where nothing is written. */
  node(path: YamlPath): unknown {
    let node: unknown = this.#resolved(this.#document.contents);
    for (const key of path) {
      if (isMap(node)) node = this.#pair(node, key)?.value;
      else node = isSeq(node) ? node.items[Number(key)] : undefined;
      node = this.#resolved(node);
    }
    return node;
  }

  /** Follows an alias to what it stands for. */
  resolve(node: unknown): unknown {
    return this.#resolved(node);
  }

  placeOf(node: unknown): Place {
    return this.#placeAt(isNode(node) ? (node.range?.[0] ?? 0) : 0);
  }

  /** The place of the value at `path`, or of the nearest thing above it that is written down. */
  place(path: YamlPath): Place {
    return this.#find(path, false);
  }

  /** The place of the last key of `path`, where `place` gives that of its value. */
  keyPlace(path: YamlPath): Place {
    return this.#find(path, true);
  }

  #find(path: YamlPath, wantKey: boolean): Place {
    let node: unknown = this.#document.contents;
    let offset = isNode(node) ? (node.range?.[0] ?? 0) : 0;
    for (const [index, key] of path.entries()) {
      const inner = this.#resolved(node);
      let child: unknown;
      let keyNode: unknown;
      if (isMap(inner)) {
        const pair = this.#pair(inner, key);
        child = pair?.value;
        keyNode = pair?.key;
      } else if (isSeq(inner)) {
        child = inner.items[Number(key)];
      }
      const last = index === path.length - 1;
      // An empty value (`cap:`) has no text of its own: point at its key.
      const empty = isScalar(child) && (child.source ?? '') === '' && child.value === null;
      const shown = (last && wantKey) || child === null || empty ? (keyNode ?? child) : child;
      if (!isNode(shown) || !shown.range) break;
      offset = shown.range[0];
      node = child;
    }
    return this.#placeAt(offset);
  }
}
