"""The package's life under the real dpkg of an emulated board: installed, upgraded with state and configuration kept, removed,
installed again, purged. Slow: `make test-arm` runs it."""

import re
import subprocess
import unittest

from kit import debian, places, station

OLDER = "0.0.1"


def older(deb):
    """The same package under an older version, with an older default configuration."""
    unpacked, made = places.WORK / "older-deb", places.WORK / "older.deb"
    subprocess.run(["rm", "-rf", unpacked], check=True)
    subprocess.run(["dpkg-deb", "-R", deb, unpacked], check=True)
    control = unpacked / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {OLDER}", control.read_text()))
    subprocess.run(["dpkg-deb", "-Zgzip", "-z1", "--root-owner-group", "-b", unpacked, made], check=True, stdout=subprocess.DEVNULL)
    return made


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        deb = places.edge_deb()
        if deb is None:
            raise AssertionError("no package: `make deb` makes it, or name one in ULNA_EDGE_ARM64_DEB")
        fields = subprocess.run(["dpkg-deb", "-f", deb], check=True, capture_output=True, text=True).stdout
        cls.version = re.search(r"(?m)^Version: (.*)$", fields).group(1)
        cls.name = re.search(r"(?m)^Package: (.*)$", fields).group(1)
        print(f"\n{deb.name}", flush=True)

        def add(copy):
            for source, to in [(older(deb), "older.deb"), (deb, "newer.deb")]:
                subprocess.run(["cp", source, copy / "root" / to], check=True)
            station.write_bundle(copy / "srv/bundle")

        station.boot(cls, "package", add, more=debian.depends(deb))

    def dpkg(self, order):
        said = self.machine.run(f"DEBIAN_FRONTEND=noninteractive dpkg {order}", timeout_s=900)
        print(f"--- dpkg {order}\n{said.strip()}", flush=True)
        return said

    def installed(self):
        return self.machine.status(f"dpkg-query -W -f '${{Version}} ${{Status}}' {self.name}")[1]

    def exists(self, path):
        return self.machine.status(f"[ -e {path} ]")[0] == 0

    def test_1_installed_it_waits_for_a_configuration(self):
        self.dpkg("-i /root/older.deb")
        self.assertEqual(self.installed(), f"{OLDER} install ok installed")
        self.assertEqual(self.machine.status("systemctl is-enabled ulna-edge")[1].strip(), "enabled")
        self.assertEqual(self.machine.status("systemctl is-failed ulna-edge")[1].strip(), "inactive")
        self.machine.run("grep '^ulna:' /etc/passwd && [ $(stat -c %U:%G:%a /var/spool/ulna) = ulna:ulna:2770 ]")
        self.assertIn("edge ", self.machine.run("edge --version"))

    def test_2_configured_it_serves(self):
        text = station.config(broker=self.broker, bundle="/srv/bundle")
        self.station.configure(text)
        self.machine.run("systemctl start ulna-edge", timeout_s=400)
        type(self).number = self.station.study("open XR_HAND")["number"]
        self.station.study(f"capture {self.number}")

    def test_3_an_upgrade_keeps_state_and_configuration(self):
        before = self.machine.run("sha256sum /etc/ulna/edge.toml")
        self.dpkg("-i /root/newer.deb")
        self.assertEqual(self.installed(), f"{self.version} install ok installed")
        self.assertEqual(self.machine.run("sha256sum /etc/ulna/edge.toml"), before)
        self.station.wait_until_active()
        started = self.machine.run("systemctl show ulna-edge -p NRestarts")
        self.assertEqual(started.strip(), "NRestarts=0")
        study = self.station.study(f"close {self.number} --wait")
        self.assertEqual(len(study["images"]), 1)
        self.broker.wait_for("result", lambda result: result["study"]["number"] == self.number)

    def test_4_removed_it_leaves_what_is_the_stations(self):
        self.dpkg(f"-r {self.name}")
        self.assertFalse(self.exists("/usr/bin/edge"))
        self.assertEqual(self.machine.status("systemctl is-active ulna-edge")[1].strip(), "inactive")
        for kept in ["/etc/ulna/edge.toml", "/var/lib/ulna/ulna.sqlite", "/var/lib/ulna/site.key"]:
            self.assertTrue(self.exists(kept), kept)
        self.dpkg("-i /root/newer.deb")
        self.station.wait_until_active()
        self.assertEqual(self.station.study(f"show {self.number}")["number"], self.number)

    def test_5_purged_it_leaves_nothing_of_a_patient(self):
        said = self.dpkg(f"-P {self.name}")
        self.assertFalse(self.exists("/usr/bin/edge"))
        self.assertFalse(self.exists("/lib/systemd/system/ulna-edge.service"))
        self.assertNotIn("enabled", self.machine.status("systemctl is-enabled ulna-edge")[1].split())
        for gone in ["/etc/ulna", "/var/lib/ulna", "/var/spool/ulna"]:
            self.assertFalse(self.exists(gone), gone)
        for word in ["error", "cannot", "rmdir"]:
            self.assertNotIn(word, said.lower())
