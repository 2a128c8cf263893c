#!/bin/sh
# Builds kernels into a folder: bench.elf, smp.elf, litmus.elf and pong.elf for `ringzero boot`, and for this host
# bench's and litmus's: native and litmus-native.
# `build.sh FOLDER compared` builds besides, of the same sources, multiboot64.elf for QEMU, multiboot32.elf for v86 and native32 for its
# checksums; and events for QEMU, for the bare core (events.elf) and for this host. 77: there is no compiler.
set -e
here=$(dirname "$0")
out=$1
command -v gcc >/dev/null && command -v ld >/dev/null || exit 77
flags="-O2 -ffreestanding -fno-builtin -fno-tree-loop-distribute-patterns -fno-pic -fno-pie -fno-stack-protector -fcf-protection=none
  -fno-asynchronous-unwind-tables -mgeneral-regs-only -fno-strict-aliasing -Wall"

# compile BITS NAME...
compile() {
  bits=$1
  shift
  [ "$bits" = 32 ] || red=-mno-red-zone
  for name; do
    file=$here/$name
    gcc -m$bits $flags $red -c "$file" -o "$out/$name.$bits.o"
  done
  red=
}
# objects BITS NAME...
objects() {
  bits=$1
  shift
  for name; do printf '%s ' "$out/$name.$bits.o"; done
}
# For `ringzero boot`: xen NAME.elf OBJECT...
xen() {
  file=$1
  shift
  ld -static -z noexecstack -z max-page-size=4096 -Ttext-segment=0x100000 "$@" -o "$out/$file"
}
# For a multiboot loader, which takes 32-bit files only: multiboot BITS NAME.elf OBJECT...
multiboot() {
  emulation=elf_i386
  [ "$1" = 32 ] || emulation=elf_x86_64
  file=$2
  shift 2
  ld -m $emulation -static -z noexecstack -z max-page-size=4096 -T "$here/multiboot.ld" "$@" -o "$out/$file"
  [ $emulation = elf_i386 ] || objcopy -O elf32-i386 "$out/$file"
}

compile 64 kernels.c text.c bench.c xen.c xen.S vcpus.c smp.c litmus.c pong.c contend.c
xen bench.elf $(objects 64 xen.S xen.c bench.c text.c kernels.c)
for kernel in smp litmus pong contend; do xen $kernel.elf $(objects 64 xen.S xen.c text.c vcpus.c $kernel.c); done
gcc -m64 -O2 -no-pie -fno-pie "$here/native.c" "$out/kernels.c.64.o" -o "$out/native" -lpthread
gcc -m64 -O2 -no-pie -fno-pie "$here/litmus-native.c" "$out/litmus.c.64.o" "$out/text.c.64.o" -o "$out/litmus-native" -lpthread
[ "$2" = compared ] || exit 0

compile 64 multiboot.c multiboot.S
multiboot 64 multiboot64.elf $(objects 64 multiboot.S multiboot.c bench.c text.c kernels.c)
compile 32 kernels.c text.c bench.c linux32.c multiboot.c multiboot.S
multiboot 32 multiboot32.elf $(objects 32 multiboot.S multiboot.c bench.c text.c kernels.c)
ld -m elf_i386 -static -z noexecstack $(objects 32 linux32.c bench.c text.c kernels.c) -o "$out/native32"

compile 64 events.c events-run.c events-multiboot.c events-bare.S
multiboot 64 events-multiboot64.elf $(objects 64 multiboot.S multiboot.c text.c events-run.c events-multiboot.c events.c)
xen events.elf $(objects 64 events-bare.S events.c)
gcc -m64 -O2 -no-pie -fno-pie "$here/events-native.c" "$out/events.c.64.o" -o "$out/events-native" -lpthread
