"""The armv7 binary on an arm64 kernel, as on a 32-bit Raspberry Pi OS: the frames of test_capture, through the 32-bit side of the
kernel's video interface."""

import unittest

from kit import debian, places
from test_capture import ARMHF, capture_machine, compare


class Armv7(unittest.TestCase):
    def test_frames_are_the_drivers_picture_pixel_by_pixel(self):
        binary = places.edge_binary_armv7()
        if binary is None:
            print("SKIPPED: no armv7 binary; build it, or name one in ULNA_EDGE_ARMV7_BIN", flush=True)
            self.skipTest("no armv7 binary")
        binary = places.stripped(binary, "arm-linux-gnueabihf-strip")
        machine = capture_machine(debian.Kernel(), binary, "armv7", ARMHF)
        self.addCleanup(machine.close)
        machine.start()
        print(f"booted in {machine.booted_s:.0f} s", flush=True)
        compare(self, machine)
