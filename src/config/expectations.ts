/**
 * Expectations: what a scenario says must come out of a run. Each item of `expect:` names a quantity, whose it is (a domain,
 * a pCPU, or the whole machine when neither is said) and a comparison. A run with a failed expectation exits with 1.
 * The grammar for users is in docs/scenario.md.
 */
import { z } from 'zod';
import type { DomainResult, RunResult } from '../machine/result.js';
import { ConfigError, type Place } from '../workload/config-error.js';
import { type Comparison, describeComparison, holds, parseComparison, type ValueKind } from './comparison.js';
import { type LatencyField, latencyKind, QUANTITIES, type Quantity } from './quantities.js';
import type { YamlFile, YamlPath } from './yaml-file.js';
import { validate } from './yaml-schema.js';

type Scope =
  | { readonly kind: 'machine' }
  | { readonly kind: 'domain'; readonly name: string }
  | { readonly kind: 'pcpu'; readonly id: number };

export interface Expectation {
  readonly place: Place;
  /** Key of QUANTITIES. */
  readonly quantity: string;
  readonly scope: Scope;
  /** Latency field, task or counter name; empty when the quantity has none. */
  readonly detail: string;
  /** Which service, of a latency that has names; empty for the only one. */
  readonly name: string;
  /** A word is compared as it stands. */
  readonly want: Comparison | { readonly kind: 'word'; readonly word: string };
}

export interface Verdict {
  readonly place: Place;
  readonly ok: boolean;
  /** `share of batch`. */
  readonly subject: string;
  /** `= 33.30 % +- 1.00 %`. */
  readonly expected: string;
  readonly measured: string;
}

/** What there is to have expectations about. */
export interface ExpectationContext {
  /** A guest's name in the scenario → the domains made of it. */
  readonly domains: ReadonlyMap<string, readonly string[]>;
  readonly pcpus: number;
}

const scalar = z.union([z.string(), z.number()], { error: () => 'expected a value or a comparison' }).transform(String);
const names = z
  .union([z.string(), z.array(z.string())], { error: () => 'expected the name of a domain, or a list of names' })
  .transform((name) => (Array.isArray(name) ? name : [name]));
const field = scalar.optional();

const bodySchema = z.strictObject({
  domain: names.optional(),
  pcpu: z.union([z.int(), z.literal('*')], { error: () => "expected a pCPU number, or '*' for each" }).optional(),
  task: field,
  name: field,
  is: field,
  within: field,
  p50: field,
  p95: field,
  p99: field,
  'p99.9': field,
  max: field,
  mean: field,
  count: field,
});
type Body = z.infer<typeof bodySchema>;

export class ExpectationReader {
  readonly #yaml: YamlFile;
  readonly #context: ExpectationContext;

  constructor(yaml: YamlFile, context: ExpectationContext) {
    this.#yaml = yaml;
    this.#context = context;
  }

  read(items: readonly Readonly<Record<string, unknown>>[]): Expectation[] {
    return items.flatMap((item, index) => {
      const entries = Object.entries(item);
      const entry = entries[0];
      if (entry === undefined || entries.length > 1) {
        this.#fail(['expect', index], 'one quantity per item');
      }
      return this.#item(['expect', index, entry[0]], entry[0], entry[1]);
    });
  }

  #fail(path: YamlPath, message: string): never {
    throw new ConfigError(message, this.#yaml.place(path));
  }

