/** xentop in batch mode, which `xl top` starts: rows of domains, again and again. */
import {
  XEN_DOMINF_blocked,
  XEN_DOMINF_dying,
  XEN_DOMINF_paused,
  XEN_DOMINF_running,
  XEN_DOMINF_shutdown,
} from '../shared/public/domctl.js';
import { SHUTDOWN_crash } from '../shared/public/sched.js';
import type { DomainState } from '../toolstack/domctl.js';

const KIB_PER_PAGE = 4;

/** What is known at one look. */
export interface Look {
  /** Simulated, ns. */
  readonly atNs: number;
  readonly totalPages: number;
  readonly domains: readonly { readonly name: string; readonly state: DomainState }[];
}

/** Columns by their widths. Nobody has a network card or a disk of Xen's here, so the last ones are 0. */
const COLUMNS: readonly (readonly [header: string, width: number])[] = [
  ['NAME', 10],
  ['STATE', 6],
  ['CPU(sec)', 10],
  ['CPU(%)', 6],
  ['MEM(k)', 10],
  ['MEM(%)', 6],
  ['MAXMEM(k)', 10],
  ['MAXMEM(%)', 9],
  ['VCPUS', 5],
  ['NETS', 4],
  ['NETTX(k)', 8],
  ['NETRX(k)', 8],
  ['VBDS', 4],
  ['VBD_OO', 8],
  ['VBD_RD', 8],
  ['VBD_WR', 8],
  ['VBD_RSECT', 10],
  ['VBD_WSECT', 10],
  ['SSID', 4],
];
const line = (cells: readonly string[]): string =>
  `${COLUMNS.map(([, width], n) => (cells[n] ?? '0').padStart(width)).join(' ')}\n`;

/** xentop's order is another than xl's: d s b c p r. */
function stateOf({ flags, shutdownCode }: DomainState): string {
  const isShutDown = (flags & XEN_DOMINF_shutdown) !== 0;
  const isCrashed = isShutDown && shutdownCode === SHUTDOWN_crash;
  const letters: readonly [string, boolean][] = [
    ['d', (flags & XEN_DOMINF_dying) !== 0],
    ['s', isShutDown && !isCrashed],
    ['b', (flags & XEN_DOMINF_blocked) !== 0],
    ['c', isCrashed],
    ['p', (flags & XEN_DOMINF_paused) !== 0],
    ['r', (flags & XEN_DOMINF_running) !== 0],
  ];
  return letters.map(([letter, is]) => (is ? letter : '-')).join('');
}

/** @param before the look before this one, by which use is measured; at the first there is none */
export function top(look: Look, before: Look | undefined): string {
  const percent = (part: number): string => ((100 * part) / look.totalPages).toFixed(1);
  const rows = look.domains.map(({ name, state }) => {
    const earlier = before?.domains.find(({ state: { id } }) => id === state.id)?.state.timeNs;
    const elapsed = look.atNs - (before?.atNs ?? look.atNs);
    const use = earlier === undefined || elapsed <= 0 ? 0 : (100 * (state.timeNs - earlier)) / elapsed;
    const cells = [
      name.slice(0, 10),
      stateOf(state),
      String(Math.floor(state.timeNs / 1e9)),
      use.toFixed(1),
      String(state.pages * KIB_PER_PAGE),
      percent(state.pages),
      String(state.maxPages * KIB_PER_PAGE),
      percent(state.maxPages),
      String(state.onlineVcpus),
    ];
    return line(cells);
  });
  return line(COLUMNS.map(([header]) => header)) + rows.join('');
}
