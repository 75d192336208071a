"""A board with systemd and journald: the station from boot to published results, through power cuts, hangs and a camera that is
pulled out. One machine lives through the tests in their order."""

import json
import re
import time
import unittest

from kit import station

# Shorter than the unit's own, so that a test need not wait a minute for it.
WATCHDOG_S = 20
ERROR, WARNING, INFO = "3", "4", "6"


class Service(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        station.boot(cls, "service", station.install)
        cls.station.settle()

    def capture(self, number):
        return self.machine.status(f"edge study capture {number} --json", timeout_s=300)

    def results(self, number):
        return [result for result in self.broker.heard("result") if result["study"]["number"] == number]

    def test_1_it_starts_unprovisioned_and_then_is_ready(self):
        self.machine.run("systemctl enable --now ulna-edge")
        active, condition = self.station.show("ActiveState", "ConditionResult")
        self.assertEqual((active, condition), ("inactive", "no"), "without a configuration it is skipped")
        self.station.configure(station.config(broker=self.broker))
        self.machine.run("systemctl start ulna-edge", timeout_s=400)
        state, sub, status = self.station.show("ActiveState", "SubState", "StatusText")
        self.assertEqual((state, sub, status), ("active", "running", "scoring"))
        self.assertTrue(any(said.startswith("ready; the technician's page") for said in self.station.messages()))
        self.assertEqual(self.broker.wait_for("status", lambda status: status["status"] == "online")["reason"], "started")

    def test_2_it_is_sandboxed(self):
        said = self.machine.run("systemd-analyze security ulna-edge --no-pager", timeout_s=300)
        line = said.strip().splitlines()[-1]
        print(line, flush=True)
        exposure = float(re.search(r"level for ulna-edge.service: ([0-9.]+)", line).group(1))
        self.assertLessEqual(exposure, 2.0)

    def test_3_a_study_is_captured_and_published(self):
        number = self.station.study("open XR_ELBOW --reference 'bed 7'")["number"]
        status, said = self.capture(number)
        self.assertEqual(status, 0, said)
        self.station.study(f"close {number} --wait")
        result = self.broker.wait_for("result", lambda result: result["study"]["number"] == number)
        self.assertEqual((result["station"], result["outcome"], result["study"]["type"]), ("machine", "scored", "XR_ELBOW"))
        self.assertEqual((len(result["views"]), result["study"]["revision"]), (1, 1))
        self.assertIn("DEMONSTRATION MODEL", result["notice"])
        self.assertNotIn("bed 7", str(self.broker.messages))
        self.machine.until("acknowledged result", f"edge study show {number} --json", lambda _, said: json.loads(said)["sent"])

    def test_4_the_journal_has_the_facts_as_fields(self):
        number = self.station.study("list")["studies"][0]["number"]
        told = self.station.journal(f"STUDY_NUMBER={number}")
        for record in told:
            self.assertEqual(record["STATION"], "machine")
            self.assertEqual(record["PRIORITY"], INFO, record["MESSAGE"])
        steps = [(record["STAGE"], "IMAGE_ID" in record) for record in told]
        print([f"{record['STAGE']}: {record['MESSAGE']}" for record in told], flush=True)
        for step in [("desk", False), ("intake", True), ("scoring", True), ("keeper", False)]:
            self.assertIn(step, steps)
        image = next(record["IMAGE_ID"] for record in told if "IMAGE_ID" in record)
        self.assertTrue(self.station.journal(f"IMAGE_ID={image}"))
        demo = [record for record in self.station.journal() if "DEMONSTRATION MODEL" in record["MESSAGE"]]
        self.assertEqual({record["PRIORITY"] for record in demo if record.get("STAGE")}, {WARNING})

    def test_5_the_camera_is_pulled_out_and_comes_back(self):
        begun = self.station.cursor()
        number = self.station.study("open XR_HAND")["number"]
        self.machine.run("echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind")
        status, said = self.capture(number)
        print(said.strip(), flush=True)
        self.assertEqual(status, 6, said)
        for word in ["/dev/video0", "check the cable"]:
            self.assertIn(word, said)
        told = [record for record in self.station.journal(since=begun) if "no radiograph was taken" in record["MESSAGE"]]
        self.assertEqual([record["PRIORITY"] for record in told], [WARNING])
        trouble = self.machine.status("edge doctor", timeout_s=300)[1]
        self.assertIn("/dev/video0", trouble)
        self.machine.run("echo vivid.0 > /sys/bus/platform/drivers/vivid/bind; udevadm settle")
        self.machine.until("camera", f"edge study capture {number} --json", timeout_s=60)
        self.station.study(f"close {number} --wait")
        self.assertEqual(self.broker.wait_for("result", lambda result: result["study"]["number"] == number)["outcome"], "scored")

    def test_6_a_hung_service_is_restarted_by_the_watchdog(self):
        self.machine.run("mkdir -p /run/systemd/system/ulna-edge.service.d")
        self.machine.write("/run/systemd/system/ulna-edge.service.d/watchdog.conf", f"[Service]\nWatchdogSec={WATCHDOG_S}\n")
        self.machine.run("systemctl daemon-reload && systemctl restart ulna-edge", timeout_s=400)
        begun, (pid,) = self.station.cursor(), self.station.show("MainPID")
        self.machine.run(f"kill -STOP {pid}")
        hung = time.monotonic()

        def again(_, said):
            facts = said.split()
            return "NRestarts=1" in facts and "ActiveState=active" in facts and f"MainPID={pid}" not in facts

        self.machine.until("restart", "systemctl show ulna-edge -p NRestarts,MainPID,ActiveState", again, timeout_s=400)
        print(f"hung, restarted and ready after {time.monotonic() - hung:.0f} s", flush=True)
        said = self.machine.run(f"journalctl -q --no-pager -u ulna-edge --after-cursor='{begun}'")
        self.assertIn("Watchdog timeout", said)
        number = self.station.study("open XR_WRIST")["number"]
        self.assertEqual(self.capture(number)[0], 0)
        self.station.study(f"close {number} --wait")
        self.broker.wait_for("result", lambda result: result["study"]["number"] == number)

    def test_7_nothing_is_lost_when_the_power_is_cut_in_a_study(self):
        number = self.station.study("open XR_SHOULDER")["number"]
        image = self.station.study(f"capture {number}")["image_id"]
        # A second view is on its way when the power goes.
        self.machine.run(f"edge study capture {number} >/dev/null 2>&1 & sleep 0.3")
        self.machine.cut()
        self.machine.start()
        print(f"booted again in {self.machine.booted_s:.0f} s", flush=True)
        self.station.wait_until_active()
        study = self.station.study(f"show {number}")
        self.assertTrue(study["open"])
        self.assertIn(image, [kept["image_id"] for kept in study["images"]])
        self.assertEqual(self.capture(number)[0], 0)
        views = len(self.station.study(f"close {number} --wait")["images"])
        result = self.broker.wait_for("result", lambda result: result["study"]["number"] == number)
        self.assertEqual((result["outcome"], len(result["views"]), result["study"]["revision"]), ("scored", views, 1))
        self.assertIn(image, [view["image_id"] for view in result["views"]])
        self.assertEqual(len(self.results(number)), 1)

    def test_8_a_result_that_was_not_sent_is_sent_once_after_a_power_cut(self):
        self.machine.plug(False)
        number = self.station.study("open XR_FOREARM")["number"]
        self.assertEqual(self.capture(number)[0], 0)
        self.station.study(f"close {number} --wait")
        self.machine.cut()
        self.assertEqual(self.results(number), [])
        self.machine.start()
        self.broker.wait_for("result", lambda result: result["study"]["number"] == number, timeout_s=300)
        time.sleep(3)
        results = self.broker.heard("result")
        print(f"{len(results)} results, seq {[result['seq'] for result in results]}", flush=True)
        self.assertEqual(len({result["outbox_id"] for result in results}), 1)
        self.assertEqual([result["seq"] for result in results], list(range(1, len(results) + 1)))
