#!/usr/bin/env bash
# Fetches the CPU half of the official torch wheel from PyPI as a libtorch directory.
#
# usage: scripts/get-libtorch.sh [DIRECTORY]     default: third_party/libtorch in this repository
#
# Needs python3 with pip, and a C compiler. Downloads 543 MB, keeps 498 MB. x86-64 Linux only.
# tch 0.24.0 checks that it is given torch 2.11; the wheel's libraries link two small CUDA libraries
# (runtime and profiling) even where no GPU is, so these come along.
set -euo pipefail

torch=2.11.0
cuda_runtime=13.0.96
cuda_cupti=13.0.85

root=$(cd "$(dirname "$0")/.." && pwd)
directory=${1:-$root/third_party/libtorch}
stamp=$directory/build-version

if [ "$(cat "$stamp" 2>/dev/null)" = "$torch" ]; then
    echo "libtorch $torch is already in $directory"
    exit 0
fi
[ "$(uname -sm)" = "Linux x86_64" ] || {
    echo "error: this fetches libtorch for x86-64 Linux; elsewhere, install PyTorch $torch and build with" \
         "LIBTORCH_USE_PYTORCH=1" >&2
    exit 1
}
for tool in python3 cc; do
    command -v "$tool" >/dev/null || { echo "error: $tool is missing: install it, then run this again" >&2; exit 1; }
done
python3 -m pip --version >/dev/null 2>&1 || {
    echo "error: python3 has no pip: install it (python3-pip), then run this again" >&2
    exit 1
}

mkdir -p "$(dirname "$directory")"
# Beside the target, so that the last step is a rename.
work=$(mktemp -d "$(dirname "$directory")/libtorch.part.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "fetching torch $torch, nvidia-cuda-runtime $cuda_runtime and nvidia-cuda-cupti $cuda_cupti from PyPI:" \
     "543 MB, of which 498 MB stay in $directory"
# Fixed tags: the C++ libraries do not depend on the Python version of this machine.
fetch() {
    python3 -m pip download --quiet --disable-pip-version-check --retries 5 --timeout 60 \
        --no-deps --no-cache-dir --only-binary=:all: --dest "$work/wheels" \
        --python-version 3.11 --implementation cp --abi cp311 --abi none \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_25_x86_64 \
        --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
        "torch==$torch" "nvidia-cuda-runtime==$cuda_runtime" "nvidia-cuda-cupti==$cuda_cupti"
}
for attempt in 1 2 3; do
    if fetch; then break; fi
    if [ "$attempt" = 3 ]; then
        echo "error: the download failed three times: check the network, then run this again" >&2
        exit 1
    fi
    echo "the download failed, trying again in $((attempt * 10)) s" >&2
    sleep $((attempt * 10))
done

python3 - "$work/wheels" "$work/libtorch" <<'PYTHON'
import glob, os, shutil, sys, zipfile

wheels, directory = sys.argv[1:]
libraries = {"libtorch_cpu.so", "libc10.so", "libgomp.so.1"}
for wheel in glob.glob(wheels + "/*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            base = os.path.basename(name)
            if (name.startswith("torch/lib/") and base in libraries) or base.startswith(
                ("libcudart.so.", "libcupti.so.")
            ):
                target = os.path.join(directory, "lib", base)
            elif name.startswith("torch/include/") and not name.endswith("/"):
                target = os.path.join(directory, name[len("torch/"):])
            else:
                continue
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with archive.open(name) as source, open(target, "wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
PYTHON

# torch-sys links -ltorch; the wheel's libtorch.so pulls in the CUDA half, so an empty one takes its place.
echo | cc -shared -x c - -o "$work/libtorch/lib/libtorch.so" -Wl,-soname,libtorch.so \
    -Wl,--no-as-needed -L"$work/libtorch/lib" -ltorch_cpu -lc10 -Wl,--allow-shlib-undefined -Wl,-rpath,'$ORIGIN'
echo "$torch" > "$work/libtorch/build-version"

rm -rf "$directory"
mv "$work/libtorch" "$directory"
echo "libtorch $torch is in $directory ($(du -sh "$directory" | cut -f1))"
