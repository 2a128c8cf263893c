/**
 * The grammar of xl.cfg files: settings in order, each value with its place. What the settings mean is xl-guest.ts.
 *
 * Source: xl.cfg(5) and the behaviour of libxlutil 4.17. Looser than it in two points, where nothing can be
 * misread: a comment may end the file without a newline, and lines may end in CR LF.
 */
import { ConfigError, type Place } from '../workload/config-error.js';

export type XlValue = {
  readonly at: Place;
} /** `text` is the number as written: xl reads an unquoted number as a string where it wants one. */ & (
  | { readonly kind: 'number'; readonly value: number; readonly text: string }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'list'; readonly items: readonly XlValue[] }
);

export interface XlSetting {
  readonly name: string;
  readonly op: '=' | '+=';
  readonly value: XlValue;
  /** Where the name stands. */
  readonly at: Place;
}

export interface XlConfig {
  readonly file: string;
  readonly settings: readonly XlSetting[];
}

/** Guards the recursion; real files nest two deep (`vnuma`). */
const MAX_DEPTH = 32;

const ESCAPES: Readonly<Record<string, string>> = {
  ...{ '"': '"', "'": "'", '\\': '\\' },
  ...{ a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' },
};

/** As C's strtol with base 0: 0x hexadecimal, 0 octal, otherwise decimal. `undefined` = not a number. */
export function parseXlNumber(text: string): number | undefined {
  if (!/^(0x[0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$/.test(text)) return undefined;
  const value = /^0[0-7]+$/.test(text) ? Number.parseInt(text, 8) : Number(text);
  return Number.isSafeInteger(value) ? value : undefined;
}

class XlParser {
  readonly #text: string;
  readonly #file: string;
  #offset = 0;
  #line = 1;
  #lineStart = 0;

  constructor(text: string, file: string) {
    this.#text = text;
    this.#file = file;
  }

  settings(): readonly XlSetting[] {
    const settings: XlSetting[] = [];
    for (;;) {
      while (this.#newline() || this.#take(/;/y) !== undefined) {}
      if (this.#atEnd()) return settings;
      settings.push(this.#setting());
      if (!this.#atEnd() && !this.#newline() && this.#take(/;/y) === undefined)
        throw this.#unexpected('a newline or ";" between settings');
    }
  }

  #setting(): XlSetting {
    const at = this.#place();
    const name = this.#take(/[a-z][._0-9a-z]*/y);
    if (name === undefined) throw this.#unexpected('the name of a setting (lower case)');
    const op = this.#take(/\+?=/y);
    if (op === undefined) throw this.#unexpected(`"=" or "+=" after "${name}"`);
    return { name, op: op === '=' ? '=' : '+=', value: this.#value(0), at };
  }

  #value(depth: number): XlValue {
    this.#skipBlanks();
    const at = this.#place();
    const number = this.#take(/[0-9][0-9a-zA-Z_.]*/y);
    if (number !== undefined) {
      const value = parseXlNumber(number);
      if (value === undefined) throw new ConfigError(`"${number}" is not a number (text needs quotes)`, at);
      return { kind: 'number', at, value, text: number };
    }
    const quoted = this.#take(/'(?:[^'\\\n]|\\[^\n])*'|"(?:[^"\\\n]|\\[^\n])*"/y);
    if (quoted !== undefined) return { kind: 'string', at, value: unquote(quoted, at) };
    if (this.#take(/["']/y) !== undefined) throw new ConfigError('the string is not closed on its line', at);
    if (this.#take(/\[/y) === undefined) throw this.#unexpected('a number, a quoted string or "["');
    if (depth === MAX_DEPTH) throw new ConfigError('lists are nested too deeply', at);
    return { kind: 'list', at, items: this.#items(depth + 1) };
  }

  /** What follows `[`. Newlines count for nothing in here, and a last comma is allowed. */
  #items(depth: number): readonly XlValue[] {
    const items: XlValue[] = [];
    this.#newlines();
    while (this.#take(/\]/y) === undefined) {
      items.push(this.#value(depth));
      this.#newlines();
      const comma = this.#take(/,/y) !== undefined;
      this.#newlines();
      if (!comma && !this.#sees(']')) throw this.#unexpected('"," or "]"');
    }
    return items;
  }

  #newlines(): void {
    while (this.#newline()) {}
  }

  /** Takes a line's end, with the comment before it. */
  #newline(): boolean {
    const taken = this.#take(/#[^\n]*(?:\n|$)|\r?\n/y);
    if (taken === undefined) return false;
    if (taken.endsWith('\n')) {
      this.#line++;
      this.#lineStart = this.#offset;
    }
    return true;
  }

  /** Takes a token after blanks; the blanks are taken in any case. */
  #take(token: RegExp): string | undefined {
    this.#skipBlanks();
    token.lastIndex = this.#offset;
    const taken = token.exec(this.#text)?.[0];
    this.#offset += taken?.length ?? 0;
    return taken;
  }

  #skipBlanks(): void {
    while (this.#sees(' ') || this.#sees('\t')) this.#offset++;
  }

  #sees(character: string): boolean {
    return this.#text[this.#offset] === character;
  }

  #atEnd(): boolean {
    return this.#offset >= this.#text.length;
  }

  #place(): Place {
    return { file: this.#file, line: this.#line, column: this.#offset - this.#lineStart + 1 };
  }

  #unexpected(wanted: string): ConfigError {
    const code = this.#text.codePointAt(this.#offset);
    const found = code === undefined ? 'the end of the file' : JSON.stringify(String.fromCodePoint(code));
    return new ConfigError(`${wanted} is expected here, not ${found}`, this.#place());
  }
}

function unquote(quoted: string, at: Place): string {
  return quoted.slice(1, -1).replace(/\\(.)/gs, (_, character: string) => {
    const meant = ESCAPES[character];
    if (meant !== undefined) return meant;
    // libxlutil refuses \x and loses octal characters, so no file can rely on either.
    throw new ConfigError(`unknown escape "\\${character}" in a string`, {
      ...at,
      column: at.column + 1 + quoted.slice(1).indexOf(`\\${character}`),
    });
  });
}

/** @throws ConfigError with the place of the first fault */
export function parseXlCfg(text: string, file: string): XlConfig {
  return { file, settings: new XlParser(text, file).settings() };
}
