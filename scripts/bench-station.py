#!/usr/bin/env python3
"""How a station bears a crowd: many studies through `edge run`, its memory and the local API's answer times watched meanwhile.

usage: scripts/bench-station.py [--studies N | --files N] [--edge PATH] [--write]

--studies puts good studies into the spool. --files puts files of every kind there, good, broken, empty, huge and no images at
all, kills the station in the midst of them, and checks that each file ends in one outcome. Runs the demo bundle without a
broker, so that every result stays in the outbox. Needs `cargo build --release -p edge`. Prints a table; --write puts it into
BENCHMARKS.md.
"""

import argparse
import http.client
import json
import os
import pathlib
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib

import benchmarks
from benchmarks import processor, write_section

ROOT = pathlib.Path(benchmarks.ROOT)
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


def phantoms():
    return sorted((ROOT / "edge/demo/studies").rglob("*.png"))


def fill(spool, studies):
    """Puts studies of one phantom each into the spool, as a digitiser does: written elsewhere and renamed."""
    images = phantoms()
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
    (folder / "spool").mkdir(exist_ok=True)
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


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def marked(png, number):
    """The same picture in a file of its own: with a comment before its end."""
    return png[:-12] + png_chunk(b"tEXt", b"Comment\0%d" % number) + png[-12:]


def black_png(width, height):
    squeeze = zlib.compressobj(1)
    rows = b"".join(squeeze.compress(bytes(width + 1)) for _ in range(height)) + squeeze.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def samples(png):
    """Width, height and samples of an 8 bit grey PNG (PNG specification, chapter 9)."""
    width, height = struct.unpack(">II", png[16:24])
    packed, at = b"", 8
    while at < len(png):
        length = int.from_bytes(png[at:at + 4], "big")
        packed += png[at + 8:at + 8 + length] if png[at + 4:at + 8] == b"IDAT" else b""
        at += length + 12
    lines, above, out = zlib.decompress(packed), bytes(width), []
    for y in range(height):
        kind, *line = lines[y * (width + 1):(y + 1) * (width + 1)]
        for x, value in enumerate(line):
            left, corner = (line[x - 1], above[x - 1]) if x else (0, 0)
            near = min((left, above[x], corner), key=lambda candidate: abs(left + above[x] - corner - candidate))
            line[x] = (value + (0, left, above[x], (left + above[x]) // 2, near)[kind]) & 255
        above = bytes(line)
        out.append(above)
    return width, height, b"".join(out)


def dicom(number, columns, rows, pixels):
    """A radiograph of a wrist in explicit VR little endian; of `pixels` only the head where they are None."""
    def element(group, tag, vr, value):
        value = value.encode() if isinstance(value, str) else value
        value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
        long = vr in ("OB", "OW")
        return struct.pack("<HH2s", group, tag, vr.encode()) + (struct.pack("<HI", 0, len(value)) if long else struct.pack("<H", len(value))) + value

    def number_of(value):
        return struct.pack("<H", value)

    study = f"1.2.826.0.1.3680043.9999.{number}"
    meta = b"".join((element(2, 1, "OB", b"\0\1"), element(2, 2, "UI", "1.2.840.10008.5.1.4.1.1.1.1"), element(2, 3, "UI", study + ".1"),
                     element(2, 0x10, "UI", "1.2.840.10008.1.2.1"), element(2, 0x12, "UI", "1.2.826.0.1.3680043.9999")))
    head = b"".join((element(8, 0x16, "UI", "1.2.840.10008.5.1.4.1.1.1.1"), element(8, 0x18, "UI", study + ".1"), element(0x10, 0x10, "PN", "Crowd^Anna"),
                     element(0x18, 0x15, "CS", "WRIST"), element(0x20, 0xD, "UI", study), element(0x20, 0xE, "UI", study + ".0"),
                     element(0x28, 2, "US", number_of(1)), element(0x28, 4, "CS", "MONOCHROME2"), element(0x28, 0x10, "US", number_of(rows)),
                     element(0x28, 0x11, "US", number_of(columns)), element(0x28, 0x100, "US", number_of(8)), element(0x28, 0x101, "US", number_of(8)),
                     element(0x28, 0x102, "US", number_of(7)), element(0x28, 0x103, "US", number_of(0))))
    whole = bytes(128) + b"DICM" + element(2, 0, "UL", struct.pack("<I", len(meta))) + meta + head
    if pixels is None:
        return whole + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, rows * columns)
    return whole + element(0x7FE0, 0x10, "OW", pixels)


def crowd(folder, files):
    """Files of every kind, one folder to be renamed into the spool's place. Gives how many should be scored, and all."""
    images = [path.read_bytes() for path in phantoms()]
    # Those of 8 bit grey.
    decoded = [samples(image) for image in images if image[24:26] == b"\x08\x00"][:8]
    icon = black_png(16, 16)

    # Which of a hundred files are so, where they lie, and what they hold. The first four kinds are good.
    kinds = [
        (3, b"XR_WRIST/study%d/1.png", lambda n: marked(images[n % len(images)], n)),
        (2, b"%d.dcm", lambda n: dicom(n, *decoded[n % len(decoded)])),
        (1, b"XR_HAND/again%d.png", lambda n: images[n % len(images)]),
        (1, b"XR_ELBOW/M\xfcller %d.png", lambda n: marked(images[n % len(images)], n)),
        (18, b"XR_ELBOW/empty%d/1.png", lambda n: b""),
        (18, b"XR_HAND/text%d/report.png", lambda n: b"Dear doctor,\nsee below: %d\n" % n),
        (17, b"XR_WRIST/cut%d/1.png", lambda n: images[n % len(images)][:1000 + n % 5000]),
        (15, b"cut%d.dcm", lambda n: dicom(n, *decoded[n % len(decoded)])[:20_000]),
        (13, b"letter%d.dcm", lambda n: b"%%PDF-1.7\n%d\n" % n),
        (12, b"XR_FOREARM/icon%d.png", lambda n: marked(icon, n)),
    ]
    of_hundred = [kind for kind in range(len(kinds)) for _ in range(kinds[kind][0])]
    scored = 0
    for number in range(files - 2):
        kind = of_hundred[number * 37 % 100]
        _, name, content = kinds[kind]
        scored += kind < 4
        path = os.path.join(os.fsencode(folder), name % number)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content(number))
    (folder / "XR_SHOULDER/huge").mkdir(parents=True)
    (folder / "XR_SHOULDER/huge/1.png").write_bytes(black_png(14_286, 14_000))
    with open(folder / "XR_SHOULDER/huge.dcm", "wb") as file:
        file.write(dicom(files, 14_286, 14_000, None))
        file.truncate(file.tell() + 14_286 * 14_000)
    for number in range(20):
        (folder / f"XR_HAND/link{number}.png").symlink_to("/etc/hostname")
        (folder / f"XR_HAND/nothing in it {number}").mkdir(parents=True)
    return scored, files


