#!/bin/sh
# Builds bench-kernel.elf into the folder given. 77: there is no compiler.
set -e
here=$(cd "$(dirname "$0")" && pwd)
out=$1
command -v gcc >/dev/null && command -v ld >/dev/null || exit 77
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
flags="-O2 -m64 -ffreestanding -fno-builtin -fno-pic -fno-pie -fno-stack-protector -fcf-protection=none -mno-red-zone
  -fno-asynchronous-unwind-tables -mgeneral-regs-only -fno-strict-aliasing -Wall -Wextra"
for file in ../../perf/x86/xen.S ../test-kernel/notes.S ../test-kernel/text.c ../test-kernel/user.S entries.S application.c tables.c other.c bench.c; do
  gcc $flags -c "$here/$file" -o "$objects/${file##*/}.o"
done
ld -static -z noexecstack -z max-page-size=4096 -Ttext-segment=0x100000 --build-id=none -s "$objects"/*.o -o "$out/bench-kernel.elf"
