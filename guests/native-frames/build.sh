#!/bin/sh
# Builds native-frames.elf into a folder, for `qemu-system-x86_64 -kernel`. 77: there is no compiler.
set -e
here=$(cd "$(dirname "$0")" && pwd)
out=$1
command -v gcc >/dev/null && command -v ld >/dev/null && command -v objcopy >/dev/null || exit 77
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
flags="-O2 -m64 -ffreestanding -fno-builtin -fno-pic -fno-pie -fno-stack-protector -fcf-protection=none -mno-red-zone
  -fno-asynchronous-unwind-tables -mgeneral-regs-only -fno-strict-aliasing -Wall -Wextra"
kernel=$here/../test-kernel
for file in "$here/../../perf/x86/multiboot.S" "$here/stubs.S" "$here/native.c" "$kernel/applications.S" "$kernel/text.c" "$kernel/frames.c"; do
  gcc $flags -c "$file" -o "$objects/$(basename "$file").o"
done
ld -static -z noexecstack -z max-page-size=4096 -T "$here/../../perf/x86/multiboot.ld" "$objects"/*.o -o "$out/native-frames.elf"
objcopy -O elf32-i386 "$out/native-frames.elf"
