/** The building of a domain with a kernel of its own, which libxc's domain builder does inside domain 0. */
import { BUILD_KERNEL } from '../shared/tool-words.js';
import { BUILD_PAGE_NS } from './domctl.js';
import type { ToolCall } from './tool-job.js';

/** @param d its number, and its record's @param pages its memory */
export const buildKernel = (d: number, pages: number): ToolCall => ({
  costNs: BUILD_PAGE_NS * pages,
  nr: BUILD_KERNEL,
  args: [d],
  data: new Uint8Array(0),
  pointers: [],
});
