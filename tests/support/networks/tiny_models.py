"""Models of a kilobyte that keep the contract, without weights."""

import json
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from lits_runtime.model.metadata import METADATA_KEY

TINY_METADATA = {
    "format_version": 1,
    "recipe": "tiny",
    "settings": {},
    "classes": ["liver", "lesion"],
    "label_values": [1, 2],
    "thresholds": [0.5, 0.5],
    "context_slices": 0,
    "orientation": "LPS",
    "working_size": 0,
    "precision": "fp32",
    "opset": 18,
    "training": {},
    "parity": {},
    "checkpoint_sha256": "0" * 64,
    "licence": "none",
    "intended_use": "tests",
}


def tiny_model(metadata: dict[str, object] | None = None) -> bytes:
    """Liver from 50 HU, lesion from 100 HU; `metadata` replaces entries of `TINY_METADATA`."""
    nodes = [
        helper.make_node("Unsqueeze", ["slab", "axis"], ["channel"]),
        helper.make_node("Sub", ["channel", "offsets"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["probability"]),
        helper.make_node("GreaterOrEqual", ["probability", "half"], ["masks"]),
        helper.make_node("Cast", ["masks"], ["counted"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["counted", "axis"], ["summed"], keepdims=0),
        helper.make_node("Cast", ["summed"], ["labels"], to=TensorProto.UINT8),
    ]
    constants = [
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("offsets", TensorProto.FLOAT, [1, 2, 1, 1], [50, 100]),
        helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]),
    ]
    return _serialised("tiny", nodes, constants, "n", metadata or {})


def positional_model(metadata: dict[str, object] | None = None) -> bytes:
    """A model whose labels depend on column, row, and the slices above and below."""
    nodes = [
        helper.make_node("Slice", ["slab", "one", "end", "zero"], ["centre"]),
        helper.make_node("Slice", ["slab", "two", "far", "zero"], ["above"]),
        helper.make_node("Slice", ["slab", "zero", "end2", "zero"], ["below"]),
        helper.make_node("Mul", ["centre", "nought"], ["zeros"]),
        helper.make_node("Add", ["zeros", "unit"], ["ones"]),
        helper.make_node("CumSum", ["ones", "axis2"], ["column"]),
        helper.make_node("CumSum", ["ones", "axis1"], ["row"]),
        helper.make_node("Mul", ["column", "nine"], ["columns"]),
        helper.make_node("Mul", ["row", "five"], ["rows"]),
        helper.make_node("Mul", ["above", "half"], ["up"]),
        helper.make_node("Sum", ["centre", "columns", "rows", "up", "below"], ["value"]),
        helper.make_node("Unsqueeze", ["value", "one"], ["channel"]),
        helper.make_node("Sub", ["channel", "offsets"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["probability"]),
        helper.make_node("GreaterOrEqual", ["logits", "nought"], ["masks"]),
        helper.make_node("Cast", ["masks"], ["counted"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["counted", "one"], ["summed"], keepdims=0),
        helper.make_node("Cast", ["summed"], ["labels"], to=TensorProto.UINT8),
    ]
    integers = {"zero": 0, "one": 1, "two": 2, "end": -1, "far": 2**31, "end2": -2}
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [1], [n]) for name, n in integers.items()
    ]
    constants += [
        helper.make_tensor(name, TensorProto.INT64, [], [n])
        for name, n in {"axis1": 1, "axis2": 2}.items()
    ]
    constants += [
        helper.make_tensor(name, TensorProto.FLOAT, [], [n])
        for name, n in {"nought": 0, "unit": 1, "nine": 9, "five": 5, "half": 0.5}.items()
    ]
    constants.append(helper.make_tensor("offsets", TensorProto.FLOAT, [1, 2, 1, 1], [100, 300]))
    return _serialised(
        "positional", nodes, constants, "n + 2", {"context_slices": 1} | (metadata or {})
    )


def _serialised(
    name: str,
    nodes: list[onnx.NodeProto],
    constants: list[TensorProto],
    slices: str,
    metadata: dict[str, object],
) -> bytes:
    """A checked model with the contract's input and outputs; `slices` is the size of the slab."""
    plane = ["height", "width"]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("slab", TensorProto.FLOAT, [slices, *plane])],
        [
            helper.make_tensor_value_info("labels", TensorProto.UINT8, ["n", *plane]),
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n", 2, *plane]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    helper.set_model_props(model, {METADATA_KEY: json.dumps(TINY_METADATA | metadata)})
    return bytes(model.SerializeToString())


def positional_labels(volume_hu: NDArray[Any]) -> NDArray[np.uint8]:
    """The positional model's labels of an LPS volume (i, j, k)."""
    hu = volume_hu.astype(np.float32)
    padded = np.concatenate([hu[..., :1], hu, hu[..., -1:]], axis=2)
    columns = 9 * np.arange(1, hu.shape[0] + 1)[:, None, None]
    rows = 5 * np.arange(1, hu.shape[1] + 1)[None, :, None]
    value = hu + columns + rows + 0.5 * padded[..., 2:] + padded[..., :-2]
    labels: NDArray[np.uint8] = (value >= 100).astype(np.uint8) + (value >= 300)
    return labels
