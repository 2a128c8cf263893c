/**
 * Doubly linked lists through the image: elements are record numbers, links are fields of the record, heads are words.
 * A link holds the number of the neighbour plus one; 0 ends the list. An element that is in no list has `linked` 0.
 */
export interface Links {
  next(i: number): number;
  prev(i: number): number;
  setNext(i: number, x: number): void;
  setPrev(i: number, x: number): void;
  linked(i: number): number;
  setLinked(i: number, x: number): void;
}

export interface Heads {
  first(h: number): number;
  last(h: number): number;
  setFirst(h: number, x: number): void;
  setLast(h: number, x: number): void;
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

/** Stored values are shifted by one so that zeroed memory is a set of empty lists. */
export function lists(links: Links, heads: Heads): List {
  function insertBefore(h: number, i: number, before: number): void {
    const prev = before === NONE ? heads.last(h) - 1 : links.prev(before) - 1;
    links.setNext(i, before + 1);
    links.setPrev(i, prev + 1);
    links.setLinked(i, 1);
    if (prev === NONE) heads.setFirst(h, i + 1);
    else links.setNext(prev, i + 1);
    if (before === NONE) heads.setLast(h, i + 1);
    else links.setPrev(before, i + 1);
  }
  return {
    first: (h) => heads.first(h) - 1,
    last: (h) => heads.last(h) - 1,
    next: (i) => links.next(i) - 1,
    prev: (i) => links.prev(i) - 1,
    isLinked: (i) => links.linked(i) !== 0,
    append: (h, i) => insertBefore(h, i, NONE),
    insertBefore,
    remove(h, i) {
      const next = links.next(i) - 1;
      const prev = links.prev(i) - 1;
      if (prev === NONE) heads.setFirst(h, next + 1);
      else links.setNext(prev, next + 1);
      if (next === NONE) heads.setLast(h, prev + 1);
      else links.setPrev(next, prev + 1);
      links.setLinked(i, 0);
    },
  };
}
