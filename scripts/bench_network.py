"""DenseNet169 with random weights as a bundle: the graph is the trainer's, operator by operator, for any width, and its golden answer is
ONNX Runtime's. For measuring how long networks take; it has learned nothing."""

import os

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

import made_bundle

LAYERS, GROWTH, STEM, BOTTLENECK = (6, 12, 32, 32), 32, 64, 4


class Graph:
    """Nodes and constants so far. A node has one output, named like the node."""

    def __init__(self, seed):
        self.nodes, self.constants = [], []
        self.random = numpy.random.default_rng(seed)

    def node(self, operator, *inputs, **attributes):
        name = f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, values):
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(numpy.asarray(values), name))
        return name

    def floats(self, *shape, low=-1.0, high=1.0):
        return self.constant(self.random.uniform(low, high, shape).astype(numpy.float32))

    def conv(self, x, inputs, outputs, side, stride=1, bias=True):
        reach = (6 / (inputs * side * side)) ** 0.5
        operands = [x, self.floats(outputs, inputs, side, side, low=-reach, high=reach)]
        if bias:
            operands.append(self.floats(outputs, low=-0.1, high=0.1))
        border = [side // 2] * 4
        return self.node("Conv", *operands, kernel_shape=[side] * 2, pads=border, strides=[stride] * 2)

    def norm(self, x, channels):
        numbers = [self.floats(channels, low=low, high=high) for low, high in [(0.5, 1), (-0.2, 0.2), (-0.2, 0.2), (0.5, 1.5)]]
        return self.node("Relu", self.node("BatchNormalization", x, *numbers, epsilon=1e-5))


def model(share, side, seed=1):
    """The network with `share` of every width, for images of `side` pixels."""
    graph = Graph(seed)
    width = lambda full: max(1, round(full * share))
    channels = width(STEM)
    x = graph.node("Relu", graph.conv("radiograph", 3, channels, 7, stride=2))
    x = graph.node("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
    full = STEM
    for block, layers in enumerate(LAYERS):
        for _ in range(layers):
            y = graph.conv(graph.norm(x, channels), channels, width(BOTTLENECK * GROWTH), 1)
            y = graph.conv(graph.node("Relu", y), width(BOTTLENECK * GROWTH), width(GROWTH), 3, bias=False)
            x = graph.node("Concat", x, y, axis=1)
            channels, full = channels + width(GROWTH), full + GROWTH
        if block + 1 < len(LAYERS):
            full //= 2
            x = graph.node("AveragePool", graph.norm(x, channels), kernel_shape=[2, 2], pads=[0] * 4, strides=[2, 2])
            x = graph.conv(x, channels, width(full), 1, bias=False)
            channels = width(full)
    x = graph.conv(graph.norm(x, channels), channels, 1, 1, bias=False)
    graph.nodes.append(helper.make_node("Squeeze", [x, graph.constant(numpy.array([1]))], ["activation_map"]))
    mean = graph.node("ReduceMean", x, axes=[2, 3], keepdims=0)
    graph.nodes.append(helper.make_node("Add", [mean, graph.floats(1)], ["logit"]))
    cells = side // 32
    made = helper.make_graph(
        graph.nodes, "densenet", [helper.make_tensor_value_info("radiograph", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, [1, 1]),
         helper.make_tensor_value_info("activation_map", TensorProto.FLOAT, [1, cells, cells])], graph.constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_bundle(folder, share, side):
    """Writes the bundle, unless it is there."""
    import onnxruntime

    if os.path.exists(os.path.join(folder, "manifest.json")):
        return
    spec = made_bundle.input_spec()
    grey = numpy.random.default_rng(2).integers(0, 256, (side, side), dtype=numpy.uint8)
    planes = [(grey.astype(numpy.float32) / 255 - mean) / std for mean, std in zip(spec["mean"], spec["std"])]
    network = model(share, side).SerializeToString()
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    logit, _ = session.run(["logit", "activation_map"], {"radiograph": numpy.stack(planes)[None].astype(numpy.float32)})
    made_bundle.write(folder, os.path.basename(folder), side, network, grey.tobytes(), float(logit[0, 0]))
