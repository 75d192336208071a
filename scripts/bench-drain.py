#!/usr/bin/env python3
"""How fast a backlog drains after an outage: results queued in a station's outbox, sent to mosquitto when the broker is back.

usage: scripts/bench-drain.py [--results N] [--write]

Runs the measurement in edge/tests/mqtt/drain.rs, which also checks that each result arrives once and under one key. Needs mosquitto
(`make deps`). Prints a table; --write puts it into BENCHMARKS.md, section `Draining`.
"""

import argparse
import os
import re
import subprocess
import sys

from benchmarks import ROOT, processor, write_section


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=int, default=10_000)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    command = ["cargo", "test", "--locked", "--test", "mqtt", "--", "--ignored", "--exact", "--nocapture", "drain::ten_thousand_results_drain"]
    environment = dict(os.environ, ULNA_DRAIN_RESULTS=str(chosen.results))
    ran = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    found = re.search(r"drained (\d+) results in ([\d.]+) s, (\d+) a second", ran.stdout)
    if ran.returncode != 0 or not found:
        sys.exit(f"error: the measurement failed\n{ran.stdout}")
    results, seconds, rate = found.groups()
    text = "\n".join([
        "## Draining", "",
        f"`scripts/bench-drain.py --results {results}`: results of 2.5 KB queued while the broker is away, one in five abnormal, then sent to mosquitto "
        f"through a relay on loopback, broker and a subscriber on the same machine; a debug build (own code at opt-level 1); {processor()}. "
        "Each result arrived once and under one key.", "",
        "| what | measured |", "|---|---|",
        f"| from the connection to the last result at the subscriber | {float(seconds):.1f} s |",
        f"| results a second (asked: at least 500) | {rate} |", ""])
    print(text)
    if chosen.write:
        write_section("drain", text)


main()
