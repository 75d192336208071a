#!/usr/bin/env bash
# Builds the station's Debian package ulna-edge, and the same files as a portable tarball.
#
#   scripts/deb.sh [arm64|armhf|amd64]... [--profile release|ci] [--binary FILE] [--out DIR]
#
# Without an architecture: all three. --profile ci builds in half the time, for tests only, into target/deb-ci in place of
# target/deb. --binary takes an edge that was built already. Symbols are split off, into ulna-edge-dbgsym_*.tar.xz.
# The same commit and the same binary give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/debian.sh

CARGO_DEB=3.8.0
CARGO_ABOUT=0.9.3
STAGE=target/deb/stage

usage() { sed -n '2,8p' "$0" >&2; exit 2; }
fail() { echo "deb.sh: $*" >&2; exit 1; }

profile=release binary='' out='' arches=()
while [ $# -gt 0 ]; do
  case $1 in
    --profile) profile=${2:?}; shift 2 ;;
    --binary) binary=$(realpath "${2:?}"); shift 2 ;;
    --out) out=${2:?}; shift 2 ;;
    arm64 | armhf | amd64) arches+=("$1"); shift ;;
    *) usage ;;
  esac
done
case $profile in release | ci) ;; *) usage ;; esac
[ ${#arches[@]} -gt 0 ] || arches=(arm64 armhf amd64)
[ -z "$binary" ] || [ ${#arches[@]} = 1 ] || fail "--binary is for one architecture"
[ -n "$out" ] || { [ "$profile" = release ] && out=target/deb || out=target/deb-ci; }

# With more threads, what xz makes would depend on the machine.
export PATH=$PWD/third_party/tools/bin:$PATH LC_ALL=C TZ=UTC XZ_DEFAULTS=-T1
umask 022
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
# Everything in a package is as old as the sources.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.lock)}
export SOURCE_DATE_EPOCH

# What an architecture is called elsewhere, and the newest glibc that its program may need: Ubuntu 22.04 has 2.35, Debian 12
# 2.36. (On amd64, hypot has a new version in 2.35.)
facts() {
  case $1 in
    arm64) triple=aarch64-unknown-linux-gnu gnu=aarch64-linux-gnu cross=aarch64 glibc=2.34 ;;
    armhf) triple=armv7-unknown-linux-gnueabihf gnu=arm-linux-gnueabihf cross=armv7 glibc=2.34 ;;
    amd64) triple=x86_64-unknown-linux-gnu gnu=x86_64-linux-gnu cross='' glibc=2.35 ;;
  esac
  runner=()
  if [ "$(dpkg --print-architecture)" = "$1" ]; then
    debian_install binutils
  else
    # cross.sh's packages, for whoever brings a binary.
    debian_install "binutils-$gnu" "libc6-$1-cross" "libgcc-s1-$1-cross" qemu-user-static
    runner=("qemu-${gnu%%-*}-static" -L "/usr/$gnu")
  fi
}

build() {
  if [ -n "$binary" ]; then
    built=$binary
    return
  fi
  if [ -n "$cross" ]; then
    scripts/cross.sh "$cross" --profile "$profile"
  else
    cargo build --locked --package edge --no-default-features --target "$triple" --profile "$profile"
  fi
  built=${CARGO_TARGET_DIR:-target}/$triple/$profile/edge
}

# The program without its symbols, which go to $STAGE.debug in the place where gdb looks for them.
split_symbols() {
  local symbols=$STAGE.debug/usr/lib/debug/usr/bin/edge.debug
  mkdir -p "$(dirname "$symbols")" "$STAGE/usr/bin"
  "$gnu-objcopy" --only-keep-debug --compress-debug-sections "$built" "$symbols"
  "$gnu-strip" --remove-section=.comment -o "$STAGE/usr/bin/edge" "$built"
  if "$gnu-readelf" -SW "$symbols" 2>/dev/null | grep -q '\.symtab'; then
    "$gnu-objcopy" --add-gnu-debuglink="$symbols" "$STAGE/usr/bin/edge"
  else
    rm -r "$STAGE.debug"
  fi
}

# What [package.metadata.deb] says the program depends on is all that it needs.
check_needs() {
  local newest others
  newest=$("$gnu-objdump" -T "$STAGE/usr/bin/edge" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
  [ "$(printf '%s\n' "$newest" "GLIBC_$glibc" | sort -V | tail -n 1)" = "GLIBC_$glibc" ] ||
    fail "edge for $1 needs $newest, and may need no more than GLIBC_$glibc"
  others=$("$gnu-readelf" -dW "$STAGE/usr/bin/edge" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
    grep -vE '^(libc|libm|libdl|libpthread|libgcc_s|ld-linux.*)\.so\.[0-9]$' || true)
  [ -z "$others" ] || fail "edge for $1 needs libraries that the package does not depend on:" $others
}

# Licences of the crates that the program is made of, for all three targets, as their sources on this machine say: two parts
# with a line %% between them. Reading them all takes minutes, so they are kept until something about them changes.
licences() {
  local kept
  kept=target/deb/licences-$(cat Cargo.lock edge/Cargo.toml deploy/deb/about.* | sha256sum | cut -c1-16)
  if [ ! -s "$kept" ]; then
    (cd edge && cargo about -L error generate --frozen --no-default-features \
      --config ../deploy/deb/about.toml ../deploy/deb/about.hbs) >"$kept.part"
    rm -f target/deb/licences-????????????????
    mv "$kept.part" "$kept"
  fi
  cat "$kept"
}

# What is installed, where [package.metadata.deb] finds it.
stage() {
  local share=$STAGE/usr/share
  local doc=$share/doc/ulna-edge
  rm -rf "$STAGE" "$STAGE.debug"
  split_symbols
  check_needs "$1"

  edge() { "${runner[@]}" "$STAGE/usr/bin/edge" "$@"; }
  mkdir -p "$share"/{bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d,man/man1}
  edge man --out "$share/man/man1"
  gzip -9n "$share"/man/man1/*.1
  edge completions bash >"$share/bash-completion/completions/edge"
  edge completions zsh >"$share/zsh/vendor-completions/_edge"
  edge completions fish >"$share/fish/vendor_completions.d/edge.fish"

  install -D -m 644 deploy/systemd/ulna-edge.service -t "$STAGE/usr/lib/systemd/system"
  install -D -m 644 deploy/systemd/ulna.sysusers.conf "$STAGE/usr/lib/sysusers.d/ulna-edge.conf"
  install -D -m 644 deploy/systemd/ulna.tmpfiles.conf "$STAGE/usr/lib/tmpfiles.d/ulna-edge.conf"
  install -D -m 644 deploy/systemd/60-ulna.rules -t "$STAGE/usr/lib/udev/rules.d"
  install -D -m 644 deploy/deb/lintian-overrides "$share/lintian/overrides/ulna-edge"

  install -D -m 644 deploy/config/edge.toml -t "$doc/examples"
  install -D -m 644 edge/demo/bundle/*.* -t "$doc/examples/demo-bundle"
  install -D -m 644 edge/demo/bundle/golden/* -t "$doc/examples/demo-bundle/golden"
  install -m 644 deploy/deb/README.md "$doc"
  gzip -9nc CHANGELOG.md >"$doc/changelog.gz"
  licences >"$STAGE.licences"
  sed '/^%%$/Q' "$STAGE.licences" | sed -e '/^@CRATES@$/{r /dev/stdin' -e 'd}' deploy/deb/copyright.in >"$STAGE.copyright"
  sed '1,/^%%$/d' "$STAGE.licences" | gzip -9n >"$doc/third-party-licences.txt.gz"
  cat >"$STAGE.changelog" <<LOG
ulna-edge ($version-1) stable; urgency=medium

  * Built from the sources; what changed in them is in changelog.gz.

 -- Ulna maintainers <maintainers@ulna.example>  $(date --utc --date="@$SOURCE_DATE_EPOCH" -R)
LOG
}

# pack FOLDER FILE: the folder's contents as root's, all of one age.
pack() {
  tar -C "$1" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" --format=gnu -c . |
    xz $([ "$profile" = release ] || echo -1) >"$2"
}

portable() {
  local name=ulna-edge-$version-$1
  local folder=$STAGE.tar
  rm -rf "$folder"
  mkdir -p "$folder/$name"
  cp -a "$STAGE/usr" deploy/deb/INSTALL LICENSE-MIT LICENSE-APACHE "$folder/$name/"
  cp "$STAGE.copyright" "$folder/$name/usr/share/doc/ulna-edge/copyright"
  rm -r "$folder/$name/usr/share/lintian"
  chmod -R u=rwX,go=rX "$folder/$name"
  pack "$folder" "$out/$name.tar.xz"
}

debian_install xz-utils dpkg-dev
# Half optimised: cargo-about compares thousands of texts.
export CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=false
scripts/cargo-tool.sh cargo-deb "$CARGO_DEB"
scripts/cargo-tool.sh cargo-about "$CARGO_ABOUT" --features cli
unset CARGO_PROFILE_DEV_OPT_LEVEL CARGO_PROFILE_DEV_DEBUG
cargo fetch --locked --quiet
mkdir -p target/deb "$out"
for arch in "${arches[@]}"; do
  facts "$arch"
  build
  stage "$arch"
  cargo deb --quiet --locked --no-build --no-strip --package edge --target "$triple" --variant "$arch" \
    --compress-system $([ "$profile" = release ] || echo --fast) --output "$out/ulna-edge_$version-1_$arch.deb"
  portable "$arch"
  rm -f "$out/ulna-edge-dbgsym_$version-1_$arch.tar.xz"
  [ ! -d "$STAGE.debug" ] || pack "$STAGE.debug" "$out/ulna-edge-dbgsym_$version-1_$arch.tar.xz"
  rm -rf "$STAGE" "$STAGE".*
  (cd "$out" && ls -sh --block-size=k "ulna-edge_$version-1_$arch.deb" "ulna-edge-$version-$arch.tar.xz")
done
