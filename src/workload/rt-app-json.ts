/**
 * The JSON that rt-app files are written in: JSON plus comments, trailing commas, repeated keys (an event
 * may occur often, and the order is the program) and keys without a value (`"suspend",`), which rt-app's
 * front end `workgen` fills in.
 */
import { createScanner, type Node, type ParseError, parseTree, printParseErrorCode } from 'jsonc-parser';
import { ConfigError, type Place } from './config-error.js';

export type JsonValue = { readonly at: Place } & (
  | { readonly kind: 'object'; readonly members: readonly JsonMember[] }
  | { readonly kind: 'array'; readonly items: readonly JsonValue[] }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'boolean'; readonly value: boolean }
  | { readonly kind: 'null' }
  /** The key stands alone: no colon, no value. */
  | { readonly kind: 'nothing' }
);

export interface JsonMember {
  readonly key: string;
  /** Where the key stands. */
  readonly at: Place;
  readonly value: JsonValue;
}

/** rt-app nests six deep (file, tasks, task, phases, phase, timer); the library's parser is recursive. */
const MAX_DEPTH = 32;

const SYNTAX: Readonly<Record<ReturnType<typeof printParseErrorCode>, string>> = {
  InvalidSymbol: 'this is not JSON',
  InvalidNumberFormat: 'malformed number',
  PropertyNameExpected: 'a key in double quotes is expected here',
  ValueExpected: 'a value is expected here',
  ColonExpected: 'a colon is expected here',
  CommaExpected: 'a comma is expected here',
  CloseBraceExpected: 'a closing brace is expected here',
  CloseBracketExpected: 'a closing bracket is expected here',
  EndOfFileExpected: 'the end of the file is expected here',
  InvalidCommentToken: 'malformed comment',
  UnexpectedEndOfComment: 'the comment is not closed',
  UnexpectedEndOfString: 'the string is not closed',
  UnexpectedEndOfNumber: 'malformed number',
  InvalidUnicode: 'malformed \\u escape',
  InvalidEscapeCharacter: 'unknown escape in a string',
  InvalidCharacter: 'control character in a string',
  '<unknown ParseErrorCode>': 'syntax error',
};

/** Maps offsets to places, counting UTF-16 units as editors do. */
function locator(text: string, file: string): (offset: number) => Place {
  const starts = [0];
  for (let i = text.indexOf('\n'); i >= 0; i = text.indexOf('\n', i + 1)) starts.push(i + 1);
  return (offset) => {
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle]! <= offset) low = middle;
      else high = middle - 1;
    }
    return { file, line: low + 1, column: offset - starts[low]! + 1 };
  };
}

function refuseDeepNesting(text: string, place: (offset: number) => Place): void {
  const scanner = createScanner(text, true);
  let depth = 0;
  for (let before = -1; scanner.getPosition() > before; ) {
    before = scanner.getPosition();
    scanner.scan();
    // A string token keeps its quotes in the length, so that only the bare bracket is one long.
    if (scanner.getTokenLength() !== 1) continue;
    const token = text[scanner.getTokenOffset()];
    if (token === '{' || token === '[') depth++;
    else if (token === '}' || token === ']') depth--;
    if (depth > MAX_DEPTH) throw new ConfigError('nested too deeply', place(scanner.getTokenOffset()));
  }
}

/** A key without colon is legal only when nothing else stands before the next comma or brace. */
function isBareKey(text: string, error: ParseError): boolean {
  const next = text[error.offset];
  return printParseErrorCode(error.error) === 'ColonExpected' && (next === ',' || next === '}');
}

