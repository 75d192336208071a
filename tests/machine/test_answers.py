"""The aarch64 edge under qemu-user: it answers as the x86-64 one does, on golden images and real radiographs."""

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from kit import bundle, places

BUNDLE = places.REPOSITORY / "edge/demo/bundle"
RADIOGRAPHS = places.REPOSITORY.parent / "shared/data/radiographs"
TOLERANCE = 1e-4
QEMU = ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"]


def native():
    """The x86-64 `edge` beside which the other is held."""
    named = os.environ.get("ULNA_EDGE_BIN")
    return Path(named) if named else places.TARGET / "debug/edge"


def logits(command, images):
    """Each view's logit, by the image's path."""
    run = [*command, "infer", "--bundle", BUNDLE, "--json", "--study-type", "XR_HAND", *images]
    done = subprocess.run(run, capture_output=True, text=True, timeout=1800)
    if done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}: {done.stderr}")
    studies = [json.loads(line) for line in done.stdout.splitlines()]
    return {study["input"]: study["result"]["views"][0]["logit"] for study in studies}


def precision(*, processor, said_to_have):
    """What a processor computes with where f16 is asked for. That it computes well, the operators' own tests show: the small network here
    has none of them."""
    with tempfile.TemporaryDirectory() as folder:
        bench = ["bench", "--bundle", bundle.write(Path(folder)), "--precision", "f16", "--network-only", "--runs", "1", "--json"]
        # What tract finds out about the core otherwise, it reads in the host's /proc.
        environment = dict(os.environ, TRACT_CPU_ISA=said_to_have)
        command = [QEMU[0], "-cpu", processor, *QEMU[1:], places.edge_binary(), *bench]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=600)
    return json.loads(done.stdout)["precision"]


class Answers(unittest.TestCase):
    def test_half_precision_is_for_processors_that_have_it(self):
        self.assertEqual(precision(processor="cortex-a76", said_to_have="+fp16"), "f16")
        self.assertEqual(precision(processor="cortex-a72", said_to_have=""), "f32")

    def test_golden_images_and_real_radiographs(self):
        images = sorted((BUNDLE / "golden").glob("*.png"))
        # All in one process: an emulated one takes minutes for its self-test.
        real = [*sorted((RADIOGRAPHS / "hands").glob("*.*g"))[:1], *sorted((RADIOGRAPHS / "dicom").glob("*.dcm"))[:1]]
        if not real:
            print(f"SKIPPED: no real radiographs in {RADIOGRAPHS}", flush=True)
        images += real
        here, there = logits([native()], images), logits([*QEMU, places.edge_binary()], images)
        self.assertEqual(here.keys(), {str(image) for image in images})
        off = {image: abs(logit - there[image]) for image, logit in here.items()}
        print(f"{len(images) - len(real)} golden and {len(real)} real images, furthest {max(off.values()):.1e} apart", flush=True)
        self.assertLessEqual(max(off.values()), TOLERANCE, off)
