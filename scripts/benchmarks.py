"""What the measuring scripts share: the page their tables go into, the networks that are measured, the machine's name."""

import os
import platform
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
PAGE = os.path.join(ROOT, "BENCHMARKS.md")
PACKAGES = os.path.join(ROOT, "third_party/bench")
WORK = os.path.join(ROOT, "target/bench")


def write_section(name, text):
    """Puts `text` between the markers of section `name` of BENCHMARKS.md, or behind everything when there are none yet."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    with open(PAGE) as file:
        page = file.read()
    section = f"{begin}\n{text}\n{end}\n"
    if begin in page:
        page = page[:page.index(begin)] + section + page[page.index(end) + len(end) + 1:]
    else:
        page += f"\n{section}"
    with open(PAGE, "w") as file:
        file.write(page)


def processor():
    """Cores and model of this machine's processor."""
    with open("/proc/cpuinfo") as lines:
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} cores of {name}"


def network_bundles(sides):
    """Bundles of DenseNet169 with random weights, whole and with every width halved: name, pixels of a side, folder. Fetches the engines
    that are measured beside edge into PACKAGES: their answers are the bundles' golden ones."""
    fetch = [os.path.join(ROOT, "scripts/pip-folder.sh"), PACKAGES, os.path.join(ROOT, "scripts/requirements-bench.txt"), "--no-deps"]
    subprocess.run(fetch, check=True)
    sys.path.insert(0, PACKAGES)
    from bench_network import write_bundle

    bundles = []
    for name, share in [("dense", 1), ("halved", 0.5)]:
        for side in sides:
            folder = os.path.join(WORK, f"{name}-{side}")
            write_bundle(folder, share, side)
            bundles.append((name, side, folder))
    return bundles
