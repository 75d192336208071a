#!/usr/bin/env bash
# Builds the station for a board on a Debian machine, without a container engine: what `cross build` does in one.
#
#   scripts/cross.sh aarch64|armv7 [options of cargo build]
#   scripts/cross.sh aarch64|armv7 test [options of cargo test]
#
# The compiler with Rust's std for the board (scripts/cross-toolchain.sh) and the C compiler for it are Debian's. Without
# options: --release. The binary lies in target/TARGET/PROFILE/edge. Tests run under qemu-user.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/debian.sh

case ${1:-} in
  aarch64) target=aarch64-unknown-linux-gnu deb=arm64 gnu=aarch64-linux-gnu ;;
  armv7) target=armv7-unknown-linux-gnueabihf deb=armhf gnu=arm-linux-gnueabihf ;;
  *) sed -n '2,8p' "$0" >&2; exit 2 ;;
esac
shift
does=build
[ "${1:-}" != test ] || { does=test && shift; }
[ $# -gt 0 ] || set -- --release

debian_install "gcc-$gnu" "libc6-dev-$deb-cross" qemu-user-static
scripts/cross-toolchain.sh "$deb"

upper=$(tr a-z- A-Z_ <<<"$target") lower=$(tr - _ <<<"$target")
export RUSTC=$PWD/third_party/cross/rustc
export "CARGO_TARGET_${upper}_LINKER=$gnu-gcc" "CC_$lower=$gnu-gcc" "AR_$lower=$gnu-ar"
export "CARGO_TARGET_${upper}_RUNNER=qemu-${gnu%%-*}-static -L /usr/$gnu"
exec cargo "$does" --locked --package edge --no-default-features --target "$target" "$@"
