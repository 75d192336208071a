#!/usr/bin/env python3
"""What pruning costs, on hard phantoms: dense networks of several seeds, each pruned to 40 % and to 20 % of its multiplications.

usage: scripts/bench-prune.py [--gpu] [--work DIR] [--seeds S …] [options below]

Goes on where it was stopped. Writes WORK/measured.json and the section `Pruning` of BENCHMARKS.md: AUROC and kappa of every
network over the validation studies, and the AUROC lost with its paired bootstrap interval over patients. A pruned network has
been trained for its fine-tuning longer than the dense one, so the dense network gets the same fine-tuning without a cut
(`trainer prune --macs 1`) and stands beside. Needs a trainer (`make trainer`, or TRAINER). The defaults fit two CPU cores and
about an hour: small radiographs with one finding, as hard as a network learns to see in so few steps. With --gpu they are what
a GPU does in hours: all findings at 160 px, as subtle as they come. Either way the phantoms are drawn before anything is
pruned, and the dense network must score 0.93 to 0.98 for the result to mean something.
"""

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import time

from benchmarks import ROOT, processor, write_section

TRAINER = os.environ.get("TRAINER", os.path.join(ROOT, "target/release/trainer"))
CONTROL = 1.0
SHARES = (0.4, 0.2)
LOST_MAX = {0.4: 0.01, 0.2: 0.02}
DENSE_AUROC = (0.93, 0.98)
VALID_STUDIES_MIN = 1000
RESAMPLES = 2000

