#!/usr/bin/env python3
"""How a station bears a crowd: many studies through `edge run`, its memory and the local API's answer times watched meanwhile.

usage: scripts/bench-station.py [--studies N] [--edge PATH] [--write]

Runs the demo bundle without a broker, so that every result stays in the outbox. Needs `cargo build --release -p edge`. Prints a
table; --write puts it into BENCHMARKS.md, section `Station`.
"""

import argparse
import http.client
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- station -->", "<!-- /station -->"
DEADLINE_S = 3600


class Api(http.client.HTTPConnection):
    """The local API over its unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def get(api_socket, path):
    """The answer as JSON, and how long it took in milliseconds."""
    started = time.monotonic()
    api = Api(api_socket)
    api.request("GET", "/api/v1" + path)
    body = api.getresponse().read()
    api.close()
    return json.loads(body), 1000 * (time.monotonic() - started)


def memory_mib(pid, field):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return float("nan")


def fill(spool, studies):
    """Puts studies of one phantom each into the spool, as a digitiser does: written elsewhere and renamed."""
    images = sorted((ROOT / "edge/demo/studies").rglob("*.png"))
    outside = spool.parent / "outside"
    outside.mkdir()
    for number in range(studies):
        image = images[number % len(images)]
        folder = spool / image.parent.parent.name / f"study{number:05}"
        ready = outside / f"{number}.png"
        shutil.copyfile(image, ready)
        folder.mkdir(parents=True)
        ready.rename(folder / "1.png")


def watch(service, api_socket, studies):
    """Memory, API times and when all was done, until every study has its result."""
    memory, station_ms, list_ms = [], [], []
    started = time.monotonic()
    while time.monotonic() - started < DEADLINE_S:
        station, took = get(api_socket, "/station")
        station_ms.append(took)
        list_ms.append(get(api_socket, "/studies?limit=50")[1])
        memory.append((station["queue"]["unsent"], memory_mib(service.pid, "VmRSS")))
        if station["queue"]["unsent"] >= studies:
            return time.monotonic() - started, memory, station_ms, list_ms
        if service.poll() is not None:
            sys.exit(f"error: the station ended with {service.returncode}")
        time.sleep(0.5)
    sys.exit("error: not all studies were scored in time")


def start(edge, folder):
    (folder / "spool").mkdir()
    config = folder / "edge.toml"
    config.write_text(
        f'station = "bench"\nstate_dir = "{folder}/state"\nbundle_dir = "{ROOT}/edge/demo/bundle"\nallow_demo_model = true\n'
        f'[study]\nidle_close_s = 1\n[quality]\noff = ["duplicate"]\n[spool]\ndir = "{folder}/spool"\n'
        '[mqtt]\nport = 1\n[web]\nlisten = "127.0.0.1:0"\n'
    )
    began = time.monotonic()
    service = subprocess.Popen([edge, "run", "--config", config, "--log-level", "error"])
    while time.monotonic() - began < 60:
        try:
            get(folder / "state/api.sock", "/station")
            return service, time.monotonic() - began
        except OSError:
            time.sleep(0.02)
    sys.exit("error: the station did not start within a minute")


def p99(values):
    return sorted(values)[int(0.99 * (len(values) - 1))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--edge", default=str(ROOT / "target/release/edge"))
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        service, ready_s = start(chosen.edge, folder)
        try:
            idle = memory_mib(service.pid, "VmRSS")
            fill(folder / "spool", chosen.studies)
            seconds, memory, station_ms, list_ms = watch(service, folder / "state/api.sock", chosen.studies)
            half = [mib for done, mib in memory if done >= chosen.studies // 2]
            peak = memory_mib(service.pid, "VmHWM")
        finally:
            service.terminate()
            service.wait()
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    text = "\n".join([
        "## Station", "",
        f"`scripts/bench-station.py --studies {chosen.studies}`: studies of one view put into the spool at once, demo bundle, no broker; "
        f"{os.cpu_count()} cores of {cpu}.", "",
        "| what | measured |", "|---|---|",
        f"| from start to the API's first answer, self-test included | {ready_s:.1f} s |",
        f"| studies from spool to outbox | {chosen.studies / seconds:.1f} a second ({seconds:.0f} s) |",
        f"| memory (RSS) idle, in the second half (median), at its peak | {idle:.0f}, {statistics.median(half):.0f}, {peak:.0f} MiB |",
        f"| `GET /station` meanwhile, median and 99th percentile | {statistics.median(station_ms):.0f}, {p99(station_ms):.0f} ms |",
        f"| `GET /studies?limit=50` meanwhile | {statistics.median(list_ms):.0f}, {p99(list_ms):.0f} ms |", ""])
    print(text)
    if chosen.write:
        path = ROOT / "BENCHMARKS.md"
        page = path.read_text() if path.exists() else "# Benchmarks\n\nMeasured by the commands named; none is a clinical result.\n"
        section = f"{BEGIN}\n{text}\n{END}\n"
        page = page[:page.index(BEGIN)] + section + page[page.index(END) + len(END) + 1:] if BEGIN in page else f"{page}\n{section}"
        path.write_text(page)


main()
