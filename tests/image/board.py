"""An emulated arm64 board, its sticks, its broker, and other versions of its system."""

import json
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FIRMWARE = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"


def succeed(*command, **options):
    """Runs a command; its output, or an error that holds it."""
    done = subprocess.run([str(word) for word in command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Machine:
    """A board under qemu (TCG) with one disk. Power is `start` and `cut`; sticks go in and out while it runs."""

    def __init__(self, work, name, image):
        self.work = work
        self.disk = work / f"{name}.img"
        self.log = work / f"{name}.console"
        self.qmp_path = work / f"{name}.qmp"
        self.key = work / "engineer"
        self.ssh_port = free_port()
        self.process = None
        self.seen = 0
        succeed("cp", "--sparse=always", image, self.disk)
        self.log.write_bytes(b"")

    def grow(self, gib):
        with self.disk.open("ab") as disk:
            disk.truncate(gib << 30)

    def start(self, stick=None):
        self.qmp_path.unlink(missing_ok=True)
        command = [
            "qemu-system-aarch64", "-M", "virt", "-accel", "tcg,thread=multi", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024",
            "-bios", FIRMWARE, "-display", "none", "-nodefaults",
            "-chardev", f"file,id=console,path={self.log},append=on", "-serial", "chardev:console",
            "-qmp", f"unix:{self.qmp_path},server=on,wait=off",
            "-drive", f"file={self.disk},format=raw,if=none,id=disk,discard=unmap",
            "-device", "virtio-blk-pci,drive=disk,bootindex=0",
            "-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{self.ssh_port}-:22", "-device", "virtio-net-pci,netdev=net,romfile=",
            "-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng",
            "-device", "qemu-xhci,id=usb",
        ]
        if stick is not None:
            command += ["-blockdev", f"driver=raw,node-name=stick,file.driver=file,file.filename={stick}", "-device", "usb-storage,drive=stick,id=stick"]
        self.seen = self.log.stat().st_size
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE)

    def cut(self):
        """Power off at once: what the guest has not flushed is lost."""
        self.process.kill()
        self.process.wait()

    def qmp(self, name, **arguments):
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(30)
            link.connect(str(self.qmp_path))
            lines = link.makefile("rw")
            lines.readline()
            for command in ({"execute": "qmp_capabilities"}, {"execute": name, "arguments": arguments}):
                lines.write(json.dumps(command) + "\n")
                lines.flush()
                while True:
                    answer = json.loads(lines.readline())
                    if "error" in answer:
                        raise RuntimeError(f"{name}: {answer['error']['desc']}")
                    if "return" in answer:
                        break

    def plug(self, stick):
        self.qmp("blockdev-add", **{"driver": "raw", "node-name": "stick", "file": {"driver": "file", "filename": str(stick)}})
        self.qmp("device_add", driver="usb-storage", drive="stick", id="stick")

    def unplug(self):
        self.qmp("device_del", id="stick")
        for _ in range(50):
            time.sleep(0.2)
            try:
                return self.qmp("blockdev-del", **{"node-name": "stick"})
            except RuntimeError:
                continue
        raise RuntimeError("the stick is still in use")

    def wait(self, pattern, limit_s=420):
        """The console's text up to and with `pattern`, which must come after what was waited for before."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            text = self.log.read_bytes()[self.seen:].decode(errors="replace")
            found = re.search(pattern, text)
            if found:
                self.seen += len(text[: found.end()].encode(errors="replace"))
                return found
            if self.process.poll() is not None:
                raise RuntimeError(f"qemu ended: {self.process.stderr.read().decode()}")
            time.sleep(0.5)
        raise RuntimeError(f"no `{pattern}` on the console within {limit_s} s; its end:\n{self.tail()}")

    def tail(self):
        text = self.log.read_bytes()[-3000:].decode(errors="replace")
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)

    def ssh(self, command, limit_s=300):
        """Runs a command as the engineer; its output. Tries until the machine lets them in."""
        deadline = time.monotonic() + limit_s
        while True:
            done = subprocess.run(
                ["ssh", "-p", str(self.ssh_port), "-i", str(self.key), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
                 "-o", f"UserKnownHostsFile={self.work}/known_hosts_{self.disk.stem}", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=20",
                 "root@127.0.0.1", command],
                text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
            if done.returncode != 255:
                return done.stdout
            if time.monotonic() > deadline:
                raise RuntimeError(f"no ssh: {done.stdout}\n{self.tail()}")
            time.sleep(2)


def make_stick(path, files, size_mib=64):
    """A FAT file system called ULNA with `{name on it: file, folder, or text}`."""
    path.unlink(missing_ok=True)
    staging = path.with_suffix(".files")
    shutil.rmtree(staging, ignore_errors=True)
    for name, content in files.items():
        at = staging / name
        at.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            at.write_text(content)
        elif content.is_dir():
            shutil.copytree(content, at)
        else:
            shutil.copy(content, at)
    succeed("mkfs.vfat", "-F", "32", "-n", "ULNA", "-C", path, size_mib * 1024)
    for top in staging.iterdir():
        succeed("mcopy", "-s", "-i", path, top, "::/")
    shutil.rmtree(staging)
    return path


def read_stick(path, name):
    return succeed("mtype", "-i", path, f"::/{name}")


class Broker:
    """mosquitto with deploy/broker's certificates: TLS for stations, and a plain listener for the test's own eyes."""

    def __init__(self, work, station):
        self.port, self.plain_port = free_port(), free_port()
        authority = work / "ca"
        certificates = REPOSITORY / "deploy/broker/certificates.sh"
        succeed(certificates, "--dir", authority, "ca")
        succeed(certificates, "--dir", authority, "broker", "10.0.2.2")
        succeed(certificates, "--dir", authority, "station", station)
        self.ca = authority / "ca.pem"
        self.certificate, self.station_key = authority / f"stations/{station}.pem", authority / f"stations/{station}.key"
        config = work / "mosquitto.conf"
        config.write_text(
            f"per_listener_settings true\nuser root\nlistener {self.plain_port} 127.0.0.1\nallow_anonymous true\n"
            f"listener {self.port} 127.0.0.1\ncafile {self.ca}\ncertfile {authority}/broker/broker.pem\n"
            f"keyfile {authority}/broker/broker.key\nrequire_certificate true\nuse_identity_as_username true\nallow_anonymous true\n")
        self.process = subprocess.Popen(["mosquitto", "-c", config], stdout=(work / "mosquitto.log").open("w"), stderr=subprocess.STDOUT)

    def message(self, topic, limit_s=420):
        """The next message of a topic, a retained one too."""
        return json.loads(succeed("mosquitto_sub", "-h", "127.0.0.1", "-p", self.plain_port, "-V", "5", "-t", topic, "-C", "1", "-W", limit_s))

    def forget(self, topic):
        succeed("mosquitto_pub", "-h", "127.0.0.1", "-p", self.plain_port, "-V", "5", "-t", topic, "-r", "-n")

    def stop(self):
        self.process.kill()
        self.process.wait()


class Systems:
    """Other versions of the system that was built, as bundles: small and quickly packed, and otherwise the same."""

    LEFT_OUT = ["usr/lib/modules/*/kernel/drivers/net/ethernet/*", "usr/lib/modules/*/kernel/drivers/gpu/*", "usr/share/zoneinfo/*",
                "usr/lib/modules/*/kernel/drivers/media/*", "tmp/*", "run/*", "proc/*", "sys/*", "dev/*"]

    def __init__(self, built, work):
        self.root, self.signing, self.work = built / "root", built / "signing", work

    def bundle(self, version, change=None, only=None, signed_by=None):
        """`change` is called with the folder of the new system; `only` are the folders that it has at all."""
        root = self.work / f"root-{version}"
        shutil.rmtree(root, ignore_errors=True)
        if only is None:
            succeed("cp", "-al", self.root, root)
        else:
            root.mkdir()
            for name in only:
                succeed("cp", "-al", self.root / name, root / name)
        replace(root / "usr/lib/ulna-image/version", version + "\n")
        if change is not None:
            change(root)
        content = self.work / "content"
        shutil.rmtree(content, ignore_errors=True)
        content.mkdir()
        succeed("nice", "mksquashfs", root, content / "rootfs.img", "-comp", "gzip", "-Xcompression-level", "1", "-quiet", "-no-progress", "-wildcards",
                "-e", *self.LEFT_OUT)
        shutil.rmtree(root)
        (content / "manifest.raucm").write_text(
            f"[update]\ncompatible=ulna-arm64\nversion={version}\n\n[bundle]\nformat=verity\n\n[image.rootfs]\nfilename=rootfs.img\n")
        key, certificate = signed_by or (self.signing / "development.key", self.signing / "development.pem")
        made = self.work / f"{version}.raucb"
        made.unlink(missing_ok=True)
        succeed("nice", "rauc", "bundle", "--cert", certificate, "--key", key, content, made)
        shutil.rmtree(content)
        return made

    def stranger(self):
        """A key that no station trusts, under the trusted one's name."""
        key, certificate = self.work / "stranger.key", self.work / "stranger.pem"
        succeed("openssl", "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-days", "100", "-subj", "/CN=Ulna development updates",
                "-keyout", key, "-out", certificate)
        return key, certificate


def replace(path, text, mode=0o644):
    """Writes a file anew; the one that it was a hard link of stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)
