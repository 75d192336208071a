"""A root in memory, as the kernel unpacks it: a `newc` archive, written entry by entry."""

import os
import pathlib
import stat


class Initramfs:
    """Collects files and writes them as one archive."""

    def __init__(self):
        self.entries = {}

    def file(self, path, content, mode=0o644):
        self._parents(path)
        self.entries[path.strip("/")] = (stat.S_IFREG | mode, content)

    def copy(self, source, path, mode=None):
        source = pathlib.Path(source)
        self.file(path, source.read_bytes(), mode if mode is not None else source.stat().st_mode & 0o777)

    def link(self, path, to):
        self._parents(path)
        self.entries[path.strip("/")] = (stat.S_IFLNK | 0o777, to.encode())

    def folder(self, path):
        self._parents(path)
        self.entries.setdefault(path.strip("/"), (stat.S_IFDIR | 0o755, b""))

    def tree(self, source, path):
        """Copies a folder with all that is in it."""
        source = pathlib.Path(source)
        for folder, _, names in os.walk(source):
            for name in names:
                file = pathlib.Path(folder) / name
                self.copy(file, f"{path}/{file.relative_to(source)}")

    def _parents(self, path):
        parts = path.strip("/").split("/")[:-1]
        for end in range(1, len(parts) + 1):
            self.entries.setdefault("/".join(parts[:end]), (stat.S_IFDIR | 0o755, b""))

    def write(self, to):
        with open(to, "wb") as out:
            for number, (name, (mode, content)) in enumerate([*self.entries.items(), ("TRAILER!!!", (0, b""))], 1):
                name = name.encode() + b"\0"
                fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0]
                head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
                out.write(head + b"\0" * (-len(head) % 4))
                out.write(content + b"\0" * (-len(content) % 4))
        return to
