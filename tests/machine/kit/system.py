"""A disk with a small Debian: systemd, journald, udev and dpkg, made by unpacking packages only, so that making it needs no
emulation. dpkg's own records are written too, so that a package can be installed in the machine."""

import hashlib
import pathlib
import re
import shutil
import subprocess

from . import debian, places
from .initramfs import Initramfs

GUEST = pathlib.Path(__file__).parent / "guest"
MODULES = ["virtio_pci", "virtio_console", "virtio_net", "virtio_rng", "vivid", "ext4", "loop"]
# What a board does at boot that nothing here looks at.
MASKED = [
    "getty@tty1.service", "serial-getty@ttyAMA0.service", "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_reap.service",
    "systemd-timesyncd.service", "dpkg-db-backup.timer", "fstrim.timer", "e2scrub_all.timer", "systemd-pstore.service",
    "systemd-logind.service", "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
    "sys-kernel-config.mount", "sys-fs-fuse-connections.mount", "proc-sys-fs-binfmt_misc.automount", "systemd-binfmt.service",
]
GROUPS = ["messagebus", "systemd-journal", "input", "kvm", "render", "sgx"]
CABLE = """[Match]
Name=e*
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
LinkLocalAddressing=no
"""
DISK_MIB = 1200


def base(kernel, more=()):
    """The root of unpacked packages, made once. `more` are further packages, where they do not come by themselves."""
    debs = debian.fetch("system-debs", "arm64", debian.SYSTEM)
    missing = set(more) - {debian.package_name(deb) for deb in debs}
    if missing:
        debs = debian.fetch("system-debs", "arm64", [*debian.SYSTEM, *missing])
    root = places.WORK / "system-root"
    recipe = hashlib.sha256(pathlib.Path(__file__).read_bytes() + (GUEST / "agent.sh").read_bytes()).hexdigest()
    made_from = "\n".join([*(deb.name for deb in debs), kernel.version, recipe])
    stamp = places.WORK / "system-root.made"
    if stamp.exists() and stamp.read_text() == made_from:
        return root
    shutil.rmtree(root, ignore_errors=True)
    for folder in ["bin", "sbin", "lib"]:
        (root / "usr" / folder).mkdir(parents=True)
        (root / folder).symlink_to(f"usr/{folder}")
    print(f"machine: unpacking {len(debs)} packages", flush=True)
    for deb in debs:
        debian.unpack(deb, root)
    _register(root, debs)
    _finish(root)
    _modules(root, kernel)
    stamp.write_text(made_from)
    return root


def _register(root, debs):
    """What dpkg would know had it installed them."""
    info = root / "var/lib/dpkg/info"
    info.mkdir(parents=True, exist_ok=True)
    status = []
    for deb in debs:
        control = subprocess.run(["dpkg-deb", "-f", deb], check=True, capture_output=True, text=True).stdout
        fields = dict(line.split(": ", 1) for line in control.splitlines() if re.match(r"[A-Z][\w-]*: ", line))
        head, _, rest = control.partition("\n")
        status.append(f"{head}\nStatus: install ok installed\n{rest}")
        suffix = f":{fields['Architecture']}" if fields.get("Multi-Arch") == "same" else ""
        (info / f"{fields['Package']}{suffix}.list").write_text("/.\n")
    (root / "var/lib/dpkg/status").write_text("\n".join(status))
    (info / "format").write_text("1\n")


