/**
 * Doubly linked lists through the image: elements are record numbers, links are fields of the record, heads are fields of
 * another. A link holds the number of the neighbour plus one, so that zeroed memory is a set of empty lists.
 *
 * Works on plain words, not on a table's accessors: those of several tables through one piece of code would make every
 * access an indirect call.
 */
import { specialise } from './specialise.js';
import type { Column } from './struct.js';

/** The three link fields of an element; `linked` is 1 while it is in a list. */
export interface Links {
  readonly next: Column;
  readonly prev: Column;
  readonly linked: Column;
}

export interface Heads {
  readonly first: Column;
  readonly last: Column;
}

export const NONE = -1;

export interface List {
  /** First element of list `h`, or NONE. */
  first(h: number): number;
  last(h: number): number;
  next(i: number): number;
  prev(i: number): number;
  isLinked(i: number): boolean;
  append(h: number, i: number): void;
  /** Inserts `i` before element `before`, or at the end when that is NONE. */
  insertBefore(h: number, i: number, before: number): void;
  remove(h: number, i: number): void;
}

export const lists = (i32: Int32Array, links: Links, heads: Heads): List => specialise(makeLists)(i32, links, heads);

function makeLists(i32: Int32Array, links: Links, heads: Heads): List {
  const { base: NEXT, shift: LINK } = links.next;
  const PREV = links.prev.base;
  const LINKED = links.linked.base;
  const { base: FIRST, shift: HEAD } = heads.first;
  const LAST = heads.last.base;
  // Shifts and | 0 keep the arithmetic in 32-bit integers; V8 does a plain `i * LINK` in doubles.

  function insertBefore(h: number, i: number, before: number): void {
    const prev = i32[(before < 0 ? LAST + (h << HEAD) : PREV + (before << LINK)) | 0]!;
    i32[(NEXT + (i << LINK)) | 0] = before + 1;
    i32[(PREV + (i << LINK)) | 0] = prev;
    i32[(LINKED + (i << LINK)) | 0] = 1;
    i32[(prev === 0 ? FIRST + (h << HEAD) : NEXT + ((prev - 1) << LINK)) | 0] = i + 1;
    i32[(before < 0 ? LAST + (h << HEAD) : PREV + (before << LINK)) | 0] = i + 1;
  }

  return {
    first: (h) => (i32[(FIRST + (h << HEAD)) | 0]! - 1) | 0,
    last: (h) => (i32[(LAST + (h << HEAD)) | 0]! - 1) | 0,
    next: (i) => (i32[(NEXT + (i << LINK)) | 0]! - 1) | 0,
    prev: (i) => (i32[(PREV + (i << LINK)) | 0]! - 1) | 0,
    isLinked: (i) => i32[(LINKED + (i << LINK)) | 0] !== 0,
    append: (h, i) => insertBefore(h, i, -1),
    insertBefore,
    remove(h, i) {
      const next = i32[(NEXT + (i << LINK)) | 0]!;
      const prev = i32[(PREV + (i << LINK)) | 0]!;
      i32[(prev === 0 ? FIRST + (h << HEAD) : NEXT + ((prev - 1) << LINK)) | 0] = next;
      i32[(next === 0 ? LAST + (h << HEAD) : PREV + ((next - 1) << LINK)) | 0] = prev;
      i32[(LINKED + (i << LINK)) | 0] = 0;
    },
  };
}
