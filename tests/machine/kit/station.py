"""The configuration of a station under test."""

REASONS = [
    "blank", "not_a_radiograph", "under_exposed", "over_exposed", "clipped", "inverted", "low_contrast", "cropped", "duplicate",
    "too_small",
]


def config(*, station="machine", fourcc="GREY", broker=None, bundle="/usr/share/ulna/bundle", device="/dev/video0", extra="", head=""):
    """Colour bars are no radiograph: the gate is off. `broker` is a host and a port."""
    off = ", ".join(f'"{reason}"' for reason in REASONS)
    host, port = broker or ("127.0.0.1", 1883)
    return f"""station = "{station}"
state_dir = "/var/lib/ulna"
bundle_dir = "{bundle}"
allow_demo_model = true
{head}
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