def _finish(root):
    """What maintainer scripts would have done."""
    etc = root / "etc"
    for kind in ["passwd", "group"]:
        shutil.copy(root / f"usr/share/base-passwd/{kind}.master", etc / kind)
    names = [line.split(":")[0] for line in (etc / "passwd").read_text().splitlines()]
    (etc / "shadow").write_text("".join(f"{name}:*:19000:0:99999:7:::\n" for name in names))
    (etc / "gshadow").write_text("")
    with (etc / "passwd").open("a") as passwd:
        passwd.write("messagebus:x:100:101::/nonexistent:/usr/sbin/nologin\n")
    with (etc / "group").open("a") as group:
        group.writelines(f"{name}:x:{number}:\n" for number, name in enumerate(GROUPS, 101))
    (root / "usr/bin/sh").unlink(missing_ok=True)
    (root / "usr/bin/sh").symlink_to("dash")
    if not (root / "usr/bin/awk").exists():
        (root / "usr/bin/awk").symlink_to("mawk")
    (root / "usr/sbin/init").unlink(missing_ok=True)
    (root / "usr/sbin/init").symlink_to("/lib/systemd/systemd")
    (etc / "hostname").write_text("machine\n")
    (etc / "machine-id").write_text("")
    (etc / "fstab").write_text("")
    (etc / "modules-load.d/machine.conf").write_text("virtio_console\nvirtio_net\nvivid\n")
    (etc / "modprobe.d/vivid.conf").write_text("options vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0 vid_cap_nr=0\n")
    (root / "var/log/journal").mkdir(parents=True, exist_ok=True)
    units = etc / "systemd/system"
    for unit in MASKED:
        (units / unit).symlink_to("/dev/null")
    (etc / "systemd/network").mkdir(parents=True, exist_ok=True)
    (etc / "systemd/network/10-cable.network").write_text(CABLE)
    wants = units / "multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")
    (etc / "systemd/journald.conf.d").mkdir(parents=True, exist_ok=True)
    # What the journal has when the power goes is what a test reads afterwards.
    (etc / "systemd/journald.conf.d/machine.conf").write_text("[Journal]\nStorage=persistent\nSyncIntervalSec=1s\n")
    shutil.copy(GUEST / "agent.sh", root / "usr/sbin/machine-agent")
    (root / "usr/sbin/machine-agent").chmod(0o755)
    (units / "machine-agent.service").write_text("[Service]\nExecStart=/usr/sbin/machine-agent\nOOMScoreAdjust=-900\n")
    (wants / "machine-agent.service").symlink_to("../machine-agent.service")
    for folder in ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/i18n", "usr/share/info"]:
        shutil.rmtree(root / folder, ignore_errors=True)


def _modules(root, kernel):
    target = root / "lib/modules" / kernel.version
    target.mkdir(parents=True, exist_ok=True)
    for name in ["modules.order", "modules.builtin", "modules.builtin.modinfo"]:
        shutil.copy(kernel.dir / "lib/modules" / kernel.version / name, target / name)
    for module in kernel.modules(*MODULES):
        to = root / module.relative_to(kernel.dir)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(module, to)
    subprocess.run(["/sbin/depmod", "-b", root, kernel.version], check=True)


def initramfs(kernel):
    """Finds the disk and hands over to what is on it."""
    root = places.WORK / "system-root"
    memory = Initramfs()
    memory.copy(root / "bin/busybox", "bin/busybox", 0o755)
    memory.copy(GUEST / "init-disk.sh", "init", 0o755)
    for folder in ["proc", "sys", "dev", "root"]:
        memory.folder(folder)
    order = kernel.modules("virtio_pci", "virtio_blk", "ext4", "crc32c_generic")
    for module in order:
        memory.copy(module, f"mod/{module.name}")
    memory.file("mod/order", "".join(f"{module.name}\n" for module in order).encode())
    return memory.write(places.WORK / "system.cpio")


def disk(name, root, add):
    """An ext4 image of the root and what `add` puts into its copy, which shares the files with it: replace files there, never
    write into them."""
    copy, image = places.WORK / f"{name}-root", places.WORK / f"{name}.img"
    shutil.rmtree(copy, ignore_errors=True)
    image.unlink(missing_ok=True)
    subprocess.run(["cp", "-al", root, copy], check=True)
    add(copy)
    subprocess.run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-d", copy, image, f"{DISK_MIB}M"], check=True)
    shutil.rmtree(copy)
    return image
