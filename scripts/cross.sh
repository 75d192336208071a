#!/usr/bin/env bash
# Builds the station for a board on a Debian machine, without a container engine: what `cross build` does in one.
#
#   scripts/cross.sh aarch64|armv7 [options of cargo build]
#
# Rust's std for the board comes from Debian's packages of rustc-web, unpacked under third_party/cross beside a compiler of
# the same version; the machine's own toolchains are left alone, and no foreign architecture is added to its dpkg. The C
# compiler for the board is Debian's. Without options: --release. The binary lies in target/TARGET/PROFILE/edge.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
  aarch64) target=aarch64-unknown-linux-gnu deb=arm64 gnu=aarch64-linux-gnu ;;
  armv7) target=armv7-unknown-linux-gnueabihf deb=armhf gnu=arm-linux-gnueabihf ;;
  *) sed -n '2,9p' "$0" >&2; exit 2 ;;
esac
shift
[ $# -gt 0 ] || set -- --release

toolchain=$PWD/third_party/cross

root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

missing=()
for package in "gcc-$gnu" "libc6-dev-$deb-cross" qemu-user-static libz3-4 libxml2 libedit2; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "fetching from the distribution: ${missing[*]}"
  root apt-get -o DPkg::Lock::Timeout=600 -qq update
  root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
fi

# apt with lists of its own, which know the board's architecture too. The newest rustc-web there is; where std for one board
# is there already, that one's version.
fetch_toolchain() {
  local apt=$toolchain/apt part=$toolchain/part version series llvm packages
  rm -rf "$apt" "$part"
  mkdir -p "$apt"/{lists/partial,cache/archives/partial,parts} "$part"
  sed "/^Types:/a Architectures: amd64 $deb" /etc/apt/sources.list.d/debian.sources >"$apt/parts/debian.sources"
  cat >"$apt/apt.conf" <<EOF
APT::Architecture "amd64";
APT::Architectures { "amd64"; "$deb"; };
Dir::State::lists "$apt/lists";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt/parts";
Acquire::Languages "none";
APT::Sandbox::User "root";
EOF
  export APT_CONFIG=$apt/apt.conf
  apt-get -qq update
  version=$(cat "$toolchain/version" 2>/dev/null || apt-cache madison rustc-web | awk 'NR == 1 {print $3}')
  packages=("libstd-rust-web-dev:$deb=$version")
  if [ ! -e "$toolchain/version" ]; then
    series=$(cut -d. -f1,2 <<<"$version")
    llvm=$(apt-cache show "libstd-rust-web-$series=$version" | grep -o 'libllvm[0-9]*' | head -n 1)
    packages+=("rustc-web=$version" "libstd-rust-web-$series=$version" "libstd-rust-web-dev=$version" "$llvm")
  fi
  echo "fetching rustc-web $version with std for $deb"
  (cd "$apt/cache" && apt-get -qq download "${packages[@]}" && for package in *.deb; do dpkg -x "$package" "$part"; done)
  unset APT_CONFIG
  cp -a "$part/." "$toolchain/"
  rm -rf "$apt" "$part"
  printf '#!/bin/sh\nLD_LIBRARY_PATH=%s/usr/lib/x86_64-linux-gnu exec %s/usr/bin/rustc "$@"\n' "$toolchain" "$toolchain" >"$toolchain/rustc"
  chmod +x "$toolchain/rustc"
  echo "$version" >"$toolchain/version"
  touch "$toolchain/std-$deb"
}
[ -e "$toolchain/std-$deb" ] || fetch_toolchain

upper=$(tr a-z- A-Z_ <<<"$target") lower=$(tr - _ <<<"$target")
export RUSTC=$toolchain/rustc
export "CARGO_TARGET_${upper}_LINKER=$gnu-gcc" "CC_$lower=$gnu-gcc" "AR_$lower=$gnu-ar"
export "CARGO_TARGET_${upper}_RUNNER=qemu-${gnu%%-*}-static -L /usr/$gnu"
exec cargo build --locked --package edge --no-default-features --target "$target" "$@"
