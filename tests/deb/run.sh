#!/usr/bin/env bash
# The package's life in a Debian 12 root without a running systemd: contents, lintian, install, provision, upgrade, refused
# configuration, remove, reinstall, purge. As root; the root is made once, by mmdebstrap, under target/deb-test.
#
#   tests/deb/run.sh [FILE.deb]...      (without: the newest amd64 package in target/deb and target/deb-ci)
#
# The station runs twice for STATION_S seconds (60), after which it must have scored an image; 0 leaves that out, and says so.
# A package for another architecture needs qemu-user-static's binfmt entry. Closes with the number of checks, and fails if
# one failed.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/debian.sh
[ "$(id -u)" = 0 ] || { echo "run it as root: it enters a root folder" >&2; exit 2; }

work=target/deb-test
station_s=${STATION_S:-60}
passed=0 failed=0

# check WHAT COMMAND...: one line, and the command's output where it failed.
check() {
  local said
  if said=$("${@:2}" 2>&1); then
    passed=$((passed + 1))
    echo "ok    $1"
  else
    failed=$((failed + 1))
    printf 'FAIL  %s\n' "$1"
    printf '%s\n' "$said" | tail -n 20 | sed 's/^/        /'
  fi
}
not() { ! "$@"; }
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
# The bare names of what the package puts where.
holds() { grep -qx -- "$1" <<<"$contents"; }
is_at() { [ "$(inside stat -c %U:%G:%a "$1")" = "$2" ]; }
there() { inside test -e "$1"; }
enabled() { [ -L "$root/etc/systemd/system/multi-user.target.wants/ulna-edge.service" ]; }
says() { grep -q "$@" "$work/said"; }
dpkg_says() { inside dpkg "$@" >"$work/said" 2>&1 || { cat "$work/said"; return 1; }; }
same_as_before() { diff <(sums) "$work/before"; }
sums() { inside find /etc/ulna /var/lib/ulna /var/spool/ulna -type f -exec sha256sum {} + | sort; }

leave() { for place in dev proc; do mountpoint -q "$root/$place" && umount -R "$root/$place"; done; true; }

make_root() {
  local tar=$work/root-$1.tar
  mkdir -p "$work"
  if [ ! -s "$tar" ]; then
    debian_install mmdebstrap
    mmdebstrap --quiet --architectures="$1" --variant=minbase --include=systemd,udev,libgcc-s1 bookworm "$tar.part.tar"
    mv "$tar.part.tar" "$tar"
  fi
  root=$work/root-$1
  leave
  rm -rf --one-file-system "$root"
  mkdir -p "$root"
  tar -C "$root" --exclude='./dev/*' -xf "$tar"
  mount -t proc proc "$root/proc"
  mount --bind /dev "$root/dev"
  trap leave EXIT
}

# The same package, older.
make_older() {
  rm -rf "$work/older"
  dpkg-deb -R "$1" "$work/older"
  sed -i 's/^Version: .*/Version: 0.0.9-1/' "$work/older/DEBIAN/control"
  echo '# older' >>"$work/older/usr/share/doc/ulna-edge/README.md"
  dpkg-deb -Zgzip -z1 --root-owner-group -b "$work/older" "$root/older.deb" >/dev/null
  cp "$1" "$root/newer.deb"
}

check_contents() {
  local path
  contents=$(dpkg-deb -c "$1" | awk '{print $6}' | sed 's/^\.//')
  for path in /usr/bin/edge /usr/lib/systemd/system/ulna-edge.service /usr/lib/udev/rules.d/60-ulna.rules \
    /usr/lib/sysusers.d/ulna-edge.conf /usr/lib/tmpfiles.d/ulna-edge.conf /usr/share/man/man1/edge.1.gz \
    /usr/share/man/man1/edge-outbox-export.1.gz /usr/share/bash-completion/completions/edge \
    /usr/share/zsh/vendor-completions/_edge /usr/share/fish/vendor_completions.d/edge.fish \
    /usr/share/doc/ulna-edge/{copyright,changelog.gz,changelog.Debian.gz,third-party-licences.txt.gz,README.md} \
    /usr/share/doc/ulna-edge/examples/edge.toml /usr/share/doc/ulna-edge/examples/demo-bundle/manifest.json \
    /usr/share/doc/ulna-edge/examples/demo-bundle/golden/0.png; do
    check "it has $path" holds "$path"
  done
  check "nothing of it lies in /etc or /var" not grep -qE '^/(etc|var)/' <<<"$contents"
  check "copyright names a crate that it is made of" \
    bash -c "dpkg-deb --fsys-tarfile '$1' | tar -xO ./usr/share/doc/ulna-edge/copyright | grep -q '^ tract-onnx .*Apache'"
  check "the licences' texts are there" \
    bash -c "dpkg-deb --fsys-tarfile '$1' | tar -xO ./usr/share/doc/ulna-edge/third-party-licences.txt.gz | zcat | grep -c . | awk '\$1 < 1000 {exit 1}'"
  debian_install lintian
  check "lintian has no errors" lintian --fail-on error "$1"
}

