#!/usr/bin/env python3
"""How many instructions edge executes for a view on a 64-bit ARM processor, beside plain tract and ONNX Runtime, on the same ONNX files.

usage: scripts/bench-arm.py [--edge FILE] [--side N] [--only NAME] [--write]

The program runs in qemu-user as on a Cortex-A76, and qemu counts: a view is the difference between two views and one. --write puts the
table into BENCHMARKS.md, section `Instructions on ARM`. Takes a quarter of an hour for the halved network, an hour for the dense one.
"""

import argparse
import os
import re
import subprocess
import sys

from benchmarks import ROOT, WORK, network_bundles, write_section

COUNTER = os.path.join(WORK, "counter")
CAVEAT = (
    "Instructions are not time: an emulator counts a load from memory like an addition, and a processor starts several at once. The "
    "ratio says which engine has less to do, not how long a board takes; that says `edge bench` on the board."
)
PEER = """
import sys, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
side = int(sys.argv[2])
image = numpy.random.default_rng(3).normal(size=(1, 3, side, side)).astype(numpy.float32)
for _ in range(int(sys.argv[3])):
    session.run(["logit"], {"radiograph": image})
"""


def executed(command):
    """Instructions of a whole program."""
    qemu = ["qemu-aarch64", "-cpu", "cortex-a76", "-plugin", f"{COUNTER}/insn.so,inline=on", "-d", "plugin", "-L", f"{COUNTER}/root",
            "-E", f"PYTHONPATH={COUNTER}/python"]
    run = subprocess.run([*qemu, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    counted = re.search(r"^insns: (\d+)$", run.stderr, re.MULTILINE)
    if run.returncode or not counted:
        sys.exit(f"error: {' '.join(command)} ended with {run.returncode}:\n{run.stderr}")
    return int(counted[1])


def of_a_view(command):
    """`command` makes the program's arguments of the number of views."""
    return executed(command(2)) - executed(command(1))


def engines(edge, bundle, side):
    bench = lambda *options: lambda runs: [edge, "bench", "--bundle", bundle, "--network-only", "--runs", str(runs), *options]
    python = f"{COUNTER}/root/usr/bin/python3.11"
    return {
        "edge": bench(),
        "edge, f16": bench("--precision", "f16"),
        "plain tract": bench("--plain"),
        "ONNX Runtime": lambda runs: [python, "-c", PEER, os.path.join(bundle, "model.onnx"), str(side), str(runs)],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edge", default=os.path.join(ROOT, "target/aarch64-unknown-linux-gnu/release/edge"))
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--only", help="dense or halved")
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    subprocess.run([os.path.join(ROOT, "scripts/instruction-counter.sh"), COUNTER], check=True)
    rows = []
    for name, side, bundle in network_bundles([chosen.side]):
        if chosen.only not in (None, name):
            continue
        counts = {engine: of_a_view(command) for engine, command in engines(chosen.edge, bundle, side).items()}
        ratios = (f"{counts['edge'] / count:.2f}" for engine, count in counts.items() if engine != "edge")
        cells = [name, side, *(f"{count / 1e6:.0f}" for count in counts.values()), *ratios]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
        print(rows[-1], flush=True)
    names = list(engines("", "", 0))
    heads = ["network", "px", *names, *(f"edge / {name}" for name in names[1:])]
    text = "\n".join([
        "## Instructions on ARM", "",
        f"`scripts/bench-arm.py` (this time with {os.path.relpath(chosen.edge, ROOT)}): millions of instructions for a view on one thread, "
        f"counted by qemu-user's plugin `insn` as a Cortex-A76. {CAVEAT}", "",
        "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *rows, ""])
    print(text)
    if chosen.write:
        write_section("instructions", text)


main()
