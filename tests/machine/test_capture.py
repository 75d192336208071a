"""A board with the kernel's test driver, vivid: what edge keeps of a frame is the driver's picture, pixel by pixel."""

import json
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from kit import bundle, debian, frames, places, station
from kit.initramfs import Initramfs
from kit.vm import Machine

WIDTH, HEIGHT = 640, 360
FORMATS = ["GREY", "Y10", "Y12", "Y16", "YUYV"]
# The bars of vivid's first pattern, as red, green and blue; each at 75 %.
BARS = [(1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0)]
# A still picture with nothing written on it.
STILL = "test_pattern=0,osd_text_mode=2,horizontal_movement=3,vertical_movement=3"


# Debian's name of each architecture, its folder of libraries and its loader.
ARM64 = ("arm64", "aarch64-linux-gnu", "ld-linux-aarch64.so.1")
ARMHF = ("armhf", "arm-linux-gnueabihf", "ld-linux-armhf.so.3")


def libraries(root, architecture, *binaries):
    """The shared libraries that programs need, by name, out of a root of unpacked packages."""
    _, triplet, loader = architecture
    folders = [root / "usr/lib" / triplet, root / "lib" / triplet, root / "lib", root / "usr/lib"]
    found, left = {}, list(binaries)
    while left:
        listed = subprocess.run(["readelf", "-d", left.pop()], check=True, capture_output=True, text=True).stdout
        for name in [*re.findall(r"\(NEEDED\).*\[(.*)\]", listed), loader]:
            if name not in found:
                found[name] = next(folder / name for folder in folders if (folder / name).exists())
                left.append(found[name])
    return found


def capture_machine(kernel, binary, name="capture", architecture=ARM64):
    """A machine that has only the driver, v4l2-ctl and edge. The kernel is arm64's, whatever the programs are."""
    root = places.WORK / f"{name}-root"
    if not (root / "unpacked").exists():
        root.mkdir(parents=True, exist_ok=True)
        for deb in debian.fetch(f"{name}-debs", architecture[0], ["v4l-utils", "busybox-static"]):
            debian.unpack(deb, root)
        (root / "unpacked").touch()
    memory = Initramfs()
    memory.copy(root / "bin/busybox", "bin/busybox", 0o755)
    memory.copy(root / "usr/bin/v4l2-ctl", "bin/v4l2-ctl")
    memory.copy(binary, "bin/edge", 0o755)
    memory.copy(Path(__file__).parent / "kit/guest/init-memory.sh", "init", 0o755)
    memory.copy(Path(__file__).parent / "kit/guest/agent.sh", "bin/agent", 0o755)
    for library, path in libraries(root, architecture, binary, root / "usr/bin/v4l2-ctl").items():
        memory.copy(path.resolve(), f"lib/{library}", 0o755)
    for folder in ["proc", "sys", "dev", "tmp", "run", "var/lib/ulna", "etc", "root"]:
        memory.folder(folder)
    order = []
    for module in kernel.modules("virtio_pci", "virtio_console", "vivid"):
        memory.copy(module, f"mod/{module.name}")
        options = " n_devs=1 node_types=0x1 num_inputs=1 input_types=0 vid_cap_nr=0" if module.name == "vivid.ko" else ""
        order.append(module.name + options)
    memory.file("mod/order", ("\n".join(order) + "\n").encode())
    with tempfile.TemporaryDirectory() as folder:
        memory.tree(bundle.write(Path(folder)), "bundle")
    return Machine(name, kernel, memory.write(places.WORK / f"{name}.cpio"), memory_mib=512)