export function parseRtAppJson(text: string, file: string): JsonValue {
  const place = locator(text, file);
  refuseDeepNesting(text, place);

  const errors: ParseError[] = [];
  const root = parseTree(text, errors, { allowTrailingComma: true });
  const fault = errors.find((error) => !isBareKey(text, error));
  if (fault) throw new ConfigError(SYNTAX[printParseErrorCode(fault.error)], place(fault.offset));
  if (!root) throw new ConfigError('the file is empty', place(0));

  const convert = (node: Node): JsonValue => {
    const at = place(node.offset);
    const children = node.children ?? [];
    switch (node.type) {
      case 'object':
        return { kind: 'object', at, members: children.map(member) };
      case 'array':
        return { kind: 'array', at, items: children.map(convert) };
      case 'string':
        return { kind: 'string', at, value: String(node.value) };
      case 'number':
        return { kind: 'number', at, value: Number(node.value) };
      case 'boolean':
        return { kind: 'boolean', at, value: node.value === true };
      default:
        return { kind: 'null', at };
    }
  };
  const member = (node: Node): JsonMember => {
    const key = node.children?.[0];
    const value = node.children?.[1];
    const at = place(node.offset);
    return { key: String(key?.value), at, value: value ? convert(value) : { kind: 'nothing', at } };
  };
  return convert(root);
}

const NAMES: Readonly<Record<JsonValue['kind'], string>> = {
  object: 'an object',
  array: 'an array',
  string: 'a string',
  number: 'a number',
  boolean: 'true or false',
  null: 'null',
  nothing: 'nothing',
};

function wrongType(value: JsonValue, key: string, wanted: string): ConfigError {
  if (value.kind === 'nothing') return new ConfigError(`"${key}" has no value`, value.at);
  return new ConfigError(`"${key}" must be ${wanted}, not ${NAMES[value.kind]}`, value.at);
}

export function membersOf(value: JsonValue, key: string): readonly JsonMember[] {
  if (value.kind !== 'object') throw wrongType(value, key, 'an object');
  return value.members;
}

export function itemsOf(value: JsonValue, key: string): readonly JsonValue[] {
  if (value.kind !== 'array') throw wrongType(value, key, 'an array');
  return value.items;
}

/** A string that names something, so it may not be empty. */
export function nameOf(value: JsonValue, key: string): string {
  const text = textOf(value, key);
  if (text === '') throw new ConfigError(`"${key}" is empty`, value.at);
  return text;
}

export function textOf(value: JsonValue, key: string): string {
  if (value.kind !== 'string') throw wrongType(value, key, 'a string');
  return value.value;
}

export function flagOf(value: JsonValue, key: string): boolean {
  if (value.kind !== 'boolean') throw wrongType(value, key, 'true or false');
  return value.value;
}

export function integerOf(value: JsonValue, key: string, min: number, max: number): number {
  if (value.kind !== 'number') throw wrongType(value, key, 'an integer');
  const n = value.value;
  if (!Number.isInteger(n)) throw new ConfigError(`"${key}" must be an integer`, value.at);
  if (n < min || n > max) throw new ConfigError(`"${key}" is ${n}; it must be from ${min} to ${max}`, value.at);
  // JSON has a negative zero, which would make equal workloads differ.
  return n === 0 ? 0 : n;
}

/**
 * Collects members that may stand only once. A repeated one is refused because its meaning depends on the
 * reader: rt-app takes the last, `workgen` renames all but the first.
 */
export function once(values: Map<string, JsonValue>, member: JsonMember): void {
  if (values.has(member.key)) throw new ConfigError(`"${member.key}" is given twice`, member.at);
  values.set(member.key, member.value);
}

/** The fields of a small object; all of `needed` must be there, and nothing but `needed` and `allowed`. */
export function fieldsOf(value: JsonValue, key: string, needed: readonly string[], allowed: readonly string[] = []) {
  const fields = new Map<string, JsonValue>();
  for (const member of membersOf(value, key)) {
    if (!needed.includes(member.key) && !allowed.includes(member.key))
      throw new ConfigError(`unknown key "${member.key}" in "${key}"`, member.at);
    once(fields, member);
  }
  return {
    field(name: string): JsonValue {
      const field = fields.get(name);
      if (!field) throw new ConfigError(`"${key}" needs "${name}"`, value.at);
      return field;
    },
    optional: (name: string): JsonValue | undefined => fields.get(name),
  };
}
