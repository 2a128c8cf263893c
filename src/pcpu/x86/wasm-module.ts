/**
 * A WebAssembly binary module from function bodies: types, imports, functions and code, as the core specification lays them out
 * (sections 1, 2, 3, 7 and 10). Bodies are bytes that somebody else puts together; `Code` has the instructions used here.
 */

/** Value types. */
export const I32 = 0x7f;
export const I64 = 0x7e;
export const V128 = 0x7b;
export type ValueType = typeof I32 | typeof I64 | typeof V128;

/** Instructions without an immediate. */
export const OP = {
  unreachable: 0x00,
  else: 0x05,
  end: 0x0b,
  return: 0x0f,
  drop: 0x1a,
  select: 0x1b,
  i32_eqz: 0x45,
  i32_eq: 0x46,
  i32_ne: 0x47,
  i32_lt_s: 0x48,
  i32_and: 0x71,
  i32_or: 0x72,
  i32_xor: 0x73,
  i32_add: 0x6a,
  i32_sub: 0x6b,
  i32_shl: 0x74,
  i64_eqz: 0x50,
  i64_eq: 0x51,
  i64_ne: 0x52,
  i64_lt_s: 0x53,
  i64_lt_u: 0x54,
  i64_gt_s: 0x55,
  i64_gt_u: 0x56,
  i64_le_s: 0x57,
  i64_le_u: 0x58,
  i64_ge_s: 0x59,
  i64_ge_u: 0x5a,
  i64_clz: 0x79,
  i64_ctz: 0x7a,
  i64_popcnt: 0x7b,
  i64_add: 0x7c,
  i64_sub: 0x7d,
  i64_mul: 0x7e,
  i64_div_s: 0x7f,
  i64_div_u: 0x80,
  i64_rem_s: 0x81,
  i64_rem_u: 0x82,
  i64_and: 0x83,
  i64_or: 0x84,
  i64_xor: 0x85,
  i64_shl: 0x86,
  i64_shr_s: 0x87,
  i64_shr_u: 0x88,
  i64_rotl: 0x89,
  i64_rotr: 0x8a,
  i32_wrap_i64: 0xa7,
  i64_extend_i32_u: 0xad,
  f32_convert_i64_s: 0xb4,
  f64_convert_i64_s: 0xb9,
  i32_reinterpret_f32: 0xbc,
  i64_reinterpret_f64: 0xbd,
  i64_extend8_s: 0xc2,
  i64_extend16_s: 0xc3,
  i64_extend32_s: 0xc4,
} as const;

/** Behind the prefix of wasm-simd.ts. */
const SIMD_CONST = 0x0c;
const SIMD_SHUFFLE = 0x0d;

/** Loads and stores: an alignment hint and an offset follow. */
export const MEM = {
  i32_load: 0x28,
  i64_load: 0x29,
  i32_load16_u: 0x2f,
  i64_load8_u: 0x31,
  i64_load16_u: 0x33,
  i64_load32_s: 0x34,
  i64_load32_u: 0x35,
  i32_store: 0x36,
  i64_store: 0x37,
  i64_store8: 0x3c,
  i64_store16: 0x3d,
  i64_store32: 0x3e,
} as const;

/** Atomic accesses, behind the prefix 0xfe: alignment, which must be that of the size, and an offset follow. */
export const ATOMIC = {
  i32_load: { code: 0x10, align: 2 },
  i32_store: { code: 0x17, align: 2 },
  i64_load: {
    1: { code: 0x14, align: 0 },
    2: { code: 0x15, align: 1 },
    4: { code: 0x16, align: 2 },
    8: { code: 0x11, align: 3 },
  },
  i64_cmpxchg: {
    ...{ 1: { code: 0x4c, align: 0 }, 2: { code: 0x4d, align: 1 } },
    ...{ 4: { code: 0x4e, align: 2 }, 8: { code: 0x49, align: 3 } },
  },
} as const;
export type Atomic = { readonly code: number; readonly align: number };

function unsigned(out: number[], x: number): void {
  let rest = x;
  while (rest > 0x7f) {
    out.push((rest % 128) | 0x80);
    rest = Math.floor(rest / 128);
  }
  out.push(rest);
}

