/** NMI delivery (`nmi.h`): the commands of `nmi_op(cmd, *)` and the bits of arch_shared_info.nmi_reason. */

import { layout } from './layout.js';

export const XENNMI_register_callback = 0;
export const XENNMI_unregister_callback = 1;

export const XEN_NMIREASON_io_error = 1 << 0;
export const XEN_NMIREASON_pci_serr = 1 << 1;
export const XEN_NMIREASON_unknown = 1 << 2;

/** Entry point; `pad` is unused. */
export const xennmi_callback = layout('struct xennmi_callback', [8, 16], {
  handler_address: [0, 0],
  pad: [4, 8],
});
