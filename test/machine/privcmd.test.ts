/** Domain 0's tools make hypercalls: from a list they have at boot, and for somebody outside while the machine runs. */
import { expect } from 'chai';
import type { MachineConfig } from '../../src/machine/config.js';
import { Machine } from '../../src/machine/machine.js';
import { CONSOLEIO_write } from '../../src/shared/public/xen.js';
import { DATA, type ToolCall } from '../../src/toolstack/tool-job.js';
