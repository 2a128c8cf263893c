#!/bin/sh
# Builds test-kernel.elf, into the folder given or beside its source; with STRIP= it keeps its symbols. 77: there is no compiler.
set -e
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here}
command -v gcc >/dev/null && command -v ld >/dev/null || exit 77
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
flags="-O2 -m64 -ffreestanding -fno-builtin -fno-pic -fno-pie -fno-stack-protector -fcf-protection=none -mno-red-zone
  -fno-asynchronous-unwind-tables -mgeneral-regs-only -fno-strict-aliasing -Wall -Wextra"
for file in ../../perf/x86/xen.S entries.S notes.S kernel.c text.c time.c traps.c privileged.c events.c vcpus.c; do gcc $flags -c "$here/$file" -o "$objects/${file##*/}.o"; done
ld -static -z noexecstack -z max-page-size=4096 -Ttext-segment=0x100000 --build-id=none ${STRIP--s} "$objects"/*.o -o "$out/test-kernel.elf"
