"""Frames by their definitions: V4L2's raw formats (kernel documentation, "Image Formats"), the window that a station puts a raw
frame into, and PNG (RFC 2083) as far as 16-bit grey goes. Written from those texts, not from edge's sources."""

import array
import struct
import sys
import zlib

# The largest sample of each format.
WHITE = {"GREY": 255, "Y10": 1023, "Y12": 4095, "Y16": 65535, "YUYV": 255}


def unpack(fourcc, raw, width, height):
    """The samples of a raw frame, row by row. Its rows may be padded."""
    bytes_per_pixel = 1 if fourcc == "GREY" else 2
    stride, rest = divmod(len(raw), height)
    if rest or stride < width * bytes_per_pixel:
        raise ValueError(f"{len(raw)} bytes are no {fourcc} frame of {width}x{height}")
    samples = []
    for y in range(height):
        row = raw[y * stride : y * stride + width * bytes_per_pixel]
        if fourcc == "GREY":
            samples.extend(row)
        elif fourcc == "YUYV":
            samples.extend(row[0::2])
        else:
            samples.extend(struct.unpack(f"<{width}H", row))
    if max(samples) > WHITE[fourcc]:
        raise ValueError(f"{fourcc}: a sample is {max(samples)}")
    return samples


def window(samples, white_max, low, high):
    """The samples stretched to 0..65535: from the least value with more than a share `low` of the samples at or below it to the
    largest with more than a share `high` at or above it."""
    counts = [0] * (white_max + 1)
    for sample in samples:
        counts[sample] += 1

    def reaches(values, share):
        seen = 0
        for value in values:
            seen += counts[value]
            if seen > share * len(samples):
                return value
        raise ValueError("the shares leave nothing")

    black, white = reaches(range(white_max + 1), low), reaches(range(white_max, -1, -1), high)
    span = max(white - black, 1)
    spread = [(min(max(value, black), white) - black) * 65535 / span for value in range(white_max + 1)]
    rounded = [int(value + 0.5) for value in spread]
    return [rounded[sample] for sample in samples]


def png_samples(png):
    """Width, height and samples of a 16-bit grey PNG."""
    if png[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("not a PNG")
    at, data, head = 8, b"", None
    while at < len(png):
        (length,), kind = struct.unpack(">I", png[at : at + 4]), png[at + 4 : at + 8]
        content = png[at + 8 : at + 8 + length]
        (check,) = struct.unpack(">I", png[at + 8 + length : at + 12 + length])
        if zlib.crc32(kind + content) != check:
            raise ValueError(f"chunk {kind} is damaged")
        if kind == b"IHDR":
            head = struct.unpack(">IIBBBBB", content)
        elif kind == b"IDAT":
            data += content
        at += 12 + length
    width, height, depth, colour, _, _, interlaced = head
    if (depth, colour, interlaced) != (16, 0, 0):
        raise ValueError(f"depth {depth}, colour type {colour}, interlacing {interlaced}")
    samples = array.array("H", _unfiltered(zlib.decompress(data), width * 2, height))
    if sys.byteorder == "little":
        samples.byteswap()
    return width, height, samples.tolist()


def _unfiltered(lines, row_bytes, height):
    above, out = bytearray(row_bytes), bytearray()
    for y in range(height):
        start = y * (row_bytes + 1)
        kind, row = lines[start], bytearray(lines[start + 1 : start + 1 + row_bytes])
        for x in range(row_bytes):
            left, up, corner = row[x - 2] if x > 1 else 0, above[x], above[x - 2] if x > 1 else 0
            if kind == 1:
                row[x] = (row[x] + left) & 255
            elif kind == 2:
                row[x] = (row[x] + up) & 255
            elif kind == 3:
                row[x] = (row[x] + (left + up) // 2) & 255
            elif kind == 4:
                nearest = left + up - corner
                off = [(abs(nearest - left), 0, left), (abs(nearest - up), 1, up), (abs(nearest - corner), 2, corner)]
                row[x] = (row[x] + min(off)[2]) & 255
            elif kind != 0:
                raise ValueError(f"filter {kind}")
        out += row
        above = row
    return bytes(out)
