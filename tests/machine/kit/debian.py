"""Debian's arm64 packages, fetched and unpacked; the machine's own dpkg learns of nothing."""

import hashlib
import pathlib
import shutil
import subprocess

from . import places

# What a small system needs that has systemd, udev, a journal, dpkg and a network.
SYSTEM = [
    "base-files", "base-passwd", "bash", "busybox-static", "coreutils", "dash", "dbus", "debconf", "diffutils", "dpkg",
    "findutils", "gawk-", "grep", "gzip", "init-system-helpers", "iproute2", "kmod", "libc-bin", "login", "mawk", "mount",
    "passwd", "perl-base", "procps", "sed", "systemd", "systemd-sysv", "tar", "udev", "util-linux", "v4l-utils",
]
KERNEL = "linux-image-arm64"


def fetch(name, architecture, packages):
    """The .deb files of packages with all they depend on. Fetched once for the same list."""
    folder = places.WORK / name
    wanted = hashlib.sha256(" ".join([architecture, *sorted(packages)]).encode()).hexdigest()
    stamp = folder / "fetched"
    archives = folder / "cache/archives"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"machine: fetching Debian's {architecture} packages", flush=True)
        for old in archives.glob("*.deb"):
            old.unlink()
        # A stale index of one suite leaves the verified ones of the others, whose packages do as well.
        script = (
            '. "$0" && { debian_apt "$1" "$2" || echo "an index is stale, going on without it"; } '
            '&& shift 2 && debian_fetch "$@"'
        )
        helper = places.REPOSITORY / "scripts/debian.sh"
        subprocess.run(["bash", "-euc", script, helper, architecture, folder, *packages], check=True)
        stamp.write_text(wanted)
    return sorted(archives.glob("*.deb"))


def package_name(deb):
    return pathlib.Path(deb).name.split("_")[0]


def unpack(deb, root):
    """Unpacks one package without running anything of it. `/bin` and the like stay links into `/usr`."""
    archive = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
    subprocess.run(["tar", "-C", root, "-x", "--keep-directory-symlink"], stdin=archive.stdout, check=True)
    archive.stdout.close()
    if archive.wait() != 0:
        raise RuntimeError(f"{deb} cannot be unpacked")


def depends(deb):
    """Names of what a package needs: the first of each group of alternatives."""
    text = subprocess.run(
        ["dpkg-deb", "-f", deb, "Depends", "Pre-Depends"], check=True, capture_output=True, text=True
    ).stdout
    fields = [line.split(":", 1)[1] for line in text.splitlines() if ":" in line]
    groups = [group for field in fields for group in field.split(",") if group.strip()]
    return [group.split("|")[0].split("(")[0].strip().split(":")[0] for group in groups]


class Kernel:
    """Debian's arm64 kernel and its modules, unpacked once."""

    def __init__(self):
        self.dir = places.WORK / "kernel"
        debs = fetch("kernel-debs", "arm64", [KERNEL])
        deb = next(deb for deb in debs if deb.name.startswith("linux-image-") and deb.stat().st_size > 1 << 20)
        self.version = package_name(deb).removeprefix("linux-image-")
        self.image = self.dir / f"boot/vmlinuz-{self.version}"
        if not (self.dir / "unpacked").exists():
            shutil.rmtree(self.dir, ignore_errors=True)
            self.dir.mkdir(parents=True)
            print(f"machine: unpacking {deb.name}", flush=True)
            unpack(deb, self.dir)
            subprocess.run(["/sbin/depmod", "-b", self.dir, self.version], check=True)
            (self.dir / "unpacked").touch()

    def modules(self, *names):
        """Files of modules and of what they need, in the order in which they are loaded."""
        files = []
        for name in names:
            listed = subprocess.run(
                ["/sbin/modprobe", "-d", self.dir, "-S", self.version, "-D", name],
                check=True, capture_output=True, text=True,
            ).stdout
            for line in listed.splitlines():
                word, _, rest = line.partition(" ")
                path = pathlib.Path(rest.split()[0]) if word == "insmod" else None
                if path and path not in files:
                    files.append(path)
        return files
