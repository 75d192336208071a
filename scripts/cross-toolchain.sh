#!/usr/bin/env bash
# Fetches a Rust compiler with std for a board into third_party/cross, from Debian's packages of rustc-web; the machine's own
# toolchains are left alone.
#
#   scripts/cross-toolchain.sh arm64|armhf
#
# third_party/cross/rustc is the compiler; its sysroot is third_party/cross/usr.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/debian.sh

deb=${1:-}
case $deb in arm64 | armhf) ;; *) sed -n '2,7p' "$0" >&2; exit 2 ;; esac
toolchain=$PWD/third_party/cross part=$PWD/third_party/cross.part sums=$PWD/scripts/cross-toolchain.sha256
[ ! -e "$toolchain/std-$deb" ] || exit 0

# What the compiler itself is linked against.
debian_install libz3-4 libxml2 libedit2

rm -rf "$part"
mkdir -p "$part/debs"
cd "$part/debs"
debian_apt amd64 ../apt-amd64
# The newest there is; where std for the other board is there already, that one's version.
version=$(cat "$toolchain/version" 2>/dev/null || apt-cache madison rustc-web | awk 'NR == 1 {print $3}')
echo "fetching rustc-web $version with std for $deb"
if [ ! -e "$toolchain/version" ]; then
  series=$(cut -d. -f1,2 <<<"$version")
  llvm=$(apt-cache show "libstd-rust-web-$series=$version" | grep -o 'libllvm[0-9]*' | head -n 1)
  apt-get -qq download "rustc-web=$version" "libstd-rust-web-$series=$version" "libstd-rust-web-dev=$version" "$llvm"
fi
# A mirror's index for the board may lag behind its signed list of indexes, and apt then trusts neither.
# Asked for elsewhere: a package that lies here already has no address.
uri=$(cd /; apt-get --print-uris download "libstd-rust-web-dev=$version" | cut -d"'" -f2)
if debian_apt "$deb" "../apt-$deb"; then
  apt-get -qq download "libstd-rust-web-dev=$version"
else
  echo "the index for $deb is stale on this machine's mirror; the package must have its sha256 in scripts/cross-toolchain.sha256"
  file=libstd-rust-web-dev_${version}_$deb.deb
  /usr/lib/apt/apt-helper download-file "${uri/_amd64.deb/_$deb.deb}" "$file" >/dev/null
  grep " $file\$" "$sums" | sha256sum --check --quiet - ||
    { echo "cannot trust $file: no sha256 in scripts/cross-toolchain.sha256 fits it; try again when the mirror has caught up" >&2; exit 1; }
fi
mkdir -p "$toolchain"
for package in *.deb; do dpkg -x "$package" "$toolchain"; done
rm -rf "$part"
printf '#!/bin/sh\nLD_LIBRARY_PATH=%s/usr/lib/x86_64-linux-gnu exec %s/usr/bin/rustc "$@"\n' "$toolchain" "$toolchain" >"$toolchain/rustc"
chmod +x "$toolchain/rustc"
echo "$version" >"$toolchain/version"
touch "$toolchain/std-$deb"
