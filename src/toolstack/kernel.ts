/** The building of a domain with a kernel of its own, which libxc's domain builder does inside domain 0. */
import { BUILD_KERNEL } from '../shared/tool-words.js';
import type { ToolCall } from './tool-job.js';

/** To set about it, for a frame of memory that is given, and for a byte that is read and copied, ns. */
const BUILD_NS = 100_000;
const FRAME_NS = 100;
const BYTE_NS = 0.25;

/** @param d its number and its record's @param pages its memory @param bytes of its image and its ramdisk */
export const buildKernel = (d: number, pages: number, bytes: number): ToolCall => ({
  costNs: Math.round(BUILD_NS + FRAME_NS * pages + BYTE_NS * bytes),
  nr: BUILD_KERNEL,
  args: [d],
  data: new Uint8Array(0),
  pointers: [],
});