provision() {
  inside install -m 640 -g ulna /usr/share/doc/ulna-edge/examples/edge.toml /etc/ulna/edge.toml
  sed -i 's,^#bundle_dir = .*,bundle_dir = "/usr/share/doc/ulna-edge/examples/demo-bundle",; s/^#allow_demo_model = .*/allow_demo_model = true/' \
    "$root/etc/ulna/edge.toml"
}

# run_station SECONDS: the service as its user, told to stop after so long.
run_station() {
  inside install -d -o ulna -g ulna -m 0750 /run/ulna
  inside setpriv --reuid=ulna --regid=ulna --init-groups --no-new-privs timeout -k 5 "$1" edge run --config /etc/ulna/edge.toml \
    >"$work/station.log" 2>&1 || [ $? = 124 ] || { cat "$work/station.log"; return 1; }
}

check_life() {
  local version
  version=$(dpkg-deb -f "$1" Version)
  check "an older one installs without a running systemd" dpkg_says -i /older.deb
  check "it says that the station is not provisioned" says "not provisioned"
  check "the unit is enabled" enabled
  check "no configuration is active" not there /etc/ulna/edge.toml
  check "/etc/ulna is root's, and the group reads it" is_at /etc/ulna root:ulna:750
  check "/var/lib/ulna is the user's alone" is_at /var/lib/ulna ulna:ulna:700
  check "/var/spool/ulna is the group's" is_at /var/spool/ulna ulna:ulna:2770
  check "the program runs" inside edge --version
  check "systemd finds nothing wrong in the unit" inside systemd-analyze verify /usr/lib/systemd/system/ulna-edge.service

  provision
  check "the default configuration, provisioned, is accepted" inside edge config check /etc/ulna/edge.toml
  if [ "$station_s" = 0 ]; then
    echo "      not checked: that the station runs, and its store is kept"
    inside install -o ulna -g ulna -m 600 /etc/hostname /var/lib/ulna/state
  else
    inside install -d -o ulna -g ulna -m 2770 /var/spool/ulna/XR_HAND
    inside install -o ulna -g ulna -m 660 /usr/share/doc/ulna-edge/examples/demo-bundle/golden/0.png /var/spool/ulna/XR_HAND/0.png
    check "the station runs as its user and stops when told" run_station "$station_s"
    check "it has made its store" there /var/lib/ulna/ulna.sqlite
    check "it has taken the image from the spool" not there /var/spool/ulna/XR_HAND/0.png
  fi
  sums >"$work/before"

  check "the newer one installs over it" dpkg_says -i /newer.deb
  check "the version is $version" test "$(inside dpkg-query -W -f '${Version}' ulna-edge)" = "$version"
  check "configuration and state are kept" same_as_before
  check "a good configuration is passed over in silence" not says "ulna-edge:"
  if [ "$station_s" != 0 ]; then
    check "the station starts on the kept store" run_station "$station_s"
    check "its result waits in the outbox" bash -c "chroot $root setpriv --reuid=ulna --regid=ulna --init-groups edge outbox list | grep -q HAN-"
  fi

  cp "$root/etc/ulna/edge.toml" "$work/edge.toml"
  echo 'of_an_older_version = 1' | cat - "$work/edge.toml" >"$root/etc/ulna/edge.toml"
  sums >"$work/before"
  check "an upgrade over a configuration that it refuses succeeds" dpkg_says -i /newer.deb
  check "it warns, and names the key" says "of_an_older_version"
  check "it leaves that configuration alone" same_as_before
  cp "$work/edge.toml" "$root/etc/ulna/edge.toml"
  sums >"$work/before"

  check "it can be removed" dpkg_says -r ulna-edge
  check "the program is gone" not there /usr/bin/edge
  check "configuration and state are kept" same_as_before
  check "it can be installed again" dpkg_says -i /newer.deb
  check "the unit is enabled again" enabled
  check "it can be purged" dpkg_says -P ulna-edge
  check "dpkg had nothing to complain about" not says -i "warning\|cannot\|error"
  for path in /etc/ulna /var/lib/ulna /var/spool/ulna /usr/bin/edge /usr/lib/systemd/system/ulna-edge.service \
    /usr/share/doc/ulna-edge /etc/systemd/system/ulna-edge.service; do
    check "$path is gone" not there "$path"
  done
  check "the unit is not enabled" not enabled
  check "the user stays" inside getent passwd ulna
}

debs=("$@")
[ ${#debs[@]} -gt 0 ] || mapfile -t debs < <(ls -t target/deb/*_amd64.deb target/deb-ci/*_amd64.deb 2>/dev/null | head -n 1)
[ ${#debs[@]} -gt 0 ] || { echo "no package: make one with scripts/deb.sh amd64" >&2; exit 2; }
for deb in "${debs[@]}"; do
  echo "== $(basename "$deb")"
  check_contents "$deb"
  make_root "$(dpkg-deb -f "$deb" Architecture)"
  make_older "$deb"
  check_life "$deb"
  leave
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