def edge_frame(machine, fourcc):
    """The file that a running station keeps of one capture."""
    machine.write("/etc/edge.toml", station.config(fourcc=fourcc, bundle="/bundle", extra="[limits]\ndisk_free_min_mib = 1"))
    machine.run("rm -rf /var/lib/ulna/*; mkdir -p /run/ulna")
    machine.run("edge run --config /etc/edge.toml >/tmp/edge.log 2>&1 & echo $! >/tmp/edge.pid")
    try:
        machine.until("station that is ready", "grep 'ready; the technician' /tmp/edge.log || { cat /tmp/edge.log; false; }")
        number = machine.run("edge study open XR_WRIST --config /etc/edge.toml").split()[-1]
        machine.run(f"edge study capture {number} --config /etc/edge.toml")
        study = json.loads(machine.run(f"edge study show {number} --json --config /etc/edge.toml"))
        return machine.read(f"/var/lib/ulna/images/{study['images'][0]['image_id']}")
    finally:
        machine.run("kill $(cat /tmp/edge.pid); while kill -0 $(cat /tmp/edge.pid) 2>/dev/null; do sleep 0.1; done")


def driver_frame(machine, fourcc):
    """The driver's own frame, by a stranger to edge."""
    machine.run(
        f"v4l2-ctl -d /dev/video0 --set-fmt-video=width={WIDTH},height={HEIGHT},pixelformat='{fourcc:<4}' "
        "--stream-mmap --stream-skip=1 --stream-count=1 --stream-to=/tmp/frame"
    )
    return machine.read("/tmp/frame")


def luma(colour, fourcc):
    """What the driver makes of a colour, 0 to 255: its grey formats are full range and weigh as BT.709 does, YUYV is limited
    range and weighs as BT.601 does (the default of a webcam's sRGB)."""
    weights = (0.299, 0.587, 0.114) if fourcc == "YUYV" else (0.2126, 0.7152, 0.0722)
    share = 0.75 * sum(weight * on for weight, on in zip(weights, colour))
    return 16 + 219 * share if fourcc == "YUYV" else 255 * share


def compare(test, machine):
    """Every format: the driver's frame is the bars, and edge's is the driver's."""
    machine.run(f"v4l2-ctl -d /dev/video0 --set-ctrl={STILL}")
    spec = json.loads((places.REPOSITORY / "edge/demo/bundle/manifest.json").read_text())["input"]
    for fourcc in FORMATS:
        with test.subTest(fourcc):
            white = frames.WHITE[fourcc]
            raw = frames.unpack(fourcc, driver_frame(machine, fourcc), WIDTH, HEIGHT)
            middles = [bar * WIDTH // 8 + WIDTH // 16 for bar in range(8)]
            # The driver computes in 8 bits and puts them into the upper bits of a wider sample.
            unit = (white + 1) // 256
            test.assertEqual({raw[x] % unit for x in middles}, {0}, fourcc)
            seen = [raw[x] // unit for x in middles]
            expected = [luma(colour, fourcc) for colour in BARS]
            off = max(abs(a - b) for a, b in zip(seen, expected))
            test.assertLess(off, 2, f"{fourcc}: the driver's bars {seen} are not {expected}")
            for y in range(HEIGHT):
                test.assertEqual(raw[y * WIDTH : (y + 1) * WIDTH], raw[:WIDTH], f"{fourcc}: row {y}")

            width, height, kept = frames.png_samples(edge_frame(machine, fourcc))
            test.assertEqual((width, height), (WIDTH, HEIGHT))
            wanted = frames.window(raw, white, spec["window_low"], spec["window_high"])
            wrong = sum(a != b for a, b in zip(kept, wanted))
            test.assertEqual(wrong, 0, f"{fourcc}: {wrong} of {len(wanted)} pixels differ")
            print(f"{fourcc:<4} {len(kept)} pixels equal, bars {seen}", flush=True)


class Capture(unittest.TestCase):
    def test_frames_are_the_drivers_picture_pixel_by_pixel(self):
        machine = capture_machine(debian.Kernel(), places.stripped(places.edge_binary(), "aarch64-linux-gnu-strip"))
        self.addCleanup(machine.close)
        machine.start()
        print(f"booted in {machine.booted_s:.0f} s", flush=True)
        compare(self, machine)
