#!/usr/bin/env bash
# Puts into a folder what counts the instructions that a program for arm64 executes: qemu's plugin `insn`, which Debian has in source
# only, and in `root` a Python with ONNX Runtime for arm64, and a processor's description that differs from this machine's own.
#
#   scripts/instruction-counter.sh FOLDER
set -euo pipefail
[ $# = 1 ] || { sed -n '2,5p' "$0" >&2; exit 2; }
cd "$(dirname "$0")/.."
. scripts/debian.sh

[ ! -e "$1/ready" ] || exit 0
rm -rf "$1"
mkdir -p "$1/source"
debian_install qemu-user libglib2.0-dev pkg-config gcc libc6-dev
folder=$(cd "$1" && pwd)

( debian_apt amd64 "$folder/source/apt"
  sed -i -e 's/^Types:.*/Types: deb-src/' -e '/^Architectures:/d' "$folder/source/apt/parts/debian.sources"
  apt-get -qq update
  cd "$folder/source" && apt-get -qq source --download-only qemu
  tar -xf qemu_*.orig.tar.xz --strip-components 1 --wildcards '*/tests/plugin/insn.c' '*/include/qemu/qemu-plugin.h' )
# shellcheck disable=SC2046
gcc -O2 -shared -fPIC -o "$folder/insn.so" "$folder/source/tests/plugin/insn.c" -I"$folder/source/include/qemu" \
  $(pkg-config --cflags --libs glib-2.0)

( debian_apt arm64 "$folder/arm64"
  debian_fetch python3 libstdc++6 libgcc-s1
  for package in "$folder"/arm64/cache/archives/*.deb; do dpkg -x "$package" "$folder/root"; done )
grep -E '^(numpy|onnxruntime)==' scripts/requirements-bench.txt >"$folder/requirements.txt"
scripts/pip-folder.sh "$folder/python" "$folder/requirements.txt" --no-deps --python-version 311 \
  --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64

# ONNX Runtime and tract look here for the core that they run on. qemu-user takes these files in the place of this machine's.
mkdir -p "$folder/root/proc" "$folder/root/sys/devices/system/cpu"
for list in possible present online; do echo 0 >"$folder/root/sys/devices/system/cpu/$list"; done
cat >"$folder/root/proc/cpuinfo" <<'CPU'
processor	: 0
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x4
CPU part	: 0xd0b
CPU revision	: 1

CPU
rm -r "$folder/source" "$folder/arm64"
touch "$folder/ready"
