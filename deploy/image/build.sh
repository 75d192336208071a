#!/usr/bin/env bash
# Builds a station's disk image and the update bundle of the same system. README.md says what is in it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
. "$repository/scripts/debian.sh"
. "$here/lib/root.sh"
. "$here/lib/disk.sh"

usage() {
  cat <<'USAGE'
Usage: build.sh --deb FILE [OPTIONS]

  --deb FILE        the arm64 package of ulna-edge (`make deb`)
  --board BOARD     uefi or rpi4 [default: uefi]; the system, and so the update bundle, is the same
  --out DIR         where the image and the bundle go [default: target/image]
  --version V       the system's version, as dpkg compares versions [default: the time, as YYYYMMDD.HHMM]
  --size GIB        size of the image [default: 4]; the state partition grows to the disk's end when a station is provisioned
  --key FILE        the key that signs the bundle, and
  --cert FILE       its certificate, which goes into the system as the only one it trusts
                    [default: a development key, made once in DIR/signing]
  --kiosk           with cage and chromium for the technician's page on the board's own screen
  --change SCRIPT   run SCRIPT with the system's folder as its argument before it is packed
  --fresh           fetch Debian's packages again

Needs Debian 12 or newer, root and 8 GB in DIR.
USAGE
}

fail() {
  echo "build.sh: $*" >&2
  exit 1
}

# A development key is good for trying things: whoever has it can change every station that trusts it.
signing_key() {
  if [ -z "$key$cert" ]; then
    key=$out/signing/development.key cert=$out/signing/development.pem
    if [ ! -e "$cert" ]; then
      mkdir -p "$out/signing"
      (umask 077 && openssl req -x509 -newkey rsa:3072 -nodes -days 3650 -subj '/CN=Ulna development updates' \
        -keyout "$key" -out "$cert" 2>/dev/null)
    fi
    echo "signed with the development key in $out/signing"
  fi
  [ -r "$key" ] && [ -r "$cert" ] || fail "--key and --cert go together, and must be readable"
}

deb='' board=uefi out=$repository/target/image version=$(date -u +%Y%m%d.%H%M) size_gib=4 key='' cert='' kiosk='' change='' fresh=''
while [ $# -gt 0 ]; do
  case $1 in
    --deb | --board | --out | --version | --size | --key | --cert | --change) [ $# -gt 1 ] || fail "$1 needs a value" ;;
  esac
  case $1 in
    --deb) deb=$2 && shift ;;
    --board) board=$2 && shift ;;
    --out) out=$2 && shift ;;
    --version) version=$2 && shift ;;
    --size) size_gib=$2 && shift ;;
    --key) key=$2 && shift ;;
    --cert) cert=$2 && shift ;;
    --change) change=$2 && shift ;;
    --kiosk) kiosk=1 ;;
    --fresh) fresh=1 ;;
    --help | -h) usage && exit ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift
done
case $board in uefi | rpi4) ;; *) fail "--board: uefi or rpi4, not $board" ;; esac
[ -n "$deb" ] && [ -r "$deb" ] || fail "--deb: the arm64 package of ulna-edge is needed"
[ "$(dpkg-deb -f "$deb" Architecture)" = arm64 ] || fail "$deb is not for arm64"
dpkg --validate-version "$version" || fail "--version: $version cannot be compared"
[ "$(id -u)" = 0 ] || fail "must be root"

debian_install mmdebstrap qemu-user-static arch-test rauc squashfs-tools dosfstools mtools fdisk grub-common openssl
mkdir -p "$out"
out=$(cd "$out" && pwd)
signing_key
run_arm64_programs

base=$out/base${kiosk:+-kiosk}.tar
[ -z "$fresh" ] || rm -f "$base"
make_base "$base"
make_root "$base" "$out/root"
pack_root "$out/root" "$out/ulna-$version.squashfs"
make_bundle "$out/ulna-$version.squashfs" "$out/ulna-$version.raucb"
make_disk "$out/ulna-$version.squashfs" "$out/ulna-$board-$version.img"
ls -lsh "$out/ulna-$version.squashfs" "$out/ulna-$version.raucb" "$out/ulna-$board-$version.img"