CPU = {
    "studies": 5200, "size": 64, "findings": "hardware", "difficulty": 0.45, "views_max": 1, "epochs": 2, "steps": 1,
    "step_epochs": 1, "prune_epochs": 1, "distill": 0.0, "batch": 16, "lr": 1e-3, "prune_lr": 5e-4,
}
GPU = {
    "studies": 12000, "size": 160, "findings": "fracture_line,fracture_step,hardware,narrowed_joint,lesion", "difficulty": 1.0,
    "views_max": 3, "epochs": 24, "steps": 3, "step_epochs": 3, "prune_epochs": 12, "distill": 0.5, "batch": 32, "lr": 5e-4,
    "prune_lr": 2.5e-4,
}
SMOKE = {"studies": 60, "epochs": 1, "prune_epochs": 1, "batch": 8}
# What both sorts of training have in common. Every phantom is tilted and sided already: little is added to that.
RECIPE = """loss = "plain"
[schedule]
kind = "cosine"
warmup_steps = 30
[augment]
rotation_max_deg = 5.0
mirror = true
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default=os.path.join(ROOT, "work/bench-prune"))
    parser.add_argument("--gpu", action="store_true", help="sizes for a GPU")
    parser.add_argument("--smoke", action="store_true", help="minutes instead of hours: shows that it runs, measures nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-write", action="store_true", help="leave BENCHMARKS.md alone")
    told = {
        "studies": "in both splits, a fifth for validation", "size": "side of the input in pixels",
        "findings": "what abnormal studies show", "difficulty": "of `trainer synth`", "views_max": "views of a study",
        "epochs": "of the dense network", "steps": "cuts", "step_epochs": "after each cut but the last",
        "prune_epochs": "after the last cut", "distill": "share of the fine-tuning's loss", "batch": "images per step",
        "lr": "of the dense network", "prune_lr": "of the fine-tuning",
    }
    for name, what in told.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(CPU[name]), help=f"{what} [{CPU[name]}; GPU: {GPU[name]}]")
    chosen = parser.parse_args()
    defaults = GPU if chosen.gpu else CPU
    if chosen.smoke:
        defaults = {**defaults, **SMOKE}
        chosen.seeds, chosen.no_write = [1], True
    for name, value in defaults.items():
        if getattr(chosen, name) is None:
            setattr(chosen, name, value)
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
    try:
        gpu = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True).stdout.strip()
    except OSError:
        gpu = ""
    return f"{gpu}, {processor()}" if gpu and device != "cpu" else processor()


class Measured:
    """What was measured so far, in a file: a step that is in it is not done again."""

    def __init__(self, path):
        self.path = path
        self.steps = json.load(open(path)) if os.path.exists(path) else {}

    def step(self, name, work):
        """Does `work` unless it was done, and keeps what it gives and the time it took, all starts together."""
        entry = self.steps.setdefault(name, {"wall_s": 0, "cpu_s": 0})
        if "found" not in entry:
            wall, cpu = time.monotonic(), cpu_s()
            try:
                entry["found"] = work()
            finally:
                entry["wall_s"] += time.monotonic() - wall
                entry["cpu_s"] += cpu_s() - cpu
                with open(self.path + ".part", "w") as out:
                    json.dump(self.steps, out)
                os.replace(self.path + ".part", self.path)
        return entry["found"]

    def minutes(self, clock):
        return sum(entry[clock] for entry in self.steps.values()) / 60


def cpu_s():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def draw(chosen):
    """The phantoms, packed."""
    data, cache = os.path.join(chosen.work, "data"), os.path.join(chosen.work, "cache")
    if not os.path.exists(os.path.join(data, "truth.csv")):
        trainer("synth", "--out", data, "--studies", chosen.studies, "--seed", 100, "--size", chosen.size, "--findings",
                chosen.findings, "--difficulty", chosen.difficulty, "--views-max", chosen.views_max)
    trainer("pack", "--data", data, "--out", cache, "--size", chosen.size)
    return cache


def dense(chosen, data, seed):
    run, recipe = os.path.join(chosen.work, f"seed-{seed}/dense"), os.path.join(chosen.work, "recipe.toml")
    with open(recipe, "w") as out:
        out.write(RECIPE)
    trainer("train", "--data", data, "--device", chosen.device, "--run", run, "--config", recipe, "--size", chosen.size, "--epochs",
            chosen.epochs, "--batch", chosen.batch, "--lr", chosen.lr, "--seed", seed, "--resume")
    return evaluate(run, data, chosen.device)


def pruned(chosen, data, seed, share):
    work = os.path.join(chosen.work, f"seed-{seed}")
    out = os.path.join(work, f"macs-{share}")
    trainer("prune", "--data", data, "--device", chosen.device, "--run", os.path.join(work, "dense"), "--out", out, "--macs", share,
            "--steps", chosen.steps, "--step-epochs", chosen.step_epochs, "--epochs", chosen.prune_epochs, "--distill",
            chosen.distill, "--lr", chosen.prune_lr, "--resume")
    return evaluate(out, data, chosen.device)


def with_interval(loss):
    low, high = loss["ci95"] or (float("nan"),) * 2
    return f"{loss['lost']:+.4f} [{low:+.4f}, {high:+.4f}]"


def table(results):
    rows = ["| seed | network | AUROC | kappa at 0.5 | AUROC lost [95 %] | lost beside the dense one trained on |",
            "|---|---|---|---|---|---|"]
    row = lambda seed, name, found, *losses: rows.append(
        f"| {seed} | {name} | {found['auroc']:.4f} | {found['kappa']:.3f} | " + " | ".join(losses) + " |")
    for seed, found in results.items():
        row(seed, "dense", found["dense"], "", "")
        row(seed, "dense, trained on", found[CONTROL], with_interval(lost(found["dense"], found[CONTROL], seed)), "")
        for share in SHARES:
            row(seed, f"{share:.0%} of the multiplications", found[share], with_interval(lost(found["dense"], found[share], seed)),
                with_interval(lost(found[CONTROL], found[share], seed)))
    for share in SHARES:
        mean = lambda base: sum(found[base]["auroc"] - found[share]["auroc"] for found in results.values()) / len(results)
        rows.append(f"| all | {share:.0%} of the multiplications | | | {mean('dense'):+.4f} (asked: at most {LOST_MAX[share]}) | "
                    f"{mean(CONTROL):+.4f} |")
    return "\n".join(rows)


def epochs(number):
    return f"{number} epoch{'s' * (number > 1)}"


def text(chosen, measured, results):
    n = results[chosen.seeds[0]]["dense"]["n"]
    cuts = "one cut" if chosen.steps == 1 else f"{chosen.steps} cuts, {epochs(chosen.step_epochs)} after each but the last,"
    teacher = f", distillation from the dense network ({chosen.distill})" if chosen.distill else ""
    return "\n".join([
        "## Pruning", "",
        f"`make bench-prune`: {chosen.studies} phantom studies ({chosen.findings.replace(',', ', ')}; difficulty {chosen.difficulty}; at "
        f"most {chosen.views_max} view{'s' * (chosen.views_max > 1)} each), {n} of them for validation, {chosen.size} px. Dense DenseNet169 "
        f"from scratch, {epochs(chosen.epochs)}; {cuts} and {epochs(chosen.prune_epochs)} of fine-tuning{teacher}. Paired bootstrap over "
        f"patients, {RESAMPLES} resamples. {machine(chosen.device)}; {measured.minutes('wall_s'):.0f} minutes in all, "
        f"{measured.minutes('cpu_s'):.0f} CPU minutes.", "",
        table(results), "", *notes(results), ""])


def notes(results):
    """What keeps the table from being a verdict, or belongs beside it."""
    low, high = DENSE_AUROC
    found = ["A pruned network has been trained for its epochs of fine-tuning longer than the dense one; the dense one trained on "
             "had the same epochs, at the same rate, and no cut."]
    for seed, networks in results.items():
        if not low <= networks["dense"]["auroc"] <= high:
            found.append(f"The dense network of seed {seed} is outside of {low} to {high} AUROC: the phantoms are too easy or too hard for it.")
    n = next(iter(results.values()))["dense"]["n"]
    if n < VALID_STUDIES_MIN:
        found.append(f"{n} validation studies: a verdict needs at least {VALID_STUDIES_MIN}.")
    return found


def main():
    chosen = arguments()
    os.makedirs(chosen.work, exist_ok=True)
    measured = Measured(os.path.join(chosen.work, "measured.json"))
    data = draw(chosen)
    results = {}
    for seed in chosen.seeds:
        found = results[seed] = {"dense": measured.step(f"{seed} dense", lambda: dense(chosen, data, seed))}
        for share in (CONTROL, *SHARES):
            found[share] = measured.step(f"{seed} {share}", lambda: pruned(chosen, data, seed, share))
    section = text(chosen, measured, results)
    print(section)
    if not chosen.no_write:
        write_section("pruning", section)


main()
