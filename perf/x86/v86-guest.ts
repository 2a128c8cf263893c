/**
 * A multiboot kernel in v86, in a process of its own: `v86-guest.js FILE COMMAND-LINE BIOS jit|interpreter`. What comes out of its serial
 * port goes to stdout, and before each line "I n": instructions that v86 has run, modulo 2^32.
 */
import { readFileSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { V86 } from 'v86';

const [file, cmdline, bios, how] = process.argv.slice(2) as [string, string, string, string];

function contents(path: string): ArrayBuffer {
  const bytes = readFileSync(path);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer;
}

const emulator = new V86({
  wasm_path: fileURLToPath(new URL('v86.wasm', import.meta.resolve('v86'))),
  bios: { buffer: contents(bios) },
  multiboot: { buffer: contents(file) },
  cmdline,
  memory_size: 128 << 20,
  autostart: true,
  fastboot: true,
  disable_jit: how === 'interpreter',
  disable_speaker: true,
});

let line = '';
emulator.add_listener('serial0-output-byte', (byte: number) => {
  line += String.fromCharCode(byte);
  if (byte !== 10) return;
  writeSync(1, `I ${emulator.get_instruction_counter()}\n${line}`);
  if (line.trim() === 'DONE') process.exit(0);
  line = '';
});
