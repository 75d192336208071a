#!/usr/bin/env python3
"""Our trainer beside torchvision's DenseNet169: the same planes, split and recipe, both from scratch.

usage: scripts/compare-torchvision.py --data DIR --work DIR [--size PX] [--epochs N] [--batch N] [--lr RATE] [--seeds S …]

DIR is a data set in the MURA layout; without one, phantoms of a joint that MURA lacks are drawn there. Both read the planes that
`trainer pack` makes. The recipe is the trainer's own: ImageNet's mean and deviation, rotation up to 30 degrees and lateral
inversion in training, plain binary cross entropy, Adam, the rate divided by 10 after two epochs without a lower validation loss,
the epoch of lowest validation loss kept, a study's score the mean of its views. Goes on where it was stopped, a training at a
time. Writes WORK/compared.json and the section `Beside torchvision` of BENCHMARKS.md. Needs a trainer (`make trainer`, or
TRAINER), and torch, torchvision and scikit-learn in this Python.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import numpy
import torch
import torchvision
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from benchmarks import ROOT, processor, write_section

TRAINER = os.environ.get("TRAINER", os.path.join(ROOT, "target/release/trainer"))
ROTATION_MAX_DEG = 30.0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--no-write", action="store_true", help="leave BENCHMARKS.md alone")
    return parser.parse_args()


def trainer(*words):
    done = subprocess.run([TRAINER, *map(str, words)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"error: trainer {words[0]} ended with {done.returncode}")
    return done.stdout


def judged(probabilities, labels):
    return {"auroc": roc_auc_score(labels, probabilities), "kappa": cohen_kappa_score(labels, numpy.array(probabilities) >= 0.5),
            "studies": len(labels)}


def ours(chosen, cache, seed):
    run, settings = os.path.join(chosen.work, f"ours-{seed}"), os.path.join(chosen.work, "ours.toml")
    with open(settings, "w") as out:
        out.write('loss = "plain"\n')
    trainer("train", "--data", cache, "--run", run, "--config", settings, "--size", chosen.size, "--epochs", chosen.epochs, "--batch",
            chosen.batch, "--lr", chosen.lr, "--seed", seed, "--device", "cpu", "--resume")
    report = json.loads(trainer("evaluate", "--run", run, "--data", cache, "--split", "valid", "--json", "--device", "cpu"))
    rows = [line.split(",") for line in open(os.path.join(run, "metrics.csv")).read().split()]
    seconds = [float(row[rows[0].index("seconds")]) for row in rows[1:]]
    found = judged([s["probability"] for s in report["studies"]], [s["abnormal"] for s in report["studies"]])
    assert abs(found["auroc"] - report["study"]["auroc"]) < 1e-9, "the trainer and scikit-learn disagree"
    return {**found, "epoch_s": seconds}


class Split:
    """The packed planes of a split, u8 [N, H, W], with each image's label and study."""

    def __init__(self, cache, name):
        index = json.load(open(os.path.join(cache, "index.json")))
        spec = index["spec"]
        counts = {split: sum(len(study["images"]) for study in index[split]) for split in ("train", "valid")}
        planes = numpy.fromfile(os.path.join(cache, "planes.u8"), numpy.uint8).reshape(-1, spec["height_px"], spec["width_px"])
        first = 0 if name == "train" else counts["train"]
        self.planes = torch.from_numpy(planes[first:first + counts[name]].copy())
        self.study = [place for place, study in enumerate(index[name]) for _ in study["images"]]
        self.abnormal = [study["abnormal"] for study in index[name]]
        self.target = torch.tensor([float(self.abnormal[study]) for study in self.study])
        self.mean, self.std = (torch.tensor(spec[k]).view(1, 3, 1, 1) for k in ("mean", "std"))

    def input(self, images, augment):
        grey = self.planes[images].float().unsqueeze(1)
        if augment:
            turn = torch.deg2rad((torch.rand(len(images)) * 2 - 1) * ROTATION_MAX_DEG)
            hand = torch.where(torch.rand(len(images)) < 0.5, -1.0, 1.0)
            sin, cos, zero = turn.sin(), turn.cos(), torch.zeros(len(images))
            rows = torch.stack([hand * cos, hand * sin, zero, -sin, cos, zero], 1).view(-1, 2, 3)
            grid = torch.nn.functional.affine_grid(rows, list(grey.shape), align_corners=False)
            grey = torch.nn.functional.grid_sample(grey, grid, align_corners=False)
        return ((grey / 255 - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def score(net, split, batch):
    net.eval()
    with torch.no_grad():
        logits = torch.cat([net(split.input(images, False))[:, 0] for images in torch.arange(len(split.study)).split(max(batch, 16))])
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, split.target).item()
    views = [[] for _ in split.abnormal]
    for study, probability in zip(split.study, logits.sigmoid().tolist()):
        views[study].append(probability)
    return loss, judged([sum(v) / len(v) for v in views], split.abnormal)


def theirs(chosen, cache, seed):
    torch.manual_seed(seed)
    train, valid = Split(cache, "train"), Split(cache, "valid")
    net = torchvision.models.densenet169(num_classes=1).to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(net.parameters(), lr=chosen.lr)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(adam, factor=0.1, patience=1, threshold=0)
    best, seconds = (float("inf"), None), []
    for epoch in range(chosen.epochs):
        started = time.monotonic()
        net.train()
        order = torch.randperm(len(train.study))
        for images in order[:len(order) // chosen.batch * chosen.batch].split(chosen.batch):
            adam.zero_grad()
            logit = net(train.input(images, True))[:, 0]
            torch.nn.functional.binary_cross_entropy_with_logits(logit, train.target[images]).backward()
            adam.step()
        loss, found = score(net, valid, chosen.batch)
        plateau.step(loss)
        seconds.append(time.monotonic() - started)
        print(f"torchvision: epoch {epoch + 1}: validation loss {loss:.4f}, {found}, {seconds[-1]:.0f} s", file=sys.stderr, flush=True)
        if loss < best[0]:
            best = (loss, found)
    return {**best[1], "epoch_s": seconds}


def section(chosen, found):
    rows = ["| seed | network | AUROC | kappa at 0.5 | seconds an epoch, the quickest |", "|---|---|---|---|---|"]
    rows += [f"| {seed} | {name} | {r['auroc']:.3f} | {r['kappa']:.3f} | {min(r['epoch_s']):.0f} |"
             for seed, both in found.items() for name, r in both.items()]
    n = next(iter(found.values()))["trainer"]["studies"]
    command = f"scripts/compare-torchvision.py --size {chosen.size} --epochs {chosen.epochs} --batch {chosen.batch} --lr {chosen.lr}"
    return "\n".join([
        "## Beside torchvision", "",
        f"`{command}`: study-level, {n} validation studies, from scratch, torch {torch.__version__} and torchvision "
        f"{torchvision.__version__}; {processor()}.", "", *rows, ""])


def main():
    chosen = arguments()
    os.makedirs(chosen.work, exist_ok=True)
    if not os.path.exists(chosen.data):
        trainer("synth", "--out", chosen.data, "--studies", 320, "--seed", 300, "--size", chosen.size, "--types", "XR_KNEE",
                "--findings", "hardware,lesion")
    cache = os.path.join(chosen.work, "cache")
    trainer("pack", "--data", chosen.data, "--out", cache, "--size", chosen.size)
    path = os.path.join(chosen.work, "compared.json")
    found = json.load(open(path)) if os.path.exists(path) else {}
    for seed in chosen.seeds:
        both = found.setdefault(str(seed), {})
        for name, work in (("trainer", ours), ("torchvision", theirs)):
            if name not in both:
                both[name] = work(chosen, cache, seed)
                with open(path, "w") as out:
                    json.dump(found, out, indent=1)
    text = section(chosen, found)
    print(text)
    if not chosen.no_write:
        write_section("torchvision", text)


main()
