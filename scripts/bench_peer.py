"""One engine, measured in a process of its own: scripts/bench_peer.py ENGINE MODEL.onnx SIDE THREADS RUNS prints JSON: its version, the
median of a view's milliseconds, and the answer, so that whoever measures sees that it is the same network."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy


def onnxruntime(model, threads):
    import onnxruntime as engine

    options = engine.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = engine.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return engine.__version__, lambda image: session.run(["logit"], {"radiograph": image})[0]


def openvino(model, threads):
    import openvino as engine

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = engine.compile_model(model, "CPU", settings).create_infer_request()
    return engine.__version__.split("-")[0], lambda image: request.infer({"radiograph": image})["logit"]


def ncnn(model, threads):
    import ncnn as engine

    stem = Path(model).with_suffix("")
    if not stem.with_suffix(".ncnn.param").exists():
        side = image_side(stem)
        pnnx = Path(engine.__file__).parent.parent / "pnnx/pnnx"
        pnnx.chmod(0o755)
        subprocess.run([pnnx, Path(model).name, f"inputshape=[1,3,{side},{side}]", "fp16=0"], check=True, capture_output=True, cwd=stem.parent)
    net = engine.Net()
    net.opt.num_threads, net.opt.use_vulkan_compute = threads, False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    net.load_param(str(stem.with_suffix(".ncnn.param")))
    net.load_model(str(stem.with_suffix(".ncnn.bin")))

    def run(image):
        extractor = net.create_extractor()
        extractor.input("in0", engine.Mat(image[0]))
        return numpy.array(extractor.extract("out0")[1])

    return engine.__version__, run


def image_side(stem):
    return int(stem.parent.name.split("-")[-1])


def main():
    name, model, side, threads, runs = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    version, run = {"onnxruntime": onnxruntime, "openvino": openvino, "ncnn": ncnn}[name](model, threads)
    image = numpy.random.default_rng(3).normal(size=(1, 3, side, side)).astype(numpy.float32)
    answer = float(numpy.ravel(run(image))[0])
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        run(image)
        times.append((time.perf_counter() - started) * 1e3)
    print(json.dumps({"version": version, "median_ms": statistics.median(times), "logit": answer}))


main()
