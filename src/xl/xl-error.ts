/** A wrong use of a verb, or something that cannot be done: xl says it on stderr and exits with 1. */
export class XlError extends Error {}

/** libxl's ERROR_INVAL. */
export const ERROR_INVAL = -6;
