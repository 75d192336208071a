"""A board on which something is wrong: what the unit's state, `systemctl status` and the journal say of it, and that they
say what to do. One machine, one trouble after the other; each test begins with a station that is stopped and configured well."""

import unittest

from kit import station

ERROR, WARNING = "3", "4"


class Trouble(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        def add(copy):
            station.install(copy)
            station.write_bundle(copy / "usr/share/ulna/other-format", format=99)

        # Its clock is in 1970, as that of a board without one.
        station.boot(cls, "trouble", add, rtc="1970-01-01T00:00:00")
        cls.station.settle()

    def setUp(self):
        self.configure()
        self.begun = self.station.cursor()
        self.addCleanup(self.machine.run, "systemctl stop ulna-edge; systemctl reset-failed ulna-edge 2>/dev/null; true")

    def configure(self, **changes):
        self.station.configure(station.config(broker=self.broker, **changes))

    def start(self):
        """Starts the service and waits until it serves."""
        self.machine.run("systemctl start ulna-edge", timeout_s=400)

    def start_in_vain(self):
        """Starts the service, waits until its first process has ended, and gives its exit status."""
        self.machine.run("systemctl start --no-block ulna-edge")
        done = lambda _, said: "ExecMainStatus=0" not in said and "ExecMainExitTimestamp=\n" not in said
        self.machine.until("end", "systemctl show ulna-edge -p ExecMainStatus,ExecMainExitTimestamp", done, timeout_s=300)
        return self.station.show("ExecMainStatus")[0]

    def assert_said(self, *words, priority=ERROR):
        """One record of the journal, of this priority, has all the words; `systemctl status` shows them too, and does not say
        that all is well."""
        told = [record for record in self.station.journal(since=self.begun) if all(word in record["MESSAGE"] for word in words)]
        every = [record["MESSAGE"] for record in self.station.journal(since=self.begun)]
        self.assertTrue(told, f"the journal does not say {words}: {every}")
        print(f"journal: {told[0]['MESSAGE']}", flush=True)
        self.assertEqual(told[0]["PRIORITY"], priority, told[0]["MESSAGE"])
        self.assert_status_says(*words)

    def assert_status_says(self, *words):
        page = self.machine.status("systemctl status ulna-edge --no-pager -l")[1]
        line = next((line.strip() for line in page.splitlines() if line.strip().startswith("Status:")), "")
        print(line, flush=True)
        self.assertNotIn(line, ["", 'Status: "scoring"'], page)
        for word in words:
            self.assertIn(word, page)

    def assert_given_up(self, code):
        """It ended for good: starting again does not help."""
        self.assertEqual(self.start_in_vain(), code)
        self.machine.until("failed unit", "systemctl is-failed ulna-edge")
        self.assertEqual(self.station.show("ActiveState", "Result", "NRestarts"), ["failed", "exit-code", "0"])

    def assert_trying_again(self, code):
        """It ended, and is started again and again."""
        self.assertEqual(self.start_in_vain(), code)
        self.machine.until("restart", "systemctl show ulna-edge -p NRestarts", lambda _, said: said.strip() != "NRestarts=0")

    def take(self, study_type="XR_HAND"):
        """A study of one captured view, closed; gives its number."""
        number = self.station.study(f"open {study_type}")["number"]
        self.machine.run(f"edge study capture {number}", timeout_s=300)
        self.station.study(f"close {number} --wait")
        return number

    def published(self, number, timeout_s=180):
        return self.broker.wait_for("result", lambda result: result["study"]["number"] == number, timeout_s)

    def refused(self):
        """What a capture is refused with."""
        number = self.station.study("open XR_HAND")["number"]
        status, said = self.machine.status(f"edge study capture {number}", timeout_s=300)
        self.assertEqual(status, 6, said)
        return said

    def test_no_camera(self):
        self.configure(device="/dev/video9")
        self.start()
        self.assertIn("/dev/video9", self.refused())
        self.assertIn("/dev/video9", self.machine.status("edge doctor", timeout_s=300)[1])
        self.assertEqual(self.station.show("ActiveState")[0], "active", "studies can still be sent in")
        self.assert_said("/dev/video9", "check the cable", priority=WARNING)

    def test_a_camera_that_the_service_may_not_open(self):
        self.machine.run("chown root:root /dev/video0; chmod 600 /dev/video0")
        self.addCleanup(self.machine.run, "chown root:video /dev/video0; chmod 660 /dev/video0")
        self.start()
        self.assertIn("Permission denied", self.refused())
        self.assert_said("/dev/video0", "Permission denied", "may read it", priority=WARNING)

    def test_a_state_folder_that_cannot_be_written(self):
        self.start()
        self.machine.run("systemctl stop ulna-edge && mount --bind /var/lib/ulna /var/lib/ulna")
        self.machine.run("mount -o remount,bind,ro /var/lib/ulna")
        self.addCleanup(self.machine.run, "umount /var/lib/ulna")
        self.assert_trying_again("74")
        self.assert_said("/var/lib/ulna", "Read-only file system", "check the space and the permissions")

    def test_a_state_partition_that_is_full(self):
        self.machine.run("mount -t tmpfs -o size=8m,mode=700 state /var/lib/ulna && chown ulna:ulna /var/lib/ulna")
        self.addCleanup(self.machine.run, "umount /var/lib/ulna")
        self.machine.run("dd if=/dev/zero of=/var/lib/ulna/stuff bs=1M 2>/dev/null; df /var/lib/ulna")
        self.assert_trying_again("74")
        self.assert_said("/var/lib/ulna", "No space left on device", "check the space")

    def test_a_state_partition_that_is_nearly_full(self):
        self.machine.run("mount -t tmpfs -o size=64m,mode=700 state /var/lib/ulna && chown ulna:ulna /var/lib/ulna")
        self.addCleanup(self.machine.run, "umount /var/lib/ulna")
        self.start()
        said = self.refused()
        print(said.strip(), flush=True)
        self.assertIn("until there is space again", said)
        self.assert_said("disk_free_min_mib", priority=ERROR)

    def test_no_network(self):
        self.machine.plug(False)
        self.addCleanup(self.machine.plug, True)
        self.start()
        number = self.take()
        self.assertEqual([result for result in self.broker.heard("result") if result["study"]["number"] == number], [])
        self.assert_said("results cannot be sent", "outbox", priority=WARNING)
        self.machine.plug(True)
        self.assertEqual(self.published(number)["outcome"], "scored")

    def test_a_clock_in_1970(self):
        print(f"at boot systemd made of 1970: {self.machine.run('date').strip()}", flush=True)
        # The kernel takes no time before its own start.
        self.addCleanup(self.machine.run, f"date -s @{self.machine.run('date +%s').strip()} >/dev/null")
        self.machine.run("date -s @86400 >/dev/null")
        year = self.machine.run("date +%Y").strip()
        self.assertEqual(year, "1970")
        self.start()
        result = self.published(self.take())
        print(f"closed at {result['study']['closed_at']}, synchronised: {result['clock_synchronised']}", flush=True)
        self.assertGreater(result["study"]["closed_at"], "2026")
        self.assertIsNot(result["clock_synchronised"], True)
        said = self.machine.status("edge doctor", timeout_s=300)[1]
        self.assertRegex(said, "(?i)clock")
        self.assert_said("clock", priority=WARNING)

    def test_a_configuration_of_another_version(self):
        self.configure(extra='[spool]\ndir = "/var/spool/ulna"\nrescan_msec = 100\n')
        self.assert_given_up("78")
        self.assert_said("/etc/ulna/edge.toml", "line ", "unknown field `rescan_msec`", "correct or remove it")

    def test_a_bundle_of_another_format(self):
        self.configure(bundle="/usr/share/ulna/other-format")
        self.assert_given_up("65")
        self.assert_said("format 99", "this version reads format 1", "install")

    def test_restarts_that_were_asked_for_are_not_held_back(self):
        self.start()
        for _ in range(4):
            self.machine.run("systemctl restart ulna-edge", timeout_s=400)
        told = self.station.messages(since=self.begun)
        self.assertEqual([said for said in told if "waiting" in said], [])
