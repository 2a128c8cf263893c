/**
 * Messages of the xenstore protocol (`io/xs_wire.h`, docs/misc/xenstore.txt): a header `struct xsd_sockmsg` of four little-endian
 * words and up to 4096 bytes of payload, mostly strings that each end in a NUL.
 *
 * Paths and tokens are strings here, one character a byte: what came in goes out again, whatever it was.
 */

export const XS_CONTROL = 0;
export const XS_DIRECTORY = 1;
export const XS_READ = 2;
export const XS_GET_PERMS = 3;
export const XS_WATCH = 4;
export const XS_UNWATCH = 5;
export const XS_TRANSACTION_START = 6;
export const XS_TRANSACTION_END = 7;
export const XS_INTRODUCE = 8;
export const XS_RELEASE = 9;
export const XS_GET_DOMAIN_PATH = 10;
export const XS_WRITE = 11;
export const XS_MKDIR = 12;
export const XS_RM = 13;
export const XS_SET_PERMS = 14;
export const XS_WATCH_EVENT = 15;
export const XS_ERROR = 16;
export const XS_IS_DOMAIN_INTRODUCED = 17;
export const XS_RESUME = 18;
export const XS_SET_TARGET = 19;
// 20 was XS_RESTRICT.
export const XS_RESET_WATCHES = 21;
export const XS_DIRECTORY_PART = 22;
export const XS_TYPE_COUNT = 23;

export const XENSTORE_PAYLOAD_MAX = 4096;
export const XENSTORE_ABS_PATH_MAX = 3072;
export const XENSTORE_REL_PATH_MAX = 2048;

/** sizeof(struct xsd_sockmsg) */
export const HEADER_BYTES = 16;

/** Errors go over the wire by name. These are all that the header knows. */
export const XS_ERRORS = [
  'EINVAL',
  'EACCES',
  'EEXIST',
  'EISDIR',
  'ENOENT',
  'ENOMEM',
  'ENOSPC',
  'EIO',
  'ENOTEMPTY',
  'ENOSYS',
  'EROFS',
  'EBUSY',
  'EAGAIN',
  'EISCONN',
  'E2BIG',
  'EPERM',
] as const;
export type XsError = (typeof XS_ERRORS)[number];

export interface Message {
  /** `XS_*` */
  readonly type: number;
  /** Chosen by who asks, and repeated in the answer. */
  readonly reqId: number;
  /** Transaction, or 0. */
  readonly txId: number;
  readonly payload: Uint8Array;
}

/** A header without its payload. */
export interface Header {
  readonly type: number;
  readonly reqId: number;
  readonly txId: number;
  /** Bytes that follow, as claimed by the sender: any 32-bit number. */
  readonly len: number;
}

/** @param bytes at least HEADER_BYTES of them */
export function decodeHeader(bytes: Uint8Array): Header {
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  const word = (n: number): number => view.getUint32(4 * n, true);
  return { type: word(0), reqId: word(1), txId: word(2), len: word(3) };
}

/** The message that `bytes` are; undefined unless they are one, whole, and not too long. */
export function decode(bytes: Uint8Array): Message | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const { type, reqId, txId, len } = decodeHeader(bytes);
  if (len > XENSTORE_PAYLOAD_MAX || bytes.length !== HEADER_BYTES + len) return undefined;
  return { type, reqId, txId, payload: bytes.slice(HEADER_BYTES) };
}

export function encode({ type, reqId, txId, payload }: Message): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + payload.length);
  const view = new DataView(bytes.buffer);
  [type, reqId, txId, payload.length].forEach((word, n) => {
    view.setUint32(4 * n, word, true);
  });
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

export const toBytes = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));

export function toText(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** A payload of strings, each with its NUL. */
export const strings = (...texts: readonly string[]): Uint8Array => toBytes(texts.map((text) => `${text}\0`).join(''));

/** The strings in a payload. What follows the last NUL is no string. */
export const splitStrings = (payload: Uint8Array): string[] => toText(payload).split('\0').slice(0, -1);

/** The one string that a payload is, its only NUL at the end. */
export function oneString(payload: Uint8Array): string | undefined {
  return payload.length > 0 && payload.indexOf(0) === payload.length - 1 ? toText(payload.subarray(0, -1)) : undefined;
}

/** C's atoi, as an unsigned word: xenstored reads numbers so, and what is none reads as 0. */
export const atoi = (text: string): number => Number(/^[ \t-\r]*([+-]?\d+)/.exec(text)?.[1] ?? 0) >>> 0;

export const errorReply = ({ reqId, txId }: Message, error: XsError): Message => ({
  type: XS_ERROR,
  reqId,
  txId,
  payload: strings(error),
});
