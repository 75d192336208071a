#!/usr/bin/env python3
"""What pruning costs, on hard phantoms: dense networks of several seeds, each pruned to 40 % and to 20 % of its multiplications.

usage: scripts/bench-prune.py [--work DIR] [--studies N] [--size PX] [--epochs N] [--seeds S …] [--device D] [--smoke]

Goes on where it was stopped. Writes WORK/bench-prune.json and the section `Pruning` of BENCHMARKS.md: AUROC and kappa of every
network over the validation studies, and the AUROC lost with its paired bootstrap interval over patients. Needs a trainer
(`make trainer`, or TRAINER) and, for the defaults, a GPU.
"""

import argparse
import json
import os
import platform
import random
import re
import subprocess
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
TRAINER = os.environ.get("TRAINER", os.path.join(ROOT, "target/release/trainer"))
SHARES = (0.4, 0.2)
LOST_MAX = {0.4: 0.01, 0.2: 0.02}
DENSE_AUROC = (0.93, 0.98)
VALID_STUDIES_MIN = 1000
RESAMPLES = 2000
BEGIN, END = "<!-- pruning -->", "<!-- /pruning -->"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default=os.path.join(ROOT, "work/bench-prune"))
    parser.add_argument("--studies", type=int, default=12000)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=24, help="of the dense network")
    parser.add_argument("--step-epochs", type=int, default=3, help="after each cut but the last")
    parser.add_argument("--prune-epochs", type=int, default=12, help="after the last cut")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-write", action="store_true", help="leave BENCHMARKS.md alone")
    parser.add_argument("--smoke", action="store_true", help="minutes instead of hours: shows that it runs, measures nothing")
    chosen = parser.parse_args()
    if chosen.smoke:
        chosen.studies, chosen.size, chosen.epochs, chosen.step_epochs, chosen.prune_epochs = 60, 64, 1, 1, 1
        chosen.seeds, chosen.batch, chosen.no_write = [1], 8, True
    return chosen


def trainer(*words):
    """Runs the trainer; what it prints for people goes to standard error."""
    print("==", "trainer", *words, file=sys.stderr, flush=True)
    done = subprocess.run([TRAINER, *map(str, words)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"error: trainer {words[0]} ended with {done.returncode}")
    return done.stdout


def evaluate(run, data, device):
    report = json.loads(trainer("evaluate", "--run", run, "--data", data, "--split", "valid", "--json", "--device", device))
    patient = re.compile(r"[^/]+/[^/]+/([^/]+)/")
    studies = {s["path"]: (patient.match(s["path"])[1], s["probability"], s["abnormal"]) for s in report["studies"]}
    return {"auroc": report["study"]["auroc"], "kappa": report["study"]["kappa"], "n": report["study"]["n"], "studies": studies}


def auroc(cases):
    """The Mann-Whitney statistic of (score, abnormal), ties counting half."""
    cases = sorted(cases)
    twice = negatives = positives = 0
    place = 0
    while place < len(cases):
        end = place
        while end < len(cases) and cases[end][0] == cases[place][0]:
            end += 1
        tied = sum(abnormal for _, abnormal in cases[place:end])
        twice += tied * (2 * negatives + end - place - tied)
        positives, negatives, place = positives + tied, negatives + end - place - tied, end
    return twice / (2 * positives * negatives) if positives and negatives else float("nan")


def lost(dense, pruned, seed):
    """AUROC lost and its 95 % interval, patients drawn with replacement, the same ones for both networks."""
    patients = {}
    for path, (patient, probability, abnormal) in dense["studies"].items():
        patients.setdefault(patient, []).append((probability, pruned["studies"][path][1], abnormal))
    groups, chance, differences = list(patients.values()), random.Random(seed), []
    difference = lambda cases: auroc([(d, a) for d, _, a in cases]) - auroc([(p, a) for _, p, a in cases])
    for _ in range(RESAMPLES):
        differences.append(difference([case for group in chance.choices(groups, k=len(groups)) for case in group]))
    differences = sorted(d for d in differences if d == d)
    interval = [differences[int(q * (len(differences) - 1))] for q in (0.025, 0.975)] if differences else None
    return {"lost": dense["auroc"] - pruned["auroc"], "ci95": interval}


def machine(device):
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    try:
        gpu = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True).stdout.strip()
    except OSError:
        gpu = ""
    return f"{gpu}, {os.cpu_count()} cores of {cpu}" if gpu and device != "cpu" else f"{os.cpu_count()} cores of {cpu}"


