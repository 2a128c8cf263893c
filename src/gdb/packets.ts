/**
 * GDB's remote serial protocol (gdb manual, appendix E.1): `$data#cc`, where cc is the sum of the data's bytes and `}` says that the next
 * byte has its bit 5 changed. Whoever gets a packet says `+`, or `-` where its sum is wrong, until both agree that they say neither.
 */

/** The largest packet that is taken, bytes of data. */
export const PACKET_BYTES = 0x4000;

const DOLLAR = 0x24;
const HASH = 0x23;
const PLUS = 0x2b;
const MINUS = 0x2d;
const STAR = 0x2a;
const BRACE = 0x7d;
const INTERRUPT = 3;
const ESCAPE = 0x20;

export type Arrival =
  | { readonly kind: 'packet'; readonly data: Uint8Array }
  /** Control-C. */
  | { readonly kind: 'interrupt' }
  /** What was sent last is to be sent again. */
  | { readonly kind: 'again' }
  /** A packet with a wrong sum, or that is too long. */
  | { readonly kind: 'broken' };

export class PacketReader {
  #data: number[] = [];
  #state: 'between' | 'data' | 'first digit' | 'second digit' = 'between';
  #sum = 0;
  #digit = '';
  #isTooLong = false;

  /** What came of more bytes; any bytes will do. */
  read(bytes: Uint8Array): Arrival[] {
    const arrivals: Arrival[] = [];
    for (const byte of bytes) {
      const arrival = this.#next(byte);
      if (arrival !== undefined) arrivals.push(arrival);
    }
    return arrivals;
  }

  #next(byte: number): Arrival | undefined {
    switch (this.#state) {
      case 'between':
        if (byte === DOLLAR) this.#begin();
        else if (byte === INTERRUPT) return { kind: 'interrupt' };
        else if (byte === MINUS) return { kind: 'again' };
        return undefined;
      case 'data':
        if (byte === HASH) this.#state = 'first digit';
        // It was cut off, and sent again.
        else if (byte === DOLLAR) this.#begin();
        else this.#take(byte);
        return undefined;
      case 'first digit':
        this.#digit = String.fromCharCode(byte);
        this.#state = 'second digit';
        return undefined;
      case 'second digit':
        this.#state = 'between';
        return this.#end(this.#digit + String.fromCharCode(byte));
    }
  }

  #begin(): void {
    this.#data = [];
    this.#sum = 0;
    this.#isTooLong = false;
    this.#state = 'data';
  }

  #take(byte: number): void {
    this.#sum = (this.#sum + byte) & 0xff;
    if (this.#data.length < PACKET_BYTES) this.#data.push(byte);
    else this.#isTooLong = true;
  }

  #end(sum: string): Arrival {
    const isRight = /^[0-9a-f]{2}$/i.test(sum) && Number.parseInt(sum, 16) === this.#sum;
    if (this.#isTooLong || !isRight) return { kind: 'broken' };
    const data = unescaped(this.#data);
    return data === undefined ? { kind: 'broken' } : { kind: 'packet', data };
  }
}

/** Undefined: the last byte's meaning is missing. */
function unescaped(data: readonly number[]): Uint8Array | undefined {
  const bytes: number[] = [];
  for (let n = 0; n < data.length; n++) {
    if (data[n] !== BRACE) bytes.push(data[n]!);
    else if (++n < data.length) bytes.push(data[n]! ^ ESCAPE);
    else return undefined;
  }
  return Uint8Array.from(bytes);
}

/** A packet as it is sent. */
export function packetOf(data: Uint8Array | string): Uint8Array {
  const raw = typeof data === 'string' ? new TextEncoder().encode(data) : data;
  const bytes = [DOLLAR];
  for (const byte of raw) {
    if (byte === DOLLAR || byte === HASH || byte === BRACE || byte === STAR) bytes.push(BRACE, byte ^ ESCAPE);
    else bytes.push(byte);
  }
  const sum = bytes.slice(1).reduce((all, byte) => (all + byte) & 0xff, 0);
  return Uint8Array.from([...bytes, HASH, ...new TextEncoder().encode(sum.toString(16).padStart(2, '0'))]);
}

export const GOT = Uint8Array.of(PLUS);
export const NOT_GOT = Uint8Array.of(MINUS);

export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Undefined: it is none. */
export function fromHex(text: string): Uint8Array | undefined {
  return /^([0-9a-f]{2})*$/i.test(text) ? Uint8Array.from(Buffer.from(text, 'hex')) : undefined;
}

/** A number of 64 bits in hexadecimal digits; undefined: it is none. */
export function hexNumber(text: string | undefined): bigint | undefined {
  return text !== undefined && /^[0-9a-f]{1,16}$/i.test(text) ? BigInt(`0x${text}`) : undefined;
}
