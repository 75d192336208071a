#!/bin/bash
# Makes src/bindings_64.rs and src/bindings_32.rs again from Debian 12's kernel headers.
#
# Needs what no build of Ulna needs: cargo, libclang (Debian: libclang1-14 libclang-common-14-dev), apt. The
# headers are unpacked into a temporary folder, so nothing is installed and root is not needed.
set -euo pipefail
cd "$(dirname "$0")"

BINDGEN_VERSION=0.73.2
WORK=${WORK:-$(mktemp -d)}
export LIBCLANG_PATH=${LIBCLANG_PATH:-/usr/lib/llvm-14/lib}

[ -x "$WORK/bin/bindgen" ] || cargo install bindgen-cli --version "$BINDGEN_VERSION" --locked --root "$WORK"

# headers ARCH TRIPLE: the C library's and the kernel's headers of one architecture, under $WORK/ARCH.
headers() {
    local folder=$WORK/$1
    mkdir -p "$folder" && (cd "$folder" && apt-get download "libc6-dev-$1-cross" "linux-libc-dev-$1-cross" >&2)
    for package in "$folder"/*.deb; do dpkg -x "$package" "$folder"; done
    echo "$folder/usr/$2/include"
}

# generate FILE TARGET INCLUDE: bindings for one data model. time_t is the one that the headers give without
# _TIME_BITS=64: see README.md.
generate() {
    "$WORK/bin/bindgen" wrapper.h --output "src/$1" \
        --rust-target 1.82 --rust-edition 2021 \
        --allowlist-item '(v4l2|V4L2)_.*' --allowlist-type 'timeval|timespec|time_t' \
        --raw-line "// Made by generate.sh: bindgen $BINDGEN_VERSION, target $2. Not to be edited." \
        -- "--target=$2" -nostdinc -isystem "$LIBCLANG_PATH/clang/14.0.6/include" -isystem "$3"
}

generate bindings_64.rs aarch64-unknown-linux-gnu "$(headers arm64 aarch64-linux-gnu)"
generate bindings_32.rs armv7-unknown-linux-gnueabihf "$(headers armhf arm-linux-gnueabihf)"
