#!/usr/bin/env bash
# Builds a tool of cargo's into third_party/tools, unless that version is there. A debug build: built in half the time.
#
#   scripts/cargo-tool.sh NAME VERSION [options of cargo install]
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || { sed -n '2,4p' "$0" >&2; exit 2; }

[ "$("third_party/tools/bin/$1" --version 2>/dev/null | grep -o '[0-9.]*$')" != "$2" ] || exit 0
echo "building $1 $2 into third_party/tools"
cargo install --quiet --locked --debug --root third_party/tools "$1@$2" "${@:3}"
