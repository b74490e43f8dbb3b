"""Weights stored in float16 for float32 arithmetic, and what that saves in size."""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

_SMALLEST = 256
"""Weights with fewer values stay as they are: the nodes would take more room than they save."""


def store_in_float16(model: onnx.ModelProto, except_for: Sequence[str] = ()) -> None:
    """Store float32 weights of convolutions as float16, with a power of two per output channel.

    The graph restores them by Cast and Mul, and computes in float32 as before. ONNX Runtime does so
    once, when it opens the file. Powers of two lose nothing, and keep very large and very small
    weights within float16's range.

    Args:
        model: changed in place.
        except_for: modules of the network whose weights stay as they are.
    """
    graph = model.graph
    weights = {entry.name: entry for entry in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        name = node.input[1] if node.op_type in ("Conv", "ConvTranspose") else ""
        entry = weights.get(name)
        if entry is None or entry.data_type != TensorProto.FLOAT:
            continue
        if any(name.startswith(f"network.{module}.") for module in except_for):
            continue
        values = numpy_helper.to_array(entry)
        if values.size < _SMALLEST:
            continue
        stored, scale = split(values, axis=0 if node.op_type == "Conv" else 1)
        entry.CopyFrom(numpy_helper.from_array(stored, f"{name}.float16"))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
        cast = [f"{name}.float16"], [f"{name}.unscaled"]
        nodes.append(helper.make_node("Cast", *cast, f"{name}.cast", to=TensorProto.FLOAT))
        product = [f"{name}.unscaled", f"{name}.scale"], [name]
        nodes.append(helper.make_node("Mul", *product, f"{name}.multiply"))
    others = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *others])


def split(
    values: NDArray[np.float32], axis: int
) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """Weights as float16 within -1..1, and the powers of two that bring them back.

    Args:
        values: weights of a convolution, float32.
        axis: of the output channels.

    Returns:
        float16 of the same shape, and float32 that broadcasts with it.

    >>> stored, scale = split(np.array([[3e6], [2e-6]], np.float32), axis=0)
    >>> (stored * scale).ravel().tolist() == np.array([3e6, 2e-6], np.float32).tolist()
    False
    >>> np.abs(stored * scale / [[3e6], [2e-6]] - 1).max() < 2**-11
    np.True_
    """
    others = tuple(other for other in range(values.ndim) if other != axis)
    largest = np.abs(values).max(axis=others, keepdims=True)
    exponent = np.ceil(np.log2(np.maximum(largest, np.finfo(np.float32).tiny)))
    scale = np.exp2(np.clip(exponent, -126, 127)).astype(np.float32)
    return (values / scale).astype(np.float16), scale


def size_ratio(model: onnx.ModelProto, content: bytes) -> float:
    """Size of a file relative to the same file with all weights in float32.

    Args:
        model: the graph in the file.
        content: the file.
    """
    weights = [entry for entry in model.graph.initializer if len(entry.dims) > 1]
    stored = sum(len(entry.raw_data) for entry in weights)
    counts = (int(np.prod(entry.dims)) for entry in weights if entry.data_type != TensorProto.INT64)
    return len(content) / (len(content) - stored + 4 * sum(counts))
