/** Files as they should not be: cut off, and with bytes changed. */
import fc from 'fast-check';

/** What a call gives, or what it throws. */
export async function outcomeOf(call: () => unknown): Promise<{ readonly value?: unknown; readonly error?: unknown }> {
  try {
    return { value: await call() };
  } catch (error) {
    return { error };
  }
}

/** A file in the midst of memory: what lies behind it goes on as the whole one would. */
export function cutWithin(file: Uint8Array, bytes: number): Uint8Array {
  const memory = new Uint8Array(file.length + 64).fill(0x5a);
  memory.set(file, 32);
  return memory.subarray(32, 32 + bytes);
}

/** A file with a few bytes changed, mostly to those where something ends. */
export const damaged = (file: Uint8Array): fc.Arbitrary<Uint8Array> =>
  fc
    .array(fc.tuple(fc.nat(file.length - 1), fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff))), {
      minLength: 1,
      maxLength: 8,
    })
    .map((changes) => {
      const copy = file.slice();
      for (const [at, byte] of changes) copy[at] = byte;
      return copy;
    });
