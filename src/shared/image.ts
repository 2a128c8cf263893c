/**
 * The memory image: one shared WebAssembly.Memory (so that translated code can import it) that holds the whole state of
 * the machine. Regions of fixed-size records come first, then the frames of machine memory. Laid once, before any
 * worker starts; nobody allocates afterwards.
 */
import { bindTable, type Column, type Fields, type Struct, type Table } from './struct.js';

/** WebAssembly's page, bytes. */
const WASM_PAGE = 65536;
/** What a 32-bit WebAssembly.Memory can address, bytes. */
export const IMAGE_LIMIT = 65536 * WASM_PAGE;

/** A frame of machine memory, bytes. */
export const PAGE_SIZE = 4096;
/** Frames that a MiB is. */
export const PAGES_PER_MIB = 2 ** 20 / PAGE_SIZE;

export interface Region {
  readonly name: string;
  /** Bytes of one element and how many there are. */
  readonly size: number;
  readonly count: number;
  readonly align: number;
}

export interface PlacedRegion extends Region {
  /** Byte address in the image. */
  readonly base: number;
}

export type AddressMap = readonly PlacedRegion[];

export const tableRegion = <F extends Fields>(layout: Struct<F>, count: number): Region => ({
  name: layout.name,
  size: layout.size,
  count,
  align: 64,
});

export const rawRegion = (name: string, size: number, count: number, align = 64): Region => ({
  name,
  size,
  count,
  align,
});

/** Places regions one after the other; the first 64 bytes stay free, so that address 0 can mean "none". */
export function layOut(regions: readonly Region[]): AddressMap {
  const names = new Set<string>();
  let next = 64;
  return regions.map((region) => {
    if (names.has(region.name)) throw new Error(`image: two regions are called "${region.name}"`);
    names.add(region.name);
    const base = Math.ceil(next / region.align) * region.align;
    next = base + region.size * region.count;
    return { ...region, base };
  });
}

export function sizeOfMap(map: AddressMap): number {
  const last = map.at(-1);
  return last ? last.base + last.size * last.count : 0;
}

/** The address map as text, one region a line: what docs/memory-map.md shows. */
export function drawMap(map: AddressMap): string {
  const lines = map.map((r) => {
    const bytes = r.size * r.count;
    return `${hex(r.base)}  ${hex(r.base + bytes)}  ${r.name.padEnd(20)} ${String(r.count).padStart(9)} x ${r.size} B`;
  });
  return ['start     end       region                   count   size', ...lines].join('\n');
}

const hex = (n: number): string => n.toString(16).padStart(8, '0');

export class Image {
  readonly memory: WebAssembly.Memory;
  readonly map: AddressMap;
  readonly buffer: SharedArrayBuffer;
  readonly i32: Int32Array;
  readonly f64: Float64Array;
  readonly u8: Uint8Array;

  /** Attaches to a memory that was laid out by the same map. */
  constructor(memory: WebAssembly.Memory, map: AddressMap) {
    this.memory = memory;
    this.map = map;
    this.buffer = memory.buffer as unknown as SharedArrayBuffer;
    this.i32 = new Int32Array(this.buffer);
    this.f64 = new Float64Array(this.buffer);
    this.u8 = new Uint8Array(this.buffer);
  }

  /** @throws RangeError when the map is larger than a WebAssembly.Memory can be. */
  static create(map: AddressMap): Image {
    const bytes = sizeOfMap(map);
    if (bytes > IMAGE_LIMIT) throw new RangeError(`the image needs ${bytes} bytes, more than the limit ${IMAGE_LIMIT}`);
    const pages = Math.ceil(bytes / WASM_PAGE);
    return new Image(new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }), map);
  }

  region(name: string): PlacedRegion {
    const region = this.map.find((r) => r.name === name);
    if (!region) throw new Error(`image: no region "${name}"`);
    return region;
  }

  table<F extends Fields>(layout: Struct<F>): Table<F> {
    return bindTable(layout, this.buffer, this.region(layout.name).base);
  }

  /** A field as a column of words: of `i32` for 'i32' fields, of `f64` for 'f64' ones. */
  column<F extends Fields>(layout: Struct<F>, field: keyof F & string): Column {
    const kind = layout.fields[field]!;
    const bytes = (typeof kind === 'string' ? kind : kind[0]) === 'f64' ? 8 : 4;
    return {
      base: (this.region(layout.name).base + layout.offsets[field]) / bytes,
      shift: Math.log2(layout.size / bytes),
    };
  }

  /** Several fields of one record type, as columns by name. */
  columns<F extends Fields, K extends keyof F & string>(
    layout: Struct<F>,
    ...fields: K[]
  ): { readonly [N in K]: Column } {
    return Object.fromEntries(fields.map((f) => [f, this.column(layout, f)])) as { [N in K]: Column };
  }
}