def one_seed(chosen, data, seed):
    work = os.path.join(chosen.work, f"seed-{seed}")
    common = ["--data", data, "--device", chosen.device]
    dense = os.path.join(work, "dense")
    trainer("train", *common, "--run", dense, "--size", chosen.size, "--epochs", chosen.epochs, "--batch", chosen.batch,
            "--lr", chosen.lr, "--seed", seed, "--resume")
    found = {"dense": evaluate(dense, data, chosen.device)}
    for share in SHARES:
        out = os.path.join(work, f"macs-{share}")
        trainer("prune", *common, "--run", dense, "--out", out, "--macs", share, "--steps", chosen.steps, "--step-epochs",
                chosen.step_epochs, "--epochs", chosen.prune_epochs, "--distill", 0.5, "--lr", chosen.lr / 2, "--resume")
        found[share] = evaluate(out, data, chosen.device)
    return found


def table(results):
    rows = ["| seed | network | AUROC | kappa at 0.5 | AUROC lost [95 %] |", "|---|---|---|---|---|"]
    for seed, found in results.items():
        rows.append(f"| {seed} | dense | {found['dense']['auroc']:.4f} | {found['dense']['kappa']:.3f} | |")
        for share in SHARES:
            measured = found[share]
            low, high = measured["loss"]["ci95"] or (float("nan"),) * 2
            rows.append(f"| {seed} | {share:.0%} of the multiplications | {measured['auroc']:.4f} | {measured['kappa']:.3f} | "
                        f"{measured['loss']['lost']:+.4f} [{low:+.4f}, {high:+.4f}] |")
    for share in SHARES:
        mean = sum(found[share]["loss"]["lost"] for found in results.values()) / len(results)
        rows.append(f"| all | {share:.0%} of the multiplications | | | {mean:+.4f} (asked: at most {LOST_MAX[share]}) |")
    return "\n".join(rows)


def write_section(text):
    path = os.path.join(ROOT, "BENCHMARKS.md")
    page = open(path).read() if os.path.exists(path) else "# Benchmarks\n\nMeasured by the commands named; none is a clinical result.\n"
    section = f"{BEGIN}\n{text}\n{END}\n"
    if BEGIN in page:
        page = page[:page.index(BEGIN)] + section + page[page.index(END) + len(END) + 1:]
    else:
        page += f"\n{section}"
    with open(path, "w") as out:
        out.write(page)


def main():
    chosen = arguments()
    started = time.monotonic()
    os.makedirs(chosen.work, exist_ok=True)
    data = os.path.join(chosen.work, f"data-{chosen.studies}-{chosen.size}")
    if not os.path.exists(os.path.join(data, "truth.csv")):
        trainer("synth", "--out", data, "--studies", chosen.studies, "--seed", 100, "--size", chosen.size, "--hard")
    results = {}
    for seed in chosen.seeds:
        found = results[seed] = one_seed(chosen, data, seed)
        for share in SHARES:
            found[share]["loss"] = lost(found["dense"], found[share], seed)
    minutes = (time.monotonic() - started) / 60
    n = results[chosen.seeds[0]]["dense"]["n"]
    text = "\n".join([
        "## Pruning", "",
        f"`make bench-prune`: {chosen.studies} hard phantom studies, {n} of them for validation, {chosen.size} px, {chosen.epochs} epochs "
        f"dense, {chosen.steps} cuts with distillation from the dense network; paired bootstrap over patients. "
        f"{machine(chosen.device)}; {minutes:.0f} minutes.", "",
        table(results), ""])
    print(text)
    low, high = DENSE_AUROC
    for seed, found in results.items():
        if not low <= found["dense"]["auroc"] <= high:
            print(f"note: the dense network of seed {seed} is outside of {low} to {high} AUROC: the phantoms are too easy or too hard for it")
    if n < VALID_STUDIES_MIN:
        print(f"note: {n} validation studies; a verdict needs at least {VALID_STUDIES_MIN}")
    for found in results.values():
        for measured in found.values():
            del measured["studies"]
    with open(os.path.join(chosen.work, "bench-prune.json"), "w") as out:
        json.dump(results, out, indent=1)
    if not chosen.no_write:
        write_section(text)


main()
