#!/bin/sh
# Builds the kernels of the benchmark into a folder: bench.elf for `ringzero boot`, native for this host. 77: there is no compiler.
set -e
here=$(dirname "$0")
out=$1
command -v gcc >/dev/null && command -v ld >/dev/null || exit 77
flags="-O2 -ffreestanding -fno-builtin -fno-tree-loop-distribute-patterns -fno-pic -fno-pie -fno-stack-protector -fcf-protection=none
  -fno-asynchronous-unwind-tables -mgeneral-regs-only -fno-strict-aliasing -mno-red-zone -Wall"
gcc -m64 $flags -c "$here/kernels.c" -o "$out/kernels.o"
gcc -m64 $flags -c "$here/kmain.c" -o "$out/kmain.o"
gcc -m64 -c "$here/start.S" -o "$out/start.o"
ld -static -z noexecstack -z max-page-size=4096 -Ttext-segment=0x100000 "$out/start.o" "$out/kmain.o" "$out/kernels.o" -o "$out/bench.elf"
gcc -m64 -O2 -no-pie -fno-pie "$here/native.c" "$out/kernels.o" -o "$out/native" -lpthread
for kernel in smp litmus pong; do
	gcc -m64 $flags -c "$here/$kernel.c" -o "$out/$kernel.o"
	ld -static -z noexecstack -z max-page-size=4096 -Ttext-segment=0x100000 "$out/start.o" "$out/$kernel.o" -o "$out/$kernel.elf"
done
