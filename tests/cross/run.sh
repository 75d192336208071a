#!/usr/bin/env bash
# Runs the real `cross` with podman on this checkout, and says what that proved.
#
#   tests/cross/run.sh [options of cross build]     (default: --release --target aarch64-unknown-linux-gnu)
#
# No image is pulled: debootstrap makes the one that deploy/cross/Dockerfile starts FROM, and podman builds that file on it.
# The compiler is Debian's (scripts/cross-toolchain.sh), linked into a rustup home of its own, so that nothing is asked of
# rustup's servers and no toolchain of the machine is touched. The build itself runs without a network.
#
# Needs root, cross 0.2.5 (cargo install cross) and: apt-get install podman crun debootstrap binutils
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- --release --target aarch64-unknown-linux-gnu

work=$PWD/target/cross-test
PATH=$PWD/third_party/tools/bin:$PATH
for tool in podman crun debootstrap cross rustup objdump; do
  command -v "$tool" >/dev/null || { echo "tests/cross: $tool is missing; install what the head of tests/cross/run.sh names" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "tests/cross: debootstrap and the container need root; run it with sudo" >&2; exit 1; }
# podman wants a cgroup tree of version 2 and mounts of its own.
if [ -z "${ULNA_CROSS_UNSHARED:-}" ]; then
  exec env ULNA_CROSS_UNSHARED=1 unshare --mount "$0" "$@"
fi
mkdir -p "$work"
mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null || echo "tests/cross: no cgroup2 tree of its own; going on with the machine's"

case "$*" in
  *armv7*) scripts/cross-toolchain.sh armhf ;;
  *) scripts/cross-toolchain.sh arm64 ;;
esac
compiler=$PWD/third_party/cross

# podman keeps its images here, and asks for limits that a container may lower, and not raise.
cat >"$work/storage.conf" <<EOF
[storage]
driver = "overlay"
graphroot = "$work/storage"
runroot = "$work/storage-run"
EOF
cat >"$work/containers.conf" <<EOF
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "crun"
cgroup_manager = "cgroupfs"
events_logger = "file"
EOF
export CONTAINERS_STORAGE_CONF=$work/storage.conf CONTAINERS_CONF=$work/containers.conf

# The image that the Dockerfile starts from, with this machine's package sources; its tag is the one that the file names.
base=$(sed -n 's/^FROM //p' deploy/cross/Dockerfile)
if ! podman image exists "docker.io/library/$base"; then
  echo "== debootstrap makes $base"
  rm -rf "$work/root"
  mirror=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources | head -n 1)
  # The last three are what Debian's compiler is linked against; the project needs none of them.
  debootstrap --variant=minbase --include=ca-certificates,libz3-4,libxml2,libedit2 bookworm "$work/root" "$mirror" >"$work/debootstrap.log"
  rm -rf "$work"/root/etc/apt/sources.list "$work"/root/var/cache/apt/archives/*.deb
  cp -r /etc/apt/sources.list.d /etc/apt/apt.conf.d "$work/root/etc/apt/"
  tar -C "$work/root" -c . | podman import --quiet - "docker.io/library/$base" >/dev/null
  rm -rf "$work/root"
fi

# cross takes the name of the compiler's folder (`usr`) for the toolchain's, looks for it in rustup's list, and would fetch it
# if it were not there or were the active one, which 0.2.5 does not recognise: so two links, the other one active.
mkdir -p "$work/rustup"
install -m755 "$(rustup which cargo)" "$compiler/usr/bin/cargo"
export RUSTUP_HOME=$work/rustup RUSTUP_TOOLCHAIN=active RUSTC=$compiler/rustc
rustup toolchain link usr "$compiler/usr"
rustup toolchain link active "$compiler/usr"
before=$(rustup toolchain list)

echo "== cross build $*"
cargo fetch --locked --quiet
started=$SECONDS
CROSS_CUSTOM_TOOLCHAIN=1 CROSS_CONTAINER_ENGINE=podman \
  CROSS_BUILD_OPTS="--network=host --isolation=chroot" \
  CROSS_CONTAINER_OPTS="--network=none --env LD_LIBRARY_PATH=/rust/lib/x86_64-linux-gnu --env CARGO_NET_OFFLINE=true" \
  cross build --locked "$@"

[ "$(rustup toolchain list)" = "$before" ] || { echo "tests/cross: rustup's toolchains changed" >&2; exit 1; }
binary=$(find target/*-unknown-linux-gnu* -maxdepth 2 -name edge -newer "$work/containers.conf" -print -quit)
[ -n "$binary" ] || { echo "tests/cross: no edge was built" >&2; exit 1; }
glibc=$(objdump -T "$binary" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
echo "== proved: $(cross --version | head -n 1) with $(podman --version) built $binary in $((SECONDS - started)) s without a network;" \
  "needs $glibc; rustup fetched nothing"
