"""Weights stored in float16: any scale survives, and modules can be left out."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from lits_export.lowering.stored_weights import size_ratio, store_in_float16

WEIGHTS = np.random.default_rng(0).standard_normal((8, 8, 3, 3)).astype(np.float32)


def two_convolutions() -> onnx.ModelProto:
    """A model whose second weights undo the first ones' scale of 1e9, beyond float16."""
    shape: list[str | int | None] = [1, 8, "height", "width"]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "network.up.weight"], ["middle"], pads=[1] * 4),
            helper.make_node("ConvTranspose", ["middle", "network.down.weight"], ["y"]),
        ],
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(WEIGHTS * np.float32(1e9), "network.up.weight"),
            numpy_helper.from_array(WEIGHTS * np.float32(1e-9), "network.down.weight"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = np.random.default_rng(1).standard_normal((1, 8, 9, 10)).astype(np.float32)
    result: np.ndarray = session.run(None, {"x": x})[0]
    return result


def test_weights_of_any_scale_survive_float16() -> None:
    expected = run(two_convolutions())
    model = two_convolutions()
    store_in_float16(model)
    onnx.checker.check_model(model, full_check=True)
    kinds = {entry.name: entry.data_type for entry in model.graph.initializer}
    assert (
        kinds["network.up.weight.float16"]
        == kinds["network.down.weight.float16"]
        == TensorProto.FLOAT16
    )
    assert not {"network.up.weight", "network.down.weight"} & kinds.keys()
    np.testing.assert_allclose(run(model), expected, atol=2e-3 * np.abs(expected).max())
    content = model.SerializeToString()
    plain = len(two_convolutions().SerializeToString())
    assert abs(size_ratio(model, content) - len(content) / plain) < 0.1


def test_modules_can_be_left_out() -> None:
    model = two_convolutions()
    store_in_float16(model, except_for=["up"])
    kinds = {entry.name: entry.data_type for entry in model.graph.initializer}
    assert kinds["network.up.weight"] == TensorProto.FLOAT
    assert kinds["network.down.weight.float16"] == TensorProto.FLOAT16
