/** A file that holds no kernel which can be got out of it. */
export class UnpackError extends Error {}
