#!/usr/bin/env python3
"""The board image in an emulated arm64 machine: provisioned, updated, cut off, spoilt, locked.

Usage: run.py --built DIR [--only NAME ...]     DIR is what deploy/image/build.sh made (its --out)
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from board import REPOSITORY, Broker, Machine, Systems, make_stick, read_stick, replace, succeed

sys.path.insert(0, str(REPOSITORY / "tests/machine"))
from kit import bundle as quick  # noqa: E402

PACKAGES = ["qemu-system-arm", "qemu-efi-aarch64", "mosquitto", "mosquitto-clients", "mtools", "rauc", "squashfs-tools"]
STATION = "clinic-12"
INSTALL_S = 900


class Bench:
    """What the tests share: one work folder, a broker, a signed bundle, an engineer's key."""

    def __init__(self, built, work):
        self.built, self.work = built, work
        self.image = max(built.glob("ulna-uefi-*.img"), key=lambda path: path.stat().st_mtime)
        self.broker = Broker(work, STATION)
        succeed("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", work / "engineer")
        succeed("minisign", "-G", "-W", "-p", work / "bundles.pub", "-s", work / "bundles.key")
        self.bundle = work / "bundle"
        # The demo bundle takes minutes to pass its self-test under emulation.
        quick.write(self.bundle)
        succeed("minisign", "-S", "-s", work / "bundles.key", "-m", self.bundle / "manifest.json")
        self.systems = Systems(built, work)
        self.station = Machine(work, "station", self.image)
        self.station.grow(6)

    def settings(self, **changes):
        """provision.toml; a change to None leaves the key out."""
        settings = {
            "station": STATION, "broker_host": "10.0.2.2", "broker_port": self.broker.port, "broker_ca": "ca.pem",
            "station_cert": "station.pem", "station_key": "station.key", "bundle": "bundle",
            "bundle_keys": (self.work / "bundles.pub").read_text().splitlines()[1], "allow_demo_model": True,
            "sections": "sections.toml", "engineer_keys": "engineer.pub",
        }
        settings.update(changes)
        text = {True: "true", False: "false"}
        lines = [f"{key} = {text[value] if isinstance(value, bool) else value if isinstance(value, int) else chr(34) + value + chr(34)}"
                 for key, value in settings.items() if value is not None]
        return "\n".join(lines) + "\n"

    def stick(self, name, settings, **files):
        content = {
            "ulna/provision.toml": settings, "ulna/ca.pem": self.broker.ca, "ulna/station.pem": self.broker.certificate,
            "ulna/station.key": self.broker.station_key, "ulna/bundle": self.bundle, "ulna/engineer.pub": self.work / "engineer.pub",
            # Emulation is slow: what a view may take on a board is not asked of it.
            "ulna/sections.toml": "[model]\nview_max_ms = 120000\n",
        }
        content.update(files)
        return make_stick(self.work / f"{name}.stick", content)

    def update_stick(self, name, bundle, at="update.raucb"):
        return make_stick(self.work / f"{name}.stick", {at: bundle}, size_mib=bundle.stat().st_size // 1048576 + 64)

    def ready(self, machine):
        """Waits until edge is ready and its birth is at the broker; the birth."""
        birth = self.broker.message(f"ulna/v1/{STATION}/birth", 600)
        for _ in range(120):
            if machine.ssh("systemctl is-active ulna-edge").strip() == "active":
                return birth
            time.sleep(2)
        raise RuntimeError(machine.ssh("systemctl status ulna-edge"))

    def forget_birth(self):
        self.broker.forget(f"ulna/v1/{STATION}/birth")


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def unprovisioned(bench):
    """A fresh image starts, says that it is not provisioned, and has no way in."""
    bench.station.start()
    bench.station.wait(r"ulna: NOT PROVISIONED")
    bench.station.wait(r"Ulna station \(no name yet\), system A")
    bench.station.wait(r"login:")


def bad_sticks(bench):
    """What is wrong on a stick is said on the console and on the stick, and the machine stays as it was."""
    spoilt = bench.work / "spoilt"
    shutil.copytree(bench.bundle, spoilt)
    with (spoilt / "model.onnx").open("r+b") as model:
        model.seek(1000)
        model.write(b"spoilt")
    stranger, _ = bench.systems.stranger()
    cases = [
        ("unknown-key", bench.stick("bad1", bench.settings(stations="x", broker_ca="none.pem")), r"line \d+: unknown key stations"),
        ("no-file", bench.stick("bad2", bench.settings(station="Clinic 12", broker_ca="none.pem")), r"broker_ca: there is no ulna/none.pem"),
        ("wrong-key", bench.stick("bad3", bench.settings(), **{"ulna/station.key": stranger}), r"station.key does not belong"),
        ("bad-section", bench.stick("bad4", bench.settings(), **{"ulna/sections.toml": "[v4l3]\n"}), r"the configuration: .*"),
        ("demo", bench.stick("bad5", bench.settings(allow_demo_model=None)), r"the bundle: .*"),
        ("broken-bundle", bench.stick("bad6", bench.settings(), **{"ulna/bundle": spoilt}), r"the bundle: .*"),
    ]
    for name, stick, said in cases:
        bench.station.plug(stick)
        bench.station.wait("NOT PROVISIONED")
        found = bench.station.wait(said, 120)
        bench.station.wait("login:", 60)
        bench.station.unplug()
        report = read_stick(stick, "ulna/report.txt")
        check(re.search(said, report), f"{name}: the report says {report}")
        print(f"    {name}: {found.group(0)}", flush=True)


def provision(bench):
    """A good stick makes a station of it, which starts, publishes its birth, and scores a study."""
    bench.station.plug(bench.stick("good", bench.settings()))
    bench.station.wait("PROVISIONED as clinic-12", 900)
    bench.station.wait(r"Ulna station clinic-12, system A", 600)
    birth = bench.ready(bench.station)
    print(f"    birth: station {birth.get('station')}, edge {birth.get('edge_version', birth.get('edge'))}", flush=True)
    bench.station.unplug()
    facts = bench.station.ssh(
        "cat /run/ulna-image/state; cat /etc/hostname /proc/sys/kernel/hostname; findmnt -no SOURCE,FSTYPE,OPTIONS / /state; df -m /state | tail -1; "
        "swapon --show; cat /proc/sys/kernel/core_pattern; cmp /etc/machine-id /state/machine-id && echo one-machine-id; "
        "systemctl --failed --no-legend; touch /etc/x; journalctl --list-boots --no-pager | wc -l; cat /sys/class/watchdog/watchdog0/state; "
        "grep -c ':[^*!:][^:]*:' /etc/shadow")
    print("    " + facts.replace("\n", "\n    "), flush=True)
    check("one-machine-id" in facts and "Read-only file system" in facts and facts.startswith("open"), facts)
    study = sorted((REPOSITORY / "edge/demo/studies").glob("*/*/*"))[0]
    subprocess.run(
        ["ssh", "-p", str(bench.station.ssh_port), "-i", str(bench.station.key), "-o", "StrictHostKeyChecking=no", "-o",
         f"UserKnownHostsFile={bench.work}/known_hosts_station", "root@127.0.0.1",
         "mkdir -p /var/spool/ulna/XR_WRIST && cat > /var/spool/ulna/XR_WRIST/.x && chown -R ulna: /var/spool/ulna/XR_WRIST && "
         f"mv /var/spool/ulna/XR_WRIST/.x /var/spool/ulna/XR_WRIST/study{study.suffix}"],
        stdin=study.open("rb"), check=True, stderr=subprocess.DEVNULL)
    result = bench.broker.message(f"ulna/v1/{STATION}/latest", 300)
    print(f"    result: seq {result.get('seq')}", flush=True)


def stranger(bench):
    """A bundle that somebody else signed is refused, and changes nothing."""
    bundle = bench.systems.bundle("9.9", only=["boot"], signed_by=bench.systems.stranger())
    before = bench.station.ssh("grub-editenv /boot/efi/EFI/ulna/grubenv list")
    stick = bench.update_stick("stranger", bundle)
    bench.station.plug(stick)
    print("    " + bench.station.wait(r"update refused: [^\r\n]*", 180).group(0), flush=True)
    said = bench.station.ssh("rauc install /media/ulna/update.raucb; echo rc $?")
    check("rc 1" in said and "signature" in said, said)
    bench.station.unplug()
    check(bench.station.ssh("grub-editenv /boot/efi/EFI/ulna/grubenv list") == before, "the boot loader's choice was changed")
    check("update refused" in read_stick(stick, "ulna/report.txt"), "the report does not say it")


def cut_off(bench):
    """Power fails in the middle of an installation: the old system starts, and says that it can be repeated."""
    bench.second = bench.systems.bundle("99990101.1")
    bench.station.plug(bench.update_stick("second", bench.second))
    bench.station.wait("installing version 99990101.1", 180)
    bench.station.ssh("until grep -q Copying /run/ulna-image/install.log; do sleep 0.2; done; sleep 2; cat /run/ulna-image/install.log")
    check("is installed" not in bench.station.tail(), "cut too late")
    bench.station.cut()
    bench.forget_birth()
    bench.station.start()
    bench.station.wait("the installation of version 99990101.1 was cut off", 600)
    bench.ready(bench.station)
    check("rauc.slot=A" in bench.station.ssh("cat /proc/cmdline"), "not the old system")
    print("    " + bench.station.ssh("grub-editenv /boot/efi/EFI/ulna/grubenv list").replace("\n", " "), flush=True)


def update(bench):
    """The same bundle as a file: installed, started, found good; state and name are kept."""
    bench.forget_birth()
    bench.station.plug(bench.update_stick("second", bench.second, "files/second.raucb"))
    bench.station.wait("the stick is at /media/ulna", 180)
    bench.station.ssh("systemd-run -p StandardOutput=journal+console ulna-update /media/ulna/files/second.raucb")
    bench.station.wait("version 99990101.1 is installed", INSTALL_S)
    bench.station.wait("clinic-12, system B, version 99990101.1", 600)
    bench.station.unplug()
    bench.station.wait("version 99990101.1 is good", 600)
    bench.ready(bench.station)
    time.sleep(5)
    marks = bench.station.ssh("grub-editenv /boot/efi/EFI/ulna/grubenv list; rauc status 2>&1 | grep -i 'booted\\|activated\\|boot status'")
    check("B_OK=1" in marks and "B_TRY=0" in marks and "ORDER=B A" in marks, marks)
    print("    " + marks.replace("\n", "\n    "), flush=True)


def bad_edge(bench):
    """From a stick: a system whose edge does not start is left for the one before, and not taken again."""
    def spoil(root):
        replace(root / "usr/bin/edge", "#!/bin/sh\nexit 70\n", 0o755)
    stick = bench.update_stick("third", bench.systems.bundle("99990101.2", spoil))
    bench.station.plug(stick)
    bench.station.wait("version 99990101.2 is installed", INSTALL_S)
    bench.station.wait("system A, version 99990101.2", 600)
    print("    " + bench.station.wait(r"version 99990101.2 is bad[^\r\n]*", 600).group(0), flush=True)
    bench.forget_birth()
    bench.station.wait("version 99990101.2 did not come up on system A: back on system B", 600)
    bench.station.wait("version 99990101.2 failed on this station before: passed over", 300)
    bench.ready(bench.station)
    bench.station.unplug()


def bad_kernel(bench):
    """A system that cannot start at all is tried three times, then the one before starts."""
    bench.station.plug(bench.update_stick("fourth", bench.systems.bundle("99990101.3", only=["boot"])))
    bench.station.wait("version 99990101.3 is installed", INSTALL_S)
    bench.forget_birth()
    bench.station.wait("version 99990101.3 did not come up on system A: back on system B", 900)
    bench.station.unplug()
    bench.ready(bench.station)
    check("A_OK=0" in bench.station.ssh("grub-editenv /boot/efi/EFI/ulna/grubenv list"), "the bad system may start again")


def locked(bench):
    """With an encrypted state: starts with its stick; without it says that it is locked, until the stick comes."""
    if bench.station.process is not None:
        bench.station.cut()
    bench.forget_birth()
    machine = Machine(bench.work, "locked", bench.image)
    stick = bench.stick("locked", bench.settings(encrypt=True))
    try:
        machine.start(stick)
        machine.wait("PROVISIONED as clinic-12", 900)
        machine.wait("Ulna station clinic-12, system A", 600)
        bench.ready(machine)
        print("    " + machine.ssh("findmnt -no SOURCE /state; blkid -o value -s TYPE /dev/disk/by-partlabel/ulna-state").replace("\n", " "), flush=True)
        check(b"broker-ca.pem" not in strings_of(machine), "the state can be read on the disk")
        machine.cut()
        machine.start()
        machine.wait("ulna: LOCKED")
        machine.wait("login:")
        bench.forget_birth()
        machine.plug(stick)
        machine.wait("the stick has the key of this station: starting again", 120)
        machine.wait("Ulna station clinic-12, system A", 600)
        bench.ready(machine)
    finally:
        machine.cut()


def strings_of(machine):
    """What of the disk's last part is text: the state partition begins behind 2305 MiB."""
    with machine.disk.open("rb") as disk:
        disk.seek(2305 << 20)
        return b"".join(part for part in iter(lambda: disk.read(1 << 20), b"") if b"broker-ca.pem" in part)


TESTS = [unprovisioned, bad_sticks, provision, stranger, cut_off, update, bad_edge, bad_kernel, locked]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--built", type=Path, required=True)
    parser.add_argument("--only", nargs="*", help="these tests, in their order; each needs those before it, but `locked`")
    parser.add_argument("--work", type=Path, help="folder to work in and to leave behind [default: a temporary one]")
    options = parser.parse_args()
    succeed("bash", "-euc", '. "$0"; debian_install "$@"', REPOSITORY / "scripts/debian.sh", *PACKAGES)
    with tempfile.TemporaryDirectory(prefix="ulna-image-") as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        bench = Bench(options.built.resolve(), work.resolve())
        passed = failed = 0
        try:
            for test in TESTS:
                if options.only and test.__name__ not in options.only:
                    continue
                began = time.monotonic()
                try:
                    test(bench)
                except (RuntimeError, AssertionError, OSError, subprocess.SubprocessError) as error:
                    failed += 1
                    print(f"FAILED {test.__name__} after {time.monotonic() - began:.0f} s: {error}", flush=True)
                    break
                passed += 1
                print(f"ok {test.__name__} ({time.monotonic() - began:.0f} s)", flush=True)
        finally:
            if bench.station.process is not None:
                bench.station.cut()
            bench.broker.stop()
        print(f"{passed} passed, {failed} failed")
        return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
