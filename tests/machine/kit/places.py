"""Where things lie: the repository, the work folder, and what is under test."""

import os
import pathlib
import subprocess

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).resolve()
WORK = TARGET / "machine"
# Before a command: it ends when the test does, however that ends.
ENDS_WITH_US = ["setpriv", "--pdeathsig", "KILL", "--"]


def _named(variable, default):
    named = os.environ.get(variable)
    return pathlib.Path(named).resolve() if named else default


def edge_binary():
    """The aarch64 `edge` under test."""
    path = _named("ULNA_EDGE_ARM64_BIN", TARGET / "aarch64-unknown-linux-gnu/ci/edge")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: build it, or name one in ULNA_EDGE_ARM64_BIN")
    return path


def edge_binary_armv7():
    """The armv7 one, or None."""
    path = _named("ULNA_EDGE_ARMV7_BIN", TARGET / "armv7-unknown-linux-gnueabihf/ci/edge")
    return path if path.is_file() else None


def edge_deb():
    """The newest package for arm64, or None where none was made of the binary under test."""
    named = _named("ULNA_EDGE_ARM64_DEB", None)
    if named:
        return named
    found = sorted((TARGET / "deb-ci").glob("*_arm64.deb"), key=lambda path: path.stat().st_mtime)
    fresh = [deb for deb in found if deb.stat().st_mtime >= edge_binary().stat().st_mtime]
    return fresh[-1] if fresh else None


def stripped(binary, strip):
    """The binary without its symbols, copied into the work folder; as it is where `strip` is not installed."""
    WORK.mkdir(parents=True, exist_ok=True)
    copy = WORK / f"edge-{strip.split('-')[0]}"
    try:
        subprocess.run([strip, "-o", copy, binary], check=True)
    except FileNotFoundError:
        return binary
    return copy
