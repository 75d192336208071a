"""Pillow beside edge's decoders: scripts/bench_decoder.py FILE RUNS prints JSON: its version, and the median of the milliseconds from the
file's bytes to its samples."""

import io
import json
import statistics
import sys
import time

import numpy
import PIL
from PIL import Image


def write_radiographs(folder):
    """A plane of a digitiser's size, smooth with noise on it, as a PNG in 16 bit and a JPEG."""
    folder.mkdir(parents=True, exist_ok=True)
    height, width = 2400, 3000
    y, x = numpy.mgrid[:height, :width]
    noise = numpy.random.default_rng(4).normal(0, 600, (height, width))
    plane = 30000 + 20000 * numpy.sin(x / 700) * numpy.cos(y / 500) + noise
    sixteen, eight = plane.astype(numpy.uint16), (plane / 257).astype(numpy.uint8)
    files = {"PNG, 16 bit": folder / "plane.png", "JPEG": folder / "plane.jpg"}
    Image.fromarray(sixteen).save(files["PNG, 16 bit"])
    Image.fromarray(eight).save(files["JPEG"], quality=90)
    return files


def main():
    with open(sys.argv[1], "rb") as file:
        encoded = file.read()
    times = []
    for _ in range(int(sys.argv[2]) + 1):
        started = time.perf_counter()
        numpy.asarray(Image.open(io.BytesIO(encoded)))
        times.append((time.perf_counter() - started) * 1e3)
    print(json.dumps({"version": PIL.__version__, "median_ms": statistics.median(times[1:])}))


if __name__ == "__main__":
    main()
