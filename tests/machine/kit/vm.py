"""One emulated machine: qemu, its console, and an agent in it that runs commands."""

import base64
import json
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from . import places

BOOT_MAX_S = 600


class CommandFailed(AssertionError):
    """A command in the machine ended otherwise than it should."""


class Machine:
    """An arm64 board with a Debian kernel. Started and cut off at will; its disk stays."""

    def __init__(self, name, kernel, initramfs, *, disk=None, network=False, memory_mib=768, rtc=None, cpu="cortex-a72"):
        self.name, self.kernel, self.initramfs = name, kernel, initramfs
        self.disk, self.network, self.memory_mib, self.rtc, self.cpu = disk, network, memory_mib, rtc, cpu
        self.console = places.WORK / f"{name}.console.log"
        self.console.write_text("")
        self.process = self.agent = self.monitor = None
        # Socket paths have room for 107 bytes only.
        self.sockets = pathlib.Path(tempfile.mkdtemp(prefix="ulna-machine-"))

    def start(self):
        """Boots it and waits until it takes commands."""
        begun = time.monotonic()
        for path in self.sockets.iterdir():
            path.unlink()
        self.process = subprocess.Popen([*places.ENDS_WITH_US, *self._command()], stdin=subprocess.DEVNULL)
        self.monitor = self._connect("monitor")
        self._monitor_answer()
        self.order("qmp_capabilities")
        self.agent = self._connect("agent")
        self._line(BOOT_MAX_S)
        self.booted_s = time.monotonic() - begun
        return self

    def _command(self):
        devices = [
            "-chardev", f"socket,id=agent,path={self.sockets}/agent,server=on,wait=off",
            "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=machine.agent",
            "-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng",
        ]
        if self.disk:
            # What the machine wrote lies in this host's page cache, which outlives qemu: cutting it off loses what the machine
            # had not written yet, as with a disk that has no volatile cache of its own.
            devices += ["-drive", f"file={self.disk},format=raw,if=none,id=disk,cache=unsafe"]
            devices += ["-device", "virtio-blk-pci,drive=disk"]
        if self.network:
            devices += ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,id=nic,romfile="]
        if self.rtc:
            devices += ["-rtc", f"base={self.rtc}"]
        return [
            "qemu-system-aarch64", "-M", "virt", "-accel", "tcg", "-cpu", self.cpu, "-smp", "2", "-m", str(self.memory_mib),
            "-nodefaults", "-display", "none", "-no-reboot",
            "-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console",
            "-qmp", f"unix:{self.sockets}/monitor,server=on,wait=off",
            "-kernel", str(self.kernel.image), "-initrd", str(self.initramfs),
            "-append", "console=ttyAMA0 panic=-1 quiet systemd.show_status=0", *devices,
        ]

    def _connect(self, name):
        for _ in range(300):
            channel = socket.socket(socket.AF_UNIX)
            try:
                channel.connect(str(self.sockets / name))
                return channel
            except OSError:
                channel.close()
                if self.process.poll() is not None:
                    raise RuntimeError(f"{self.name}: qemu ended with {self.process.returncode}") from None
                time.sleep(0.1)
        raise RuntimeError(f"{self.name}: qemu opens no {name} socket")

    def _line(self, timeout_s):
        """The agent's next line."""
        until, read = time.monotonic() + timeout_s, b""
        while not read.endswith(b"\n"):
            self.agent.settimeout(max(until - time.monotonic(), 0.01))
            try:
                more = self.agent.recv(1 << 16)
            except TimeoutError:
                raise CommandFailed(f"{self.name} does not answer within {timeout_s} s\n{self.console_end()}") from None
            if not more:
                raise CommandFailed(f"{self.name} is gone\n{self.console_end()}")
            read += more
        return read.decode().strip()

    def run(self, command, timeout_s=120, check=True):
        """Runs a shell command as root; gives its output."""
        status, output = self.run_bytes(command, timeout_s)
        text = output.decode(errors="replace")
        if check and status != 0:
            raise CommandFailed(f"{self.name}: `{command}` ended with {status}:\n{text}")
        return text

    def status(self, command, timeout_s=120):
        """Exit status and output of a command that may fail."""
        status, output = self.run_bytes(command, timeout_s)
        return status, output.decode(errors="replace")

    def run_bytes(self, command, timeout_s=120):
        self.agent.settimeout(timeout_s)
        self.agent.sendall(base64.b64encode(command.encode()) + b"\n")
        status, _, output = self._line(timeout_s).partition(" ")
        return int(status), base64.b64decode(output)

    def read(self, path):
        """A file's bytes."""
        status, content = self.run_bytes(f"cat '{path}'")
        if status != 0:
            raise CommandFailed(f"{self.name}: {path} cannot be read: {content.decode(errors='replace')}")
        return content

    def write(self, path, text):
        """Writes a small file."""
        encoded = base64.b64encode(text.encode()).decode()
        self.run(f"echo {encoded} | base64 -d > '{path}'")

    def until(self, what, command, done=lambda status, output: status == 0, timeout_s=180, pause_s=0.5):
        """Runs a command again and again until `done`; gives its output."""
        until = time.monotonic() + timeout_s
        while True:
            status, output = self.status(command)
            if done(status, output):
                return output
            if time.monotonic() > until:
                raise CommandFailed(f"{self.name}: no {what} within {timeout_s} s; `{command}` says:\n{output}")
            time.sleep(pause_s)

    def order(self, command, **arguments):
        """Orders something of qemu itself."""
        self.monitor.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        answer = self._monitor_answer()
        if "error" in answer:
            raise RuntimeError(f"{command}: {answer['error']}")
        return answer

    def _monitor_answer(self):
        self.monitor.settimeout(60)
        read = b""
        while True:
            read += self.monitor.recv(1 << 16)
            for line in read.splitlines(keepends=True):
                if line.endswith(b"\n") and b'"event"' not in line[:200]:
                    return json.loads(line)

    def plug(self, connected):
        """Plugs the network cable in or out."""
        self.order("set_link", name="nic", up=connected)

    def cut(self):
        """Takes the power away."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        for channel in (self.agent, self.monitor):
            if channel:
                channel.close()
        self.process = self.agent = self.monitor = None

    def close(self):
        self.cut()
        shutil.rmtree(self.sockets, ignore_errors=True)

    def console_end(self, lines=40):
        return "console:\n" + "\n".join(self.console.read_text(errors="replace").splitlines()[-lines:])
