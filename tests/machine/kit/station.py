"""A station under test: what is installed, its configuration, and the service."""

import json
import shutil

from . import bundle, debian, places, system
from .broker import HOST_SEEN_FROM_MACHINE, Broker
from .vm import Machine

REASONS = [
    "blank", "not_a_radiograph", "under_exposed", "over_exposed", "clipped", "inverted", "low_contrast", "cropped", "duplicate",
    "too_small",
]
BUNDLE = "/usr/share/ulna/bundle"


def config(*, station="machine", fourcc="GREY", broker=None, bundle=BUNDLE, device="/dev/video0", extra=""):
    """A configuration. Colour bars are no radiograph: the gate is off. Without a `broker` there is none."""
    off = ", ".join(f'"{reason}"' for reason in REASONS)
    host, port = (HOST_SEEN_FROM_MACHINE, broker.port) if broker else ("127.0.0.1", 1883)
    return f"""station = "{station}"
state_dir = "/var/lib/ulna"
bundle_dir = "{bundle}"
allow_demo_model = true

[study]
idle_close_s = 2

[quality]
off = [{off}]

[v4l2]
device = "{device}"
fourcc = "{fourcc}"
width_px = 640
height_px = 360
timeout_ms = 10000
warmup_frames = 1

[mqtt]
host = "{host}"
port = {port}
allow_plaintext = true
backoff_max_ms = 2000

[web]
socket = "/run/ulna/api.sock"
{extra}
"""


def install(root):
    """Puts a station into a root, as its package does, or where there is none yet, from the sources of the package; and the
    bundle that an emulated board can load."""
    deb = places.edge_deb()
    if deb:
        debian.unpack(deb, root)
    else:
        deploy = places.REPOSITORY / "deploy/systemd"
        for source, to in [
            (places.stripped(places.edge_binary(), "aarch64-linux-gnu-strip"), "usr/bin/edge"),
            (deploy / "ulna-edge.service", "lib/systemd/system/ulna-edge.service"),
            (deploy / "ulna.sysusers.conf", "usr/lib/sysusers.d/ulna.conf"),
            (deploy / "ulna.tmpfiles.conf", "usr/lib/tmpfiles.d/ulna.conf"),
        ]:
            (root / to).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, root / to)
        (root / "usr/bin/edge").chmod(0o755)
    write_bundle(root / BUNDLE.strip("/"))
    print(f"\ninstalled: {deb.name if deb else 'the binary and deploy/systemd'}", flush=True)


def write_bundle(folder, **changes):
    bundle.write(folder, **changes)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def boot(case, name, add, more=(), **machine):
    """For a class of tests: a broker, and a machine with systemd and what `add` puts into its root, running; `case.broker`,
    `case.machine` and `case.station`. `more` are packages that its root needs besides, `machine` what else it is made with."""
    kernel = debian.Kernel()
    disk = system.disk(name, system.base(kernel, more), add)
    case.broker = Broker()
    case.addClassCleanup(case.broker.close)
    case.machine = Machine(name, kernel, system.initramfs(kernel), disk=disk, network=True, **machine)
    case.addClassCleanup(case.machine.close)
    case.machine.start()
    print(f"booted in {case.machine.booted_s:.0f} s", flush=True)
    case.station = Station(case.machine)


class Station:
    """The service in a machine, as whoever looks after it sees it."""

    UNIT = "ulna-edge"

    def __init__(self, machine):
        self.machine = machine

    def settle(self):
        """What the package does when it is installed."""
        self.machine.run("systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload")

    def configure(self, text):
        self.machine.write("/etc/ulna/edge.toml", text)
        self.machine.run("chgrp ulna /etc/ulna/edge.toml && chmod 640 /etc/ulna/edge.toml")

    def show(self, *names):
        """Properties of the unit."""
        text = self.machine.run(f"systemctl show {self.UNIT} -p {','.join(names)}")
        facts = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return [facts.get(name, "") for name in names]

    def wait_until_active(self, timeout_s=300):
        return self.machine.until("active service", f"systemctl is-active {self.UNIT}", timeout_s=timeout_s)

    def journal(self, *matches, since=None):
        """Records of the unit, each with all its fields."""
        after = f"--after-cursor='{since}'" if since else ""
        self.machine.run("journalctl --sync")
        quoted = " ".join(f"'{match}'" for match in matches)
        text = self.machine.run(f"journalctl -q -o json --no-pager -u {self.UNIT} {after} {quoted}")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def messages(self, since=None):
        return [str(record.get("MESSAGE")) for record in self.journal(since=since)]

    def cursor(self):
        """The end of the unit's journal, from which a test reads on. It must be one of those records that are read then:
        journalctl passes over the first that matches after any other."""
        self.machine.run("journalctl --sync")
        return self.machine.run(f"journalctl -q -u {self.UNIT} -n 1 --show-cursor | tail -1").partition("cursor: ")[2].strip()

    def study(self, command):
        """`edge study COMMAND`, as JSON."""
        return json.loads(self.machine.run(f"edge study {command} --json", timeout_s=300))
