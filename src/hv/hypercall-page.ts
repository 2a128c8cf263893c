/** The hypercall page of a 64-bit kernel (xen.h; xen/arch/x86/pv/hypercall.c): a stub for each number, which it calls; that of iret is jumped to. */

const STUBS = 128;
const STUB_BYTES = 32;
const IRET = 23;
const INT3 = 0xcc;

/** push rcx; push r11; mov eax,n; syscall; pop r11; pop rcx; ret. That of iret: push rcx; push r11; push rax; mov eax,23; syscall. */
function stub(n: number): readonly number[] {
  const number = [0xb8, n & 0xff, 0, 0, 0];
  return n === IRET
    ? [0x51, 0x41, 0x53, 0x50, ...number, 0x0f, 0x05]
    : [0x51, 0x41, 0x53, ...number, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3];
}

/** @param page image address of a frame */
export function writeHypercallPage(u8: Uint8Array, page: number): void {
  u8.fill(INT3, page, page + STUBS * STUB_BYTES);
  for (let n = 0; n < STUBS; n++) u8.set(stub(n), page + n * STUB_BYTES);
}