def outcomes(api_socket):
    """How many images are in which state, whatever study they are of, and how many studies are open."""
    counts, before, still_open = {}, "", 0
    while True:
        page, _ = get(api_socket, f"/studies?limit=200{before}")
        for study in page["studies"]:
            still_open += study["open"]
            for image in study["images"]:
                counts[image["state"]] = counts.get(image["state"], 0) + 1
        if page["next"] is None:
            return counts, still_open
        before = f"&before={page['next']}"


def files_in(folder):
    """How many files lie below it; folders may vanish meanwhile."""
    return sum(os.path.isfile(path) and not os.path.islink(path) for top, _, names in os.walk(folder) for path in (os.path.join(top, name) for name in names))


class Watched:
    """A running station that is asked again and again."""

    def __init__(self, service, api_socket):
        self.service, self.api_socket = service, api_socket
        self.station_ms, self.list_ms, self.peak_mib = [], [], 0

    def until(self, done):
        """Gives the seconds until `done` says so of what the station says of itself."""
        began = time.monotonic()
        while time.monotonic() - began < DEADLINE_S:
            station, took = get(self.api_socket, "/station")
            self.station_ms.append(took)
            self.list_ms.append(get(self.api_socket, "/studies?limit=50")[1])
            self.peak_mib = max(self.peak_mib, memory_mib(self.service.pid, "VmHWM"))
            if done(station):
                return time.monotonic() - began
            if self.service.poll() is not None:
                sys.exit(f"error: the station ended with {self.service.returncode}")
            time.sleep(0.5)
        sys.exit("error: it took longer than an hour")


