#!/usr/bin/env python3
"""Tests on emulated boards. `run.py [--quick | --all] [NAMES...]`: names are those of unittest, such as `test_capture`.

--quick, the default, is what `make test` runs; --all adds what `make test-arm` runs. Needs the Debian packages qemu-system-arm,
kmod, e2fsprogs, mosquitto and mosquitto-clients; everything that a board runs is fetched and unpacked under target/machine."""

import sys
import unittest
from pathlib import Path

QUICK = ["test_answers", "test_capture", "test_service"]
SLOW = ["test_trouble", "test_package", "test_armv7"]


def main():
    sys.path.insert(0, str(Path(__file__).parent))
    named = [name for name in sys.argv[1:] if not name.startswith("-")]
    names = named or (QUICK + SLOW if "--all" in sys.argv else QUICK)
    suite = unittest.defaultTestLoader.loadTestsFromNames(names)
    result = unittest.TextTestRunner(verbosity=2, failfast="-f" in sys.argv).run(suite)
    sys.exit(not result.wasSuccessful())


if __name__ == "__main__":
    main()