  #item(path: YamlPath, name: string, body: unknown): Expectation[] {
    const quantity = Object.hasOwn(QUANTITIES, name) ? QUANTITIES[name] : undefined;
    if (quantity === undefined) {
      const known = Object.keys(QUANTITIES).join(', ');
      throw new ConfigError(`unknown quantity '${name}'; known: ${known}`, this.#yaml.keyPlace(path));
    }
    const short = typeof body === 'string' || typeof body === 'number';
    const full: Body = short ? { is: String(body) } : validate(bodySchema, this.#yaml, path, body);
    const scopes = this.#scopes(path, name, quantity, full);
    const wants = this.#wants(short ? undefined : path, path, quantity, full);
    const place = this.#yaml.keyPlace(path);
    const which = quantity.type === 'latency' ? (full.name ?? '') : '';
    return scopes.flatMap((scope) => wants.map((want) => ({ place, quantity: name, scope, name: which, ...want })));
  }

  #scopes(path: YamlPath, name: string, quantity: Quantity, body: Body): Scope[] {
    if (body.domain !== undefined && body.pcpu !== undefined) this.#fail(path, 'either a domain or a pcpu, not both');
    if (body.domain !== undefined) {
      if (!quantity.domain) this.#fail([...path, 'domain'], `'${name}' is not a domain's`);
      return body.domain.flatMap((domain) => this.#domains([...path, 'domain'], domain));
    }
    if (body.pcpu !== undefined) {
      if (quantity.type !== 'number' || !quantity.pcpu) this.#fail([...path, 'pcpu'], `'${name}' is not a pCPU's`);
      return this.#pcpus([...path, 'pcpu'], body.pcpu);
    }
    if (quantity.type === 'latency' || !quantity.machine) {
      const whose = quantity.domain ? 'domain: NAME' : 'pcpu: N';
      this.#fail(path, `whose ${name}? Add '${whose}'`);
    }
    return [{ kind: 'machine' }];
  }

  /** A guest's name means all its instances; `*` stands for any text. */
  #domains(path: YamlPath, pattern: string): Scope[] {
    const { domains } = this.#context;
    const regex = new RegExp(`^${pattern.split('*').map(escapeRegex).join('.*')}$`);
    const all = [...domains.values()].flat();
    const found = domains.get(pattern) ?? all.filter((name) => regex.test(name));
    if (found.length === 0) this.#fail(path, `no domain named '${pattern}'; there are: ${all.join(', ')}`);
    return found.map((name) => ({ kind: 'domain', name }));
  }

  #pcpus(path: YamlPath, wanted: number | '*'): Scope[] {
    const { pcpus } = this.#context;
    if (wanted === '*') return Array.from({ length: pcpus }, (_, id) => ({ kind: 'pcpu', id }));
    if (wanted < 0 || wanted >= pcpus) this.#fail(path, `no pCPU ${wanted}: the machine has ${pcpus}`);
    return [{ kind: 'pcpu', id: wanted }];
  }

  /** `bodyPath` is absent when the comparison stands directly behind the quantity. */
  #wants(
    bodyPath: YamlPath | undefined,
    path: YamlPath,
    quantity: Quantity,
    body: Body,
  ): Pick<Expectation, 'detail' | 'want'>[] {
    const at = (key: string): YamlPath => (bodyPath ? [...bodyPath, key] : path);
    this.#refuseStrangeKeys(quantity, body, at);
    if (quantity.type === 'latency') {
      const given = quantity.fields.filter((key) => body[key] !== undefined);
      if (given.length === 0) this.#fail(path, `compare one of ${quantity.fields.join(', ')}`);
      return given.map((key) => ({
        detail: key,
        want: this.#comparison(at(key), body[key] ?? '', body.within, latencyKind(key)),
      }));
    }
    if (body.is === undefined) this.#fail(path, "expected a comparison under 'is'");
    if (quantity.type === 'word') {
      if (quantity.words && !quantity.words.includes(body.is)) {
        this.#fail(at('is'), `expected one of ${quantity.words.join(', ')}, got '${body.is}'`);
      }
      return [{ detail: '', want: { kind: 'word', word: body.is } }];
    }
    const detail = quantity.detail ? body[quantity.detail.key] : '';
    if (detail === undefined && quantity.detail?.required) this.#fail(path, `which one? Add '${quantity.detail.key}'`);
    const want = this.#comparison(at('is'), body.is, body.within, quantity.kind);
    if (want.kind === 'fair' && (body.domain === undefined || quantity !== QUANTITIES.share)) {
      this.#fail(at('is'), "'fair' is for the share of a domain");
    }
    return [{ detail: detail ?? '', want }];
  }

  #refuseStrangeKeys(quantity: Quantity, body: Body, at: (key: string) => YamlPath): void {
    const allowed = new Set<string>(['domain', 'pcpu']);
    if (quantity.type === 'latency') for (const key of quantity.fields) allowed.add(key);
    else allowed.add('is');
    if (quantity.type === 'latency' && quantity.hasNames) allowed.add('name');
    if (quantity.type !== 'word') allowed.add('within');
    if (quantity.type === 'number' && quantity.detail) allowed.add(quantity.detail.key);
    const strange = Object.entries(body).find(([key, value]) => value !== undefined && !allowed.has(key));
    if (strange) {
      const place = this.#yaml.keyPlace(at(strange[0]));
      throw new ConfigError(`'${strange[0]}' does not apply here; known: ${[...allowed].join(', ')}`, place);
    }
  }

  #comparison(path: YamlPath, text: string, within: string | undefined, kind: ValueKind): Comparison {
    const comparison = parseComparison(text, within, kind);
    return typeof comparison === 'string' ? this.#fail(path, comparison) : comparison;
  }
}

