/** What a toolstack asks of a guest's own kernel, as libxl does by xenstore. */
import { SHUTDOWN_poweroff, SHUTDOWN_reboot } from '../shared/public/sched.js';
import { STORE, STORE_WRITE } from '../shared/tool-words.js';
import { CALL_COST_NS } from './argument.js';
import type { ToolCall } from './tool-job.js';

const write = (d: number, key: number, value: number): ToolCall => ({
  costNs: CALL_COST_NS,
  nr: STORE_WRITE,
  args: [d, key, value],
  data: new Uint8Array(0),
  pointers: [],
});

export const askPowerOff = (d: number): ToolCall => write(d, STORE.shutdown, SHUTDOWN_poweroff + 1);
export const askReboot = (d: number): ToolCall => write(d, STORE.shutdown, SHUTDOWN_reboot + 1);
export const askVcpus = (d: number, count: number): ToolCall => write(d, STORE.vcpus, count);
export const askMemory = (d: number, pages: number): ToolCall => write(d, STORE.pages, pages);
