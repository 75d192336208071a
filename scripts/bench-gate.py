#!/usr/bin/env python3
"""How well the acquisition gate names faults, and how long it takes beside decoding and inference.

usage: scripts/bench-gate.py [--profile NAME] [--write]

Runs the gate's tests (on the real radiographs beside the repository, where they are, spoilt and unspoilt, and on drawn pictures)
and its benchmark, and prints their tables; --write puts them into BENCHMARKS.md, section `Acquisition gate`.
"""

import argparse
import re
import subprocess
import sys

from benchmarks import ROOT, processor, write_section


def cargo(*arguments):
    """What a cargo command prints."""
    run = subprocess.run(["cargo", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(f"error: cargo {' '.join(arguments)} ended with {run.returncode}:\n{run.stdout}")
    return run.stdout


def tables(printed):
    """The markdown tables among it, by the first cell of their heads."""
    whole = re.finditer(r"^\| ([^|]*) \|.*\n\|-.*\n(?:\|.*\n)*", printed, re.MULTILINE)
    return {table.group(1): table.group(0) for table in whole}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="release", help="cargo's profile of the benchmark (default: release)")
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    tested = cargo("test", "--locked", "--test", "gate", "--", "--nocapture", "--test-threads", "1")
    found = tables(tested)
    if "reason" not in found:
        sys.exit("error: the real radiographs are not beside the repository, so there is nothing to write down")
    unspoilt = re.search(r"^unspoilt radiographs flagged: (\d+ of \d+)", tested, re.MULTILINE)[1]
    measured = cargo("bench", "--locked", "--profile", chosen.profile, "--bench", "gate")
    speed = next(iter(tables(measured).values()))
    dense = re.search(r"^A dense .*$", measured, re.MULTILINE)[0]
    command = "scripts/bench-gate.py" + ("" if chosen.profile == "release" else f" --profile {chosen.profile}")
    text = "\n".join([
        "## Acquisition gate", "",
        f"`{command}`: real radiographs spoilt on purpose in several ways and strengths, and pictures drawn by code. *Named*: the reason is "
        "among those given; *first*: it is the gravest of them.", "",
        found["reason"],
        f"Unspoilt radiographs flagged for any reason: {unspoilt} (asked: at most 1).", "",
        *(table for head, table in found.items() if head.startswith(("no radiograph", "harmless"))),
        f"Time on one thread, the shortest of several runs, cargo's profile `{chosen.profile}`; {processor()}.", "",
        speed, dense, ""])
    print(text)
    if chosen.write:
        write_section("gate", text)


main()
