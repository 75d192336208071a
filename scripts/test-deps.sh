#!/usr/bin/env bash
# Fetches what the tests need and says what: mosquitto and DCMTK (apt), libtorch's CPU half (pip), cargo-deny (cargo).
set -euo pipefail
cd "$(dirname "$0")/.."

root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

missing=()
for package in mosquitto mosquitto-clients dcmtk openssl; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "fetching from the distribution: ${missing[*]}"
  root apt-get -o DPkg::Lock::Timeout=600 -qq update
  root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -qq install -y \
    --no-install-recommends "${missing[@]}" >/dev/null
fi

scripts/get-libtorch.sh third_party/libtorch

if ! command -v cargo-deny >/dev/null && [ ! -x third_party/tools/bin/cargo-deny ]; then
  echo "building cargo-deny 0.20.2 into third_party/tools"
  # A debug build: it checks one lock file and is built in half the time.
  cargo install --quiet --locked --debug --root third_party/tools cargo-deny@0.20.2
fi