/** RegExp.escape came after Node 20. */
function escapeRegex(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

function subjectOf({ quantity, scope, detail, name }: Expectation): string {
  const what = [quantity, name, detail].filter((part) => part !== '').join(' ');
  if (scope.kind === 'domain') return `${what} of ${scope.name}`;
  return scope.kind === 'pcpu' ? `${what} of pCPU ${scope.id}` : what;
}

/** The word or number an expectation is about; NaN or undefined when the run did not measure it. */
function measure(
  expectation: Expectation,
  result: RunResult,
  domain: DomainResult | undefined,
): string | number | undefined {
  const { quantity: name, scope, detail } = expectation;
  const quantity = QUANTITIES[name];
  if (quantity === undefined) return undefined;
  if (quantity.type === 'latency') return domain && quantity.domain(domain, detail as LatencyField, expectation.name);
  if (quantity.type === 'word') return domain ? quantity.domain?.(domain) : quantity.machine?.(result);
  if (scope.kind === 'machine') return quantity.machine?.(result, detail);
  if (scope.kind === 'domain') return domain && quantity.domain?.(domain, detail, result);
  const pcpu = result.pcpus.find(({ id }) => id === scope.id);
  return pcpu && quantity.pcpu?.(pcpu);
}

function kindOf({ quantity: name, detail }: Expectation): ValueKind | undefined {
  const quantity = QUANTITIES[name];
  if (quantity?.type === 'number') return quantity.kind;
  return quantity?.type === 'latency' ? latencyKind(detail as LatencyField) : undefined;
}

export function checkExpectations(expectations: readonly Expectation[], result: RunResult): Verdict[] {
  return expectations.map((expectation) => {
    const { place, scope, want } = expectation;
    const domain = scope.kind === 'domain' ? result.domains.find(({ name }) => name === scope.name) : undefined;
    const measured = measure(expectation, result, domain);
    const subject = subjectOf(expectation);
    if (want.kind === 'word') {
      return {
        place,
        subject,
        ok: measured === want.word,
        expected: `= ${want.word}`,
        measured: String(measured ?? '-'),
      };
    }
    const kind = kindOf(expectation);
    const value = typeof measured === 'number' ? measured : Number.NaN;
    const fair = domain?.expectedShare ?? Number.NaN;
    return {
      place,
      subject,
      ok: holds(want, value, fair),
      expected: kind ? describeComparison(want, kind, fair) : '',
      measured: kind && !Number.isNaN(value) ? kind.format(value) : 'not measured',
    };
  });
}
