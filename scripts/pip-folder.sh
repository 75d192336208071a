#!/usr/bin/env bash
# Puts packages of PyPI into a folder of their own, not into the machine's Python: whole or not at all, and once for a list.
#
#   scripts/pip-folder.sh FOLDER REQUIREMENTS [options of pip install]
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,4p' "$0" >&2; exit 2; }

! cmp -s "$2" "$1/requirements.txt" || exit 0
echo "fetching from PyPI: $(grep -v '^#' "$2" | tr '\n' ' ')"
rm -rf "$1" "$1.part"
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --retries 5 --no-cache-dir \
  --only-binary=:all: --target "$1.part" -r "$2" "${@:3}"
cp "$2" "$1.part/requirements.txt"
mv "$1.part" "$1"
