"""Writes a bundle of a network that was made for a test or a measurement; what a manifest needs besides is the demo bundle's."""

import hashlib
import json
import pathlib

DEMO = pathlib.Path(__file__).resolve().parent.parent / "edge/demo/bundle/manifest.json"


def input_spec():
    """How the demo bundle's images are made a network's input."""
    return json.loads(DEMO.read_text())["input"]


def write(folder, name, side_px, network, rows, logit, **changes):
    """`rows` are the grey pixels of a golden image, `side_px` by `side_px`, whose answer is `logit`; `changes` are further fields
    of the manifest."""
    manifest = json.loads(DEMO.read_text())
    manifest["input"].update(width_px=side_px, height_px=side_px)
    files = {"model.onnx": network, "golden/0.pgm": b"P5\n%d %d\n255\n" % (side_px, side_px) + rows}
    manifest["name"] = name
    manifest["golden"] = [{"image": "golden/0.pgm", "logit": logit}]
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)} for name, content in files.items()
    }
    manifest.update(changes)
    folder = pathlib.Path(folder)
    (folder / "golden").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))
    return folder
