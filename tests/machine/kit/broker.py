"""mosquitto on a loopback port of its own, which a machine reaches as 10.0.2.2; and what a subscriber heard of it."""

import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from . import places

HOST_SEEN_FROM_MACHINE = "10.0.2.2"


class Broker:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ulna-broker-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\nlog_type error\nlog_type warning\n"
        (self.folder / "mosquitto.conf").write_text(config)
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        self.process = subprocess.Popen(
            [*places.ENDS_WITH_US, program, "-c", self.folder / "mosquitto.conf"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 20
        while socket.socket().connect_ex(("127.0.0.1", self.port)) != 0:
            if time.monotonic() > until:
                raise RuntimeError("mosquitto does not listen")
            time.sleep(0.1)
        self.messages, self.news = [], threading.Condition()
        listen = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(self.port), "-V", "mqttv5", "-q", "1"]
        listen += ["-F", "%j", "-t", "ulna/#"]
        self.subscriber = subprocess.Popen([*places.ENDS_WITH_US, *listen], stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self):
        for line in self.subscriber.stdout:
            message = json.loads(line)
            payload = message.get("payload")
            try:
                payload = json.loads(payload) if payload else None
            except ValueError:
                pass  # What `edge doctor` tries the broker with.
            with self.news:
                self.messages.append((message["topic"], payload))
                self.news.notify_all()

    def heard(self, kind):
        """The payloads of one kind (`result`, `status`, ...) so far."""
        with self.news:
            return [payload for topic, payload in self.messages if topic.split("/")[3:] == [kind]]

    def wait_for(self, kind, wanted=lambda payload: True, timeout_s=180):
        """The first payload of a kind that is wanted."""
        until = time.monotonic() + timeout_s
        while True:
            with self.news:
                found = [payload for topic, payload in self.messages if topic.split("/")[3:] == [kind] and wanted(payload)]
                if found:
                    return found[0]
                if not self.news.wait(max(until - time.monotonic(), 0)) and time.monotonic() >= until:
                    raise AssertionError(f"no such {kind} within {timeout_s} s; heard: {self.messages}")

    def close(self):
        for process in (self.subscriber, self.process):
            process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
