#!/usr/bin/env python3
"""How long edge takes for a view beside ONNX Runtime, OpenVINO and ncnn, on the same ONNX files.

usage: scripts/bench-inference.py [--edge FILE] [--rounds N] [--runs N] [--only NAME] [--write]

The networks are DenseNet169 with random weights, whole and with every width halved, at 224 and 320 pixels, in f32; the demo bundle is
measured besides. In each round every engine, in a process of its own, takes the median of some runs; a ratio is that of two medians
of one round, and the table has the median of the rounds' ratios. --write puts it into BENCHMARKS.md, section `Inference`.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks import PACKAGES, ROOT, WORK, network_bundles, processor, write_section

PEERS = ["onnxruntime", "openvino", "ncnn"]


def printed(command):
    """What a command prints as JSON."""
    environment = dict(os.environ, PYTHONPATH=PACKAGES, OMP_WAIT_POLICY="PASSIVE")
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(f"error: {' '.join(command)} ended with {run.returncode}:\n{run.stderr}")
    return json.loads(run.stdout[run.stdout.index("{"):])


def measure(chosen, bundle, threads):
    """Of each round, the medians of all engines in ms for a view: edge's views in parallel where there is more than one thread."""
    with open(os.path.join(bundle, "manifest.json")) as file:
        side = json.load(file)["input"]["width_px"]
    rounds, versions = [], {}
    for _ in range(chosen.rounds):
        edge = printed([chosen.edge, "bench", "--json", "--bundle", bundle, "--threads", str(threads), "--runs", str(chosen.runs)])
        times = {"edge": edge["inference"]["median_ms"] if threads == 1 else edge["inference_of_four"]["median_ms"] / 4}
        versions["edge"] = edge["edge"]
        for peer in PEERS:
            said = printed([sys.executable, os.path.join(ROOT, "scripts/bench_peer.py"), peer, os.path.join(bundle, "model.onnx"),
                            str(side), str(threads), str(chosen.runs)])
            times[peer], versions[peer] = said["median_ms"], said["version"]
        rounds.append(times)
    return rounds, versions, edge


def decoding(chosen, bundle):
    """Rows of a table: files of a digitiser's size, decoded by edge and by Pillow."""
    from bench_decoder import write_radiographs

    rows = []
    for kind, path in write_radiographs(Path(WORK) / "decoding").items():
        rounds = []
        for _ in range(chosen.rounds):
            edge = printed([chosen.edge, "bench", "--json", "--bundle", bundle, "--runs", str(chosen.runs), "--image", str(path)])
            pillow = printed([sys.executable, os.path.join(ROOT, "scripts/bench_decoder.py"), str(path), str(chosen.runs)])
            rounds.append((edge["decode"]["median_ms"], pillow["median_ms"]))
        medians = [statistics.median(times) for times in zip(*rounds)]
        ratio = statistics.median(edge / pillow for edge, pillow in rounds)
        rows.append(f"| {kind} | {path.stat().st_size / 1e6:.1f} | {medians[0]:.0f} | {medians[1]:.0f} | {ratio:.2f} |")
        print(rows[-1], flush=True)
    return pillow["version"], rows


def row(name, side, threads, rounds):
    times = {engine: statistics.median(times[engine] for times in rounds) for engine in ["edge", *PEERS]}
    ratios = [statistics.median(times["edge"] / times[peer] for times in rounds) for peer in PEERS]
    cells = [name, side, threads, *(f"{times[engine]:.1f}" for engine in times), *(f"{ratio:.2f}" for ratio in ratios)]
    return "| " + " | ".join(map(str, cells)) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edge", default=os.path.join(ROOT, "target/release/edge"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--only", help="a network and a size, such as dense-320")
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    bundles = network_bundles([224, 320])
    demo = os.path.join(WORK, "demo-320")
    shutil.copytree(os.path.join(ROOT, "edge/demo/bundle"), demo, dirs_exist_ok=True)
    bundles.append(("demo bundle", 320, demo))

    rows, versions = [], {}
    for name, side, folder in bundles:
        if chosen.only in (None, os.path.basename(folder)):
            for threads in [1, 2]:
                rounds, versions, edge = measure(chosen, folder, threads)
                rows.append(row(name, side, threads, rounds))
                print(rows[-1], flush=True)
                if threads == 1:
                    print(json.dumps(edge), flush=True)
    pillow, decoded = decoding(chosen, demo)
    text = "\n".join([
        "## Inference", "",
        f"`make bench` (this time with {os.path.relpath(chosen.edge, ROOT)}): milliseconds for a view, medians of {chosen.rounds} rounds of "
        f"{chosen.runs} runs; ratios are medians of the rounds' ratios, below 1 where edge is faster. With two threads, edge scores two views at once, the others one view on both. "
        f"{', '.join(f'{engine} {version}' for engine, version in versions.items())}; {processor()}.", "",
        "| network | px | threads | edge | ONNX Runtime | OpenVINO | ncnn | edge / ONNX Runtime | / OpenVINO | / ncnn |",
        "|---|---|---|---|---|---|---|---|---|---|", *rows, "",
        f"Decoding of 3000 x 2400 pixels on one thread, from the file's bytes to samples that are checked and in 16 bit; Pillow {pillow} "
        "stops at the file's own samples.", "",
        "| file | MB | edge, ms | Pillow, ms | edge / Pillow |", "|---|---|---|---|---|", *decoded, ""])
    print(text)
    if chosen.write:
        write_section("inference", text)


main()
