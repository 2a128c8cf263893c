/**
 * An rt-app workload written inside a scenario, as YAML. It is turned into JSON text for the one parser of workloads, one
 * token a line, so that whatever that parser says about a line can be said about the YAML node the line came from.
 */
import { isMap, isScalar, isSeq } from 'yaml';
import { ConfigError, type Place } from '../workload/config-error.js';
import { parseRtApp } from '../workload/rt-app.js';
import type { Workload } from '../workload/workload.js';
import type { YamlFile, YamlPath } from './yaml-file.js';

/** Names the intermediate text in places that must never reach the user. */
const INTERMEDIATE = '\0inline';

/** rt-app nests six deep; an alias that contains itself would nest for ever. */
const MAX_DEPTH = 32;

class Emitter {
  readonly lines: string[] = [];
  readonly places: Place[] = [];
  readonly #yaml: YamlFile;

  constructor(yaml: YamlFile) {
    this.#yaml = yaml;
  }

  value(written: unknown, depth: number): void {
    const node = this.#yaml.resolve(written);
    const place = this.#yaml.placeOf(written);
    if (depth > MAX_DEPTH) throw new ConfigError(`a workload nests at most ${MAX_DEPTH} deep`, place);
    if (isMap(node)) {
      this.#token('{', place);
      for (const pair of node.items) this.#member(pair.key, pair.value, depth);
      this.#token('}', place);
    } else if (isSeq(node)) {
      this.#token('[', place);
      for (const item of node.items) {
        this.value(item, depth + 1);
        this.#token(',', this.#yaml.placeOf(item));
      }
      this.#token(']', place);
    } else {
      this.#token(this.#scalar(node, place), place);
    }
  }

  #member(key: unknown, value: unknown, depth: number): void {
    const place = this.#yaml.placeOf(key);
    const name = JSON.stringify(String(isScalar(key) ? key.value : key));
    const target = this.#yaml.resolve(value);
    // `suspend:` without a value is rt-app's key that stands alone.
    const alone = target === null || (isScalar(target) && target.value === null);
    this.#token(alone ? name : `${name}:`, place);
    if (!alone) this.value(value, depth + 1);
    this.#token(',', place);
  }

  #scalar(node: unknown, place: Place): string {
    const value = isScalar(node) ? node.value : undefined;
    const fits = typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value);
    if (!fits) throw new ConfigError('expected a string, a number or a boolean', place);
    return JSON.stringify(value);
  }

  #token(text: string, place: Place): void {
    this.lines.push(text);
    this.places.push(place);
  }
}

/** A copy of plain data with every place of the intermediate text replaced. */
function relocate(data: unknown, placeOf: (line: number) => Place): unknown {
  if (Array.isArray(data)) return data.map((item) => relocate(item, placeOf));
  if (typeof data !== 'object' || data === null) return data;
  if ('file' in data && data.file === INTERMEDIATE && 'line' in data) return placeOf(Number(data.line));
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, relocate(value, placeOf)]));
}

export function parseInlineWorkload(yaml: YamlFile, path: YamlPath): Workload {
  const emitter = new Emitter(yaml);
  emitter.value(yaml.node(path), 0);
  const { lines, places } = emitter;
  const placeOf = (line: number): Place => places[line - 1] ?? yaml.place(path);
  try {
    const workload = parseRtApp(lines.join('\n'), INTERMEDIATE);
    return { ...(relocate(workload, placeOf) as Workload), file: yaml.file };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const prefix = error.place ? `${error.place.file}:${error.place.line}:${error.place.column}: ` : '';
    const message = error.message.slice(prefix.length);
    throw new ConfigError(message, error.place ? placeOf(error.place.line) : yaml.place(path));
  }
}
