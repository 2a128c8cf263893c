/** Checks YAML against a zod schema, and says what is wrong where it is written. */
import { z } from 'zod';
import { ConfigError, type Place } from '../workload/config-error.js';
import type { YamlFile, YamlPath } from './yaml-file.js';

type Issue = z.core.$ZodIssue;

/** A value as the user would name it. */
function describe(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  return typeof value === 'string' ? `'${value}'` : String(value);
}

const EXPECTED: Readonly<Record<string, string>> = {
  array: 'a list',
  object: 'a mapping',
  record: 'a mapping',
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
};

function valueAt(data: unknown, path: YamlPath): unknown {
  return path.reduce<unknown>((inner, key) => {
    return typeof inner === 'object' && inner !== null ? (inner as Record<PropertyKey, unknown>)[key] : undefined;
  }, data);
}

/** The keys a mapping of the schema may have, for the list in the message. */
function knownKeys(schema: z.ZodType, path: YamlPath): string[] {
  let inner: z.ZodType = schema;
  for (const key of path) {
    while (inner instanceof z.ZodOptional) inner = inner.unwrap() as z.ZodType;
    if (inner instanceof z.ZodObject) inner = inner.shape[String(key)] as z.ZodType;
    else if (inner instanceof z.ZodArray) inner = inner.element as z.ZodType;
    else return [];
  }
  while (inner instanceof z.ZodOptional) inner = inner.unwrap() as z.ZodType;
  return inner instanceof z.ZodObject ? Object.keys(inner.shape) : [];
}

function complaint(issue: Issue, schema: z.ZodType, value: unknown): string {
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = knownKeys(schema, issue.path);
      const hint = known.length > 0 ? `; known: ${known.join(', ')}` : '';
      return `unknown key '${issue.keys[0]}'${hint}`;
    }
    case 'invalid_type':
      return `expected ${EXPECTED[issue.expected] ?? issue.expected}, got ${describe(value)}`;
    case 'invalid_value':
      return `expected ${issue.values.map(String).join(' or ')}, got ${describe(value)}`;
    case 'invalid_union':
      return `${issue.message}, got ${describe(value)}`;
    default:
      return issue.message;
  }
}

/** @throws ConfigError for the first fault in reading order; `path` is where in the file `data` stands */
export function validate<T>(schema: z.ZodType<T>, yaml: YamlFile, path: YamlPath, data: unknown): T {
  const parsed = schema.safeParse(data);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue): [Place, string] => {
    const at = [...path, ...issue.path];
    const place = issue.code === 'unrecognized_keys' ? yaml.keyPlace([...at, issue.keys[0] ?? '']) : yaml.place(at);
    const name = issue.path.at(-1);
    const subject = typeof name === 'string' && issue.code !== 'unrecognized_keys' ? `${name}: ` : '';
    return [place, subject + complaint(issue, schema, valueAt(data, issue.path))];
  });
  faults.sort(([a], [b]) => a.line - b.line || a.column - b.column);
  const first = faults[0];
  throw new ConfigError(first?.[1] ?? 'invalid', first?.[0]);
}
