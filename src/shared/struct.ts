/**
 * Records of the image, declared once: `struct('vcpu', { credit: 'i32', stateEntryTime: 'f64', … })`.
 *
 * A table of records gives three functions a field: `vcpu.credit(i)`, `vcpu.setCredit(i, x)` and `vcpu.addCredit(i, d)`;
 * array fields take the element before the value: `vcpu.runstateTime(i, k)`.
 *
 * The functions are generated as source text, one closure a field, because that is what V8 inlines to one memory access:
 * measured equal to raw indexing, where a shared generic accessor is 2–3 × and a Proxy 70 × slower.
 */

/** `i32`: signed 32-bit; `f64`: a double, also for times (safe integers, ns). `[kind, n]`: n of them. */
export type FieldKind = 'i32' | 'f64' | readonly ['i32' | 'f64', number];
export type Fields = Readonly<Record<string, FieldKind>>;

export interface Struct<F extends Fields> {
  readonly name: string;
  readonly fields: F;
  /** Byte offset of every field. */
  readonly offsets: { readonly [K in keyof F]: number };
  /** Bytes, a power of two: a record's place is then a shift, which needs no overflow check. */
  readonly size: number;
}

type Getter<K extends FieldKind> = K extends string ? (i: number) => number : (i: number, k: number) => number;
type Setter<K extends FieldKind> = K extends string
  ? (i: number, x: number) => void
  : (i: number, k: number, x: number) => void;

export type Table<F extends Fields> = { readonly [K in keyof F & string]: Getter<F[K]> } & {
  readonly [K in keyof F & string as `set${Capitalize<K>}`]: Setter<F[K]>;
} & { readonly [K in keyof F & string as `add${Capitalize<K>}`]: Setter<F[K]> };

/** One field of all records of a table, for code that walks raw words: record i's is word `base + (i << shift)`. */
export interface Column {
  readonly base: number;
  readonly shift: number;
}

const bytesOf = (kind: 'i32' | 'f64'): number => (kind === 'f64' ? 8 : 4);

/**
 * Declares a record. Doubles are laid first so that every field is aligned.
 * @param align records are at least this many bytes apart: 64 keeps the records of two writers on two cache lines.
 */
export function struct<const F extends Fields>(name: string, fields: F, align: 8 | 64 = 8): Struct<F> {
  const offsets: Record<string, number> = {};
  let size = 0;
  for (const pass of ['f64', 'i32'] as const) {
    for (const [field, kind] of Object.entries(fields)) {
      const [element, count] = typeof kind === 'string' ? [kind, 1] : kind;
      if (element !== pass) continue;
      offsets[field] = size;
      size += bytesOf(element) * count;
    }
  }
  return {
    name,
    fields,
    offsets: offsets as Struct<F>['offsets'],
    size: 2 ** Math.ceil(Math.log2(Math.max(size, align))),
  };
}

/**
 * Binds a table of `layout` records that starts at byte `base` of `buffer`.
 *
 * Every field gets a typed array that starts at record 0's field, so that an accessor is one shift and one
 * access: at most 27 bytes of bytecode, the size up to which V8 inlines a call whatever else the caller inlines. A few
 * bytes more and the setters of doubles become calls that box their argument (measured: half the speed).
 */
export function bindTable<F extends Fields>(layout: Struct<F>, buffer: SharedArrayBuffer, base: number): Table<F> {
  const arrays: (Int32Array | Float64Array)[] = [];
  const members: string[] = [];
  for (const [field, kind] of Object.entries(layout.fields)) {
    const [element, isArray] = typeof kind === 'string' ? [kind, false] : [kind[0], true];
    const bytes = bytesOf(element);
    const start = base + (layout.offsets[field] ?? 0);
    const array = `A${arrays.length}`;
    arrays.push(element === 'f64' ? new Float64Array(buffer, start) : new Int32Array(buffer, start));
    const place = `i<<${Math.log2(layout.size / bytes)}`;
    const at = `${array}[${isArray ? `(${place})+k` : place}]`;
    const params = isArray ? 'i,k' : 'i';
    const suffix = field.charAt(0).toUpperCase() + field.slice(1);
    members.push(
      `${field}(${params}){return ${at}}`,
      `set${suffix}(${params},x){${at}=x}`,
      `add${suffix}(${params},x){${at}+=x}`,
    );
  }
  const make = new Function(...arrays.map((_, n) => `A${n}`), `return{${members.join(',')}}`);
  return make(...arrays) as Table<F>;
}