def bear_crowd(edge, folder, files):
    """The table's rows for `files` files dropped at once and a kill in the midst of them."""
    scored, total = crowd(folder / "made", files)
    service, _ = start(edge, folder)
    idle = memory_mib(service.pid, "VmRSS")
    try:
        watched = Watched(service, folder / "state/api.sock")
        (folder / "spool").rmdir()
        (folder / "made").rename(folder / "spool")
        held = lambda: files_in(folder / "spool")
        before_s = watched.until(lambda _: held() < 0.7 * total)
        service.kill()
        service.wait()
        service, ready_s = start(edge, folder)
        watched.service = service
        taken_s = before_s + watched.until(lambda _: held() == 0)
        all_s = taken_s + watched.until(lambda station: station["images_waiting"] == 0 and outcomes(watched.api_socket)[1] == 0)
        counts, _ = outcomes(watched.api_socket)
    finally:
        service.terminate()
        service.wait()
    if counts != {"scored": scored, "rejected": total - scored}:
        sys.exit(f"error: of {total} files {scored} should be scored and the others rejected; it was {counts}")
    return [
        f"| {total} files: scored, rejected with a reason, lost | {counts['scored']}, {counts['rejected']}, 0 |",
        f"| until all were accepted; until each had its outcome | {taken_s:.0f} s; {all_s:.0f} s |",
        f"| killed (SIGKILL) when a third was accepted: until it answers again | {ready_s:.1f} s |",
        f"| memory (RSS) idle, at its peak | {idle:.0f}, {watched.peak_mib:.0f} MiB |",
        f"| `GET /station` meanwhile, median, 99th percentile, longest | {latencies(watched.station_ms)} ms |",
        f"| `GET /studies?limit=50` meanwhile | {latencies(watched.list_ms)} ms |"]


def latencies(values):
    return f"{statistics.median(values):.0f}, {p99(values):.0f}, {max(values):.0f}"


def bear_studies(edge, folder, studies):
    """The table's rows for good studies put into the spool at once."""
    service, ready_s = start(edge, folder)
    try:
        idle = memory_mib(service.pid, "VmRSS")
        fill(folder / "spool", studies)
        seconds, memory, station_ms, list_ms = watch(service, folder / "state/api.sock", studies)
        half = [mib for done, mib in memory if done >= studies // 2]
        peak = memory_mib(service.pid, "VmHWM")
    finally:
        service.terminate()
        service.wait()
    return [
        f"| from start to the API's first answer, self-test included | {ready_s:.1f} s |",
        f"| studies from spool to outbox | {studies / seconds:.1f} a second ({seconds:.0f} s) |",
        f"| memory (RSS) idle, in the second half (median), at its peak | {idle:.0f}, {statistics.median(half):.0f}, {peak:.0f} MiB |",
        f"| `GET /station` meanwhile, median and 99th percentile | {statistics.median(station_ms):.0f}, {p99(station_ms):.0f} ms |",
        f"| `GET /studies?limit=50` meanwhile | {statistics.median(list_ms):.0f}, {p99(list_ms):.0f} ms |"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--studies", type=int, default=1000)
    what.add_argument("--files", type=int)
    parser.add_argument("--edge", default=str(ROOT / "target/release/edge"))
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    machine = f"demo bundle, no broker; {processor()}."
    with tempfile.TemporaryDirectory() as name:
        if chosen.files:
            mark, heading = "crowd", "Station, everything at once"
            about = (f"`scripts/bench-station.py --files {chosen.files}`: files put into the spool at once, 7 of 100 good, the others broken, empty, "
                     f"of 200 megapixels or no images at all, beside links and empty folders; {machine}")
            rows = bear_crowd(chosen.edge, pathlib.Path(name), chosen.files)
        else:
            mark, heading = "station", "Station"
            about = f"`scripts/bench-station.py --studies {chosen.studies}`: studies of one view put into the spool at once, {machine}"
            rows = bear_studies(chosen.edge, pathlib.Path(name), chosen.studies)
    text = "\n".join([f"## {heading}", "", about, "", "| what | measured |", "|---|---|", *rows, ""])
    print(text)
    if chosen.write:
        write_section(mark, text)


main()