function signed(out: number[], x: bigint | number): void {
  if (x >= -0x40 && x < 0x40) {
    out.push(Number(x) & 0x7f);
    return;
  }
  let rest = BigInt(x);
  for (;;) {
    const byte = Number(rest & 0x7fn);
    rest >>= 7n;
    if ((rest === 0n && (byte & 0x40) === 0) || (rest === -1n && (byte & 0x40) !== 0)) {
      out.push(byte);
      return;
    }
    out.push(byte | 0x80);
  }
}

/** The body of a function as it is put together. */
export class Code {
  readonly bytes: number[] = [];
  readonly #locals: ValueType[] = [];
  /** The same by their type. */
  readonly #ofType = new Map<ValueType, number[]>();
  readonly #params: number;
  /** Locals that are in use, of each type; the others may be given out again. */
  readonly #inUse = new Map<ValueType, number>();
  #depth = 0;

  /** @param params how many parameters the function has: locals are numbered behind them */
  constructor(params: number) {
    this.#params = params;
  }

  /** A local variable that nobody uses. */
  local(type: ValueType): number {
    const nth = this.#inUse.get(type) ?? 0;
    this.#inUse.set(type, nth + 1);
    let same = this.#ofType.get(type);
    if (same === undefined) {
      same = [];
      this.#ofType.set(type, same);
    }
    if (nth === same.length) same.push(this.#params + this.#locals.push(type) - 1);
    return same[nth]!;
  }

  /** All locals may be given out again. */
  releaseLocals(): void {
    this.#inUse.clear();
  }

  /** How many blocks, loops and ifs are open. */
  get depth(): number {
    return this.#depth;
  }

  op(opcode: number): this {
    this.bytes.push(opcode);
    if (opcode === OP.end) this.#depth--;
    return this;
  }

  get(local: number): this {
    this.bytes.push(0x20);
    unsigned(this.bytes, local);
    return this;
  }

  set(local: number): this {
    this.bytes.push(0x21);
    unsigned(this.bytes, local);
    return this;
  }

  tee(local: number): this {
    this.bytes.push(0x22);
    unsigned(this.bytes, local);
    return this;
  }

  i32(x: number): this {
    this.bytes.push(0x41);
    signed(this.bytes, x | 0);
    return this;
  }

  i64(x: bigint): this {
    this.bytes.push(0x42);
    signed(this.bytes, BigInt.asIntN(64, x));
    return this;
  }

  /** A load or store at a constant offset from the address on the stack. Nothing is promised about alignment. */
  mem(opcode: number, offset: number): this {
    this.bytes.push(opcode, 0);
    unsigned(this.bytes, offset);
    return this;
  }

  atomic({ code, align }: Atomic): this {
    this.bytes.push(0xfe, code, align, 0);
    return this;
  }

  /** atomic.fence. */
  fence(): this {
    this.bytes.push(0xfe, 0x03, 0);
    return this;
  }

  simd(opcode: number): this {
    this.bytes.push(0xfd);
    unsigned(this.bytes, opcode);
    return this;
  }

  simdMem(opcode: number, offset: number): this {
    this.simd(opcode).bytes.push(0);
    unsigned(this.bytes, offset);
    return this;
  }

  simdLane(opcode: number, lane: number): this {
    this.simd(opcode).bytes.push(lane);
    return this;
  }

  v128(x: bigint): this {
    this.simd(SIMD_CONST);
    for (let n = 0n; n < 16n; n++) this.bytes.push(Number((x >> (8n * n)) & 0xffn));
    return this;
  }

  shuffle(bytes: readonly number[]): this {
    this.simd(SIMD_SHUFFLE).bytes.push(...bytes);
    return this;
  }

  /** `select` of 128 bits. */
  selectWide(): this {
    this.bytes.push(0x1c, 1, V128);
    return this;
  }

  /** i64.trunc_sat_f64_s. */
  truncate(): this {
    this.bytes.push(0xfc, 6);
    return this;
  }

  /** `if`, whose branches leave nothing, or one value. */
  if(result?: ValueType): this {
    this.bytes.push(0x04, result ?? 0x40);
    this.#depth++;
    return this;
  }

  block(): this {
    this.bytes.push(0x02, 0x40);
    this.#depth++;
    return this;
  }

  loop(): this {
    this.bytes.push(0x03, 0x40);
    this.#depth++;
    return this;
  }

  br(depth: number): this {
    this.bytes.push(0x0c);
    unsigned(this.bytes, depth);
    return this;
  }

  brIf(depth: number): this {
    this.bytes.push(0x0d);
    unsigned(this.bytes, depth);
    return this;
  }

  /** Branches by the number on the stack; the last depth is for all that are too large. */
  brTable(depths: readonly number[]): this {
    this.bytes.push(0x0e);
    unsigned(this.bytes, depths.length - 1);
    for (const depth of depths) unsigned(this.bytes, depth);
    return this;
  }

  call(func: number): this {
    this.bytes.push(0x10);
    unsigned(this.bytes, func);
    return this;
  }

  callIndirect(type: number): this {
    this.bytes.push(0x11);
    unsigned(this.bytes, type);
    this.bytes.push(0);
    return this;
  }

  /** Locals, code and `end`, as the code section holds them. */
  finish(): number[] {
    const body: number[] = [];
    unsigned(body, this.#locals.length);
    for (const type of this.#locals) body.push(1, type);
    // Spread would run out of stack on a long body.
    for (const byte of this.bytes) body.push(byte);
    body.push(OP.end);
    const out: number[] = [];
    unsigned(out, body.length);
    for (const byte of body) out.push(byte);
    return out;
  }
}

export interface FuncType {
  readonly params: readonly ValueType[];
  readonly results: readonly ValueType[];
}

/** A function that is imported from `env`. */
export interface ImportedFunc {
  readonly name: string;
  /** Index into the module's types. */
  readonly type: number;
}

export interface ModuleParts {
  readonly types: readonly FuncType[];
  /** Pages of the shared memory `env.memory`, as it was made. */
  readonly memoryPages: number;
  /** Whether it calls by `env.table`: the engine keeps a copy of the table for each instance that does. */
  readonly hasTable: boolean;
  readonly imports: readonly ImportedFunc[];
  /** Functions of the module: their type and body. Their numbers are the names by which they are exported. */
  readonly funcs: readonly { readonly type: number; readonly code: Code }[];
}

function name(out: number[], text: string): void {
  const bytes = new TextEncoder().encode(text);
  unsigned(out, bytes.length);
  out.push(...bytes);
}

function section(out: number[], id: number, content: readonly number[]): void {
  out.push(id);
  unsigned(out, content.length);
  for (const byte of content) out.push(byte);
}

/** The module's bytes. Its memory and its table are imported. */
export function moduleBytes(parts: ModuleParts): Uint8Array {
  const out = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
  const types: number[] = [];
  unsigned(types, parts.types.length);
  for (const { params, results } of parts.types) {
    types.push(0x60);
    unsigned(types, params.length);
    types.push(...params);
    unsigned(types, results.length);
    types.push(...results);
  }
  section(out, 1, types);

  const imports: number[] = [];
  unsigned(imports, parts.imports.length + (parts.hasTable ? 2 : 1));
  name(imports, 'env');
  name(imports, 'memory');
  imports.push(0x02, 0x03);
  unsigned(imports, parts.memoryPages);
  unsigned(imports, parts.memoryPages);
  if (parts.hasTable) {
    name(imports, 'env');
    name(imports, 'table');
    imports.push(0x01, 0x70, 0x00, 0x00);
  }
  for (const func of parts.imports) {
    name(imports, 'env');
    name(imports, func.name);
    imports.push(0x00);
    unsigned(imports, func.type);
  }
  section(out, 2, imports);

  const funcs: number[] = [];
  unsigned(funcs, parts.funcs.length);
  for (const { type } of parts.funcs) unsigned(funcs, type);
  section(out, 3, funcs);

  const exports: number[] = [];
  unsigned(exports, parts.funcs.length);
  for (const n of parts.funcs.keys()) {
    name(exports, String(n));
    exports.push(0x00);
    unsigned(exports, parts.imports.length + n);
  }
  section(out, 7, exports);

  const bodies: number[] = [];
  unsigned(bodies, parts.funcs.length);
  for (const { code } of parts.funcs) for (const byte of code.finish()) bodies.push(byte);
  section(out, 10, bodies);
  return Uint8Array.from(out);
}
