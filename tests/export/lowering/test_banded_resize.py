from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from lits_export.lowering.banded_resize import BANDS, in_bands
from lits_train.network.preprocessing import resize_weights

FLOAT = TensorProto.FLOAT


def resize_graph() -> onnx.ModelProto:
    """rows @ pictures @ columns, all of them inputs of symbolic sizes."""
    shapes = {
        "rows": ("height", "old_height"),
        "pictures": ("n", "old_height", "old_width"),
        "columns": ("old_width", "width"),
        "resized": ("n", "height", "width"),
    }
    values = {
        name: helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in shapes.items()
    }
    nodes = [
        helper.make_node("MatMul", ["rows", "pictures"], ["half"], name="first"),
        helper.make_node("MatMul", ["half", "columns"], ["resized"], name="second"),
    ]
    inputs = [values[name] for name in ("rows", "pictures", "columns")]
    graph = helper.make_graph(nodes, "resize", inputs, [values["resized"]])
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10)


def banded(size: int) -> onnx.ModelProto:
    model = resize_graph()
    in_bands(model, ["first", "second"], size)
    onnx.checker.check_model(model, full_check=True)
    assert sum(node.op_type == "MatMul" for node in model.graph.node) == 2 * BANDS
    return model


@pytest.mark.parametrize("size", [32, 192, 512])
def test_bands_are_the_whole_resize(size: int) -> None:
    session = onnxruntime.InferenceSession(
        banded(size).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(0)
    for old in [(1, 1), (2, 5), (31, 97), (191, 193), (192, 192), (512, 383), (700, 1021)]:
        pictures = rng.normal(50, 100, (2, *old)).astype(np.float32)
        rows, columns = (resize_weights(lines, size).numpy() for lines in old)
        feeds = {"rows": rows, "pictures": pictures, "columns": columns.T.copy()}
        (resized,) = session.run(None, feeds)
        expected = rows.astype(float) @ pictures @ columns.T
        np.testing.assert_allclose(resized, expected, atol=2e-3)


@pytest.mark.parametrize("size", [32, 96, 192, 256])
def test_what_bands_leave_out_has_no_weight(size: int) -> None:
    """Pictures of ones would show a weight that is missing."""
    evaluator = ReferenceEvaluator(banded(size))
    for old in [*range(1, 40), 97, *range(size - 2, size + 3), 385, 511, 512, 513, 1000]:
        rows, columns = (resize_weights(lines, size).numpy() for lines in (old, 4))
        pictures = np.ones((1, old, 4), np.float32)
        feeds: dict[str, Any] = {"rows": rows, "pictures": pictures, "columns": columns.T}
        outputs = evaluator.run(None, feeds)
        assert isinstance(outputs, list)
        resized = outputs[0]
        assert resized.shape == (1, size, size)
        assert np.abs(resized - 1).max() < 1e-5
