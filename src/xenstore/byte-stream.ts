/** Numbers, bytes and texts written one after the other, and read back in the same order. */

export interface Writer {
  /** A whole number from 0 on, 7 bits a byte, lowest first. */
  number(x: number): void;
  bytes(bytes: Uint8Array): void;
  text(text: string): void;
  /** All that was written. */
  result(): Uint8Array;
}

export interface Reader {
  number(): number;
  bytes(): Uint8Array;
  text(): string;
  /** Whether nothing is left. */
  isAtEnd(): boolean;
}

export function writer(): Writer {
  let buffer = new Uint8Array(1024);
  let length = 0;

  function room(bytes: number): void {
    if (length + bytes <= buffer.length) return;
    const larger = new Uint8Array(2 * (length + bytes));
    larger.set(buffer.subarray(0, length));
    buffer = larger;
  }

  function number(x: number): void {
    room(8);
    let rest = x;
    // Division, as generations outgrow 32 bits.
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) buffer[length++] = 0x80 | (rest % 0x80);
    buffer[length++] = rest;
  }

  return {
    number,
    bytes(bytes) {
      number(bytes.length);
      room(bytes.length);
      buffer.set(bytes, length);
      length += bytes.length;
    },
    text(text) {
      number(text.length);
      room(text.length);
      for (let n = 0; n < text.length; n++) buffer[length++] = text.charCodeAt(n);
    },
    result: () => buffer.slice(0, length),
  };
}

/** Throws where the bytes end too soon. */
export function reader(from: Uint8Array): Reader {
  let at = 0;

  function number(): number {
    let x = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const byte = from[at++];
      if (byte === undefined) throw new Error('saved state: cut short');
      x += (byte & 0x7f) * scale;
      if (byte < 0x80) return x;
      if (scale > 2 ** 49) throw new Error('saved state: no number');
    }
  }

  function bytes(): Uint8Array {
    const length = number();
    if (length > from.length - at) throw new Error('saved state: cut short');
    at += length;
    return from.slice(at - length, at);
  }

  return {
    number,
    bytes,
    text: () => {
      let text = '';
      for (const byte of bytes()) text += String.fromCharCode(byte);
      return text;
    },
    isAtEnd: () => at === from.length,
  };
}
