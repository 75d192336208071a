"""A bundle whose model sees nothing but brightness, so that an emulated board loads and self-tests it in no time. Its map is the
mean of the normalised input, patch by patch, its logit the mean of the map. The ONNX file is written field by field
(onnx.proto, opset 17)."""

import sys

from . import places

sys.path.append(str(places.REPOSITORY / "scripts"))
import made_bundle  # noqa: E402

SIDE_PX, PATCH_PX = 64, 16


def write(folder, **changes):
    """Writes the bundle; `changes` are further fields of its manifest."""
    spec = made_bundle.input_spec()
    rows = bytes(150 + column for column in range(SIDE_PX)) * SIDE_PX
    mean = sum(rows) / len(rows) / 255
    logit = sum((mean - of) / by for of, by in zip(spec["mean"], spec["std"])) / 3
    return made_bundle.write(folder, "brightness", SIDE_PX, _model(), rows, logit, **changes)


def _model():
    nodes = [
        _node("AveragePool", "radiograph", "pooled", _ints("kernel_shape", [PATCH_PX] * 2), _ints("strides", [PATCH_PX] * 2)),
        _node("ReduceMean", "pooled", "activation_map", _ints("axes", [1]), _int("keepdims", 0)),
        _node("ReduceMean", "activation_map", "mean", _ints("axes", [2]), _int("keepdims", 0)),
        _node("ReduceMean", "mean", "logit", _ints("axes", [1]), _int("keepdims", 1)),
    ]
    patches = SIDE_PX // PATCH_PX
    graph = b"".join(_message(1, node) for node in nodes) + _message(2, b"brightness")
    graph += _message(11, _value("radiograph", [1, 3, SIDE_PX, SIDE_PX]))
    graph += _message(12, _value("logit", [1, 1])) + _message(12, _value("activation_map", [1, patches, patches]))
    return _number(1, 8) + _message(7, graph) + _message(8, _number(2, 17))


def _node(operator, reads, gives, *attributes):
    """NodeProto: input = 1, output = 2, op_type = 4, attribute = 5."""
    head = _message(1, reads.encode()) + _message(2, gives.encode()) + _message(4, operator.encode())
    return head + b"".join(_message(5, attribute) for attribute in attributes)


def _int(name, value):
    """AttributeProto: name = 1, i = 3, ints = 8, type = 20 (INT = 2, INTS = 7)."""
    return _message(1, name.encode()) + _number(3, value) + _number(20, 2)


def _ints(name, values):
    return _message(1, name.encode()) + b"".join(_number(8, value) for value in values) + _number(20, 7)


def _value(name, shape):
    """ValueInfoProto: name = 1, type = 2; TypeProto.tensor_type = 1; Tensor: elem_type = 1 (FLOAT = 1), shape = 2;
    TensorShapeProto.dim = 1; Dimension.dim_value = 1."""
    dims = b"".join(_message(1, _number(1, side)) for side in shape)
    return _message(1, name.encode()) + _message(2, _message(1, _number(1, 1) + _message(2, dims)))


def _message(field, content):
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field, value):
    return _varint(field << 3) + _varint(value)


def _varint(value):
    encoded = b""
    while value >= 0x80:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])
