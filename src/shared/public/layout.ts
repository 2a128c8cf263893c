/**
 * How a C structure of Xen's public headers is described: its size and the offset of every member, in bytes, for the
 * two guest ABIs. All members are little-endian. The numbers are literals, so that they can be read and grepped;
 * `test/shared/public-abi.test.ts` compares each of them with what a C compiler says about the same member.
 */

/** Width in bits of a guest's words: 32 is the i386 ABI (PAE), 64 the x86-64 ABI. */
export type Width = 32 | 64;

/** A value that depends on the width of the guest. */
export interface PerWidth<T> {
  readonly 32: T;
  readonly 64: T;
}

/** One member: its byte offset on i386, then on x86-64; `null` where that ABI has no such member. */
type Row = readonly [i386: number | null, x86_64: number | null];
type Rows = Readonly<Record<string, Row>>;
type Column<R extends Rows, I extends 0 | 1> = {
  readonly [F in keyof R as R[F][I] extends number ? F : never]: number;
};

/** A structure; `F32` and `F64` are its members' offsets, keyed by the C member designator (`u.interdomain.port`). */
export interface AbiLayout<F32 = Readonly<Record<string, number>>, F64 = Readonly<Record<string, number>>> {
  /** The type as C writes it: `struct vcpu_info`, or a typedef's name. */
  readonly name: string;
  /** `sizeof`, in bytes, with the tail padding of each ABI. */
  readonly size: PerWidth<number>;
  readonly offsets: { readonly 32: F32; readonly 64: F64 };
}

/** Declares a structure from rows that read like the columns of a table: member, i386, x86-64. */
export function layout<const R extends Rows>(
  name: string,
  size: readonly [i386: number, x86_64: number],
  rows: R,
): AbiLayout<Column<R, 0>, Column<R, 1>> {
  return {
    name,
    size: { 32: size[0], 64: size[1] },
    offsets: { 32: column(rows, 0) as Column<R, 0>, 64: column(rows, 1) as Column<R, 1> },
  };
}

function column(rows: Rows, index: 0 | 1): Readonly<Record<string, number>> {
  const offsets: Record<string, number> = {};
  for (const [field, row] of Object.entries(rows)) {
    const offset = row[index];
    if (offset !== null) offsets[field] = offset;
  }
  return Object.freeze(offsets);
}

/**
 * The members' byte offsets as plain numbers, to be destructured outside hot loops. With a width that is only known
 * at run time the type holds the members that both ABIs have.
 */
export function offsetsOf<F32, F64, W extends Width>(
  of: AbiLayout<F32, F64>,
  width: W,
): AbiLayout<F32, F64>['offsets'][W] {
  return of.offsets[width];
}

/** `sizeof` in bytes; also the stride of an array of such structures. */
export function sizeOf(of: AbiLayout<unknown, unknown>, width: Width): number {
  return of.size[width];
}

/** `sizeof(xen_ulong_t)` in bytes: also of `unsigned long`, `xen_pfn_t` and a guest handle (pointer). */
export function wordBytes(width: Width): 4 | 8 {
  return width === 32 ? 4 : 8;
}
