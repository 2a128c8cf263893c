/** Aligned columns for a terminal, and colour that can be switched off. */
export type Style = 'bold' | 'dim' | 'green' | 'red';
export type Paint = (style: Style, text: string) => string;

export const plain: Paint = (_style, text) => text;
/** ECMA-48 SGR codes. (`util.styleText` looks at stdout by itself, whatever is being written to.) */
const SGR: Readonly<Record<Style, readonly [on: number, off: number]>> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
};
export const coloured: Paint = (style, text) => `\u001b[${SGR[style][0]}m${text}\u001b[${SGR[style][1]}m`;

/** What NO_COLOR (no-color.org) and the kind of stream ask for. */
export function paintFor(stream: { readonly isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env): Paint {
  const refused = (env.NO_COLOR ?? '') !== '' || env.TERM === 'dumb';
  return stream.isTTY && !refused ? coloured : plain;
}

export interface Column<Row> {
  readonly header: string;
  /** @default 'right' */
  readonly align?: 'left' | 'right';
  /** Longer cells are cut, ending in `…`. */
  readonly maxWidth?: number;
  readonly cell: (row: Row) => string;
}

const GAP = '  ';

function padded(text: string, width: number, align: 'left' | 'right'): string {
  const cut = text.length > width ? `${text.slice(0, width - 1)}…` : text;
  return align === 'left' ? cut.padEnd(width) : cut.padStart(width);
}

/** Header line first, unless every header is empty; no line has trailing blanks. */
export function renderTable<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  paint: Paint = plain,
): string[] {
  const cells = rows.map((row) => columns.map((column) => column.cell(row)));
  const widths = columns.map((column, index) => {
    const widest = Math.max(column.header.length, ...cells.map((line) => line[index]?.length ?? 0));
    return Math.min(widest, column.maxWidth ?? widest);
  });
  const line = (texts: readonly string[]): string =>
    columns
      .map((column, index) => padded(texts[index] ?? '', widths[index] ?? 0, column.align ?? 'right'))
      .join(GAP)
      .trimEnd();
  const headers = columns.map((column) => column.header);
  const body = cells.map(line);
  return headers.every((header) => header === '') ? body : [paint('dim', line(headers)), ...body];
}
