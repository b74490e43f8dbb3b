from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lits_export.export import ExportResult
from lits_runtime import ModelError, Segmenter
from lits_runtime.model.checked_file import check
from lits_runtime.segment.slab_inference import run
from lits_runtime.session.float32 import in_float32
from support.scans import random_hu


def of(exported: dict[str, ExportResult], precision: str) -> bytes:
    return exported[precision].model.read_bytes()


def test_a_float16_file_becomes_a_float32_one(exported: dict[str, ExportResult]) -> None:
    content = of(exported, "fp16")
    rewritten = in_float32(content)
    assert {"float16"} < {tensor.type for tensor in check(content).tensors}
    assert "float16" not in {tensor.type for tensor in check(rewritten).tensors}
    assert check(rewritten).metadata == check(content).metadata
    model = onnx.load_from_string(rewritten)
    onnx.checker.check_model(model, full_check=True)
    original = onnx.load_from_string(content)
    assert [node.name for node in model.graph.node] == [node.name for node in original.graph.node]
    stored = {entry.name: entry for entry in original.graph.initializer}
    for entry in model.graph.initializer:
        values, before = numpy_helper.to_array(entry), numpy_helper.to_array(stored[entry.name])
        np.testing.assert_array_equal(values, before.astype(values.dtype))


def test_what_does_not_compute_in_float16_stays(exported: dict[str, ExportResult]) -> None:
    for precision in ("fp32", "int8"):
        content = of(exported, precision)
        assert in_float32(content) is content


def test_the_cpu_computes_what_onnxruntime_does_by_itself(
    exported: dict[str, ExportResult],
) -> None:
    import onnxruntime

    content = of(exported, "fp16")
    segmenter = Segmenter.open(content, provider="cpu")
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    slab_hu = random_hu((4, 96, 96)).astype(np.float32)
    (natively,) = run(session, ["probability"], slab_hu)
    np.testing.assert_allclose(segmenter.probability(slab_hu), natively, atol=5e-3)


def test_no_relu_is_left_unfused(exported: dict[str, ExportResult], tmp_path: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3  # it warns that the file is for this machine
    rewritten = in_float32(of(exported, "fp16"))
    onnxruntime.InferenceSession(rewritten, options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    # ONNX Runtime's stand-in for a float16 Relu; one is the baseline recipe's own
    assert operators.count("Max") <= 1


def test_tensors_in_every_way_to_store_them() -> None:
    values = np.array([1.5, -2.0, 6e-5], np.float16)
    listed = helper.make_tensor("listed", TensorProto.FLOAT16, [3], values)
    raw = numpy_helper.from_array(values, "raw")
    constant = helper.make_node(
        "Constant",
        [],
        ["c"],
        value=helper.make_tensor("attribute", TensorProto.FLOAT16, [1], np.array([7], np.float16)),
    )
    nodes = [
        constant,
        helper.make_node("Cast", ["slab"], ["x"], to=TensorProto.FLOAT16),
        helper.make_node("LeakyRelu", ["x"], ["y"], alpha=0.25),
        helper.make_node("Sum", ["y", "listed", "raw", "c"], ["z"]),
        helper.make_node("Cast", ["z"], ["out"], to=TensorProto.FLOAT),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n"]) for n in ("slab", "out")]
    between = [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["n"])]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [listed, raw], value_info=between)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    assert listed.int32_data and raw.raw_data
    rewritten = onnx.load_from_string(in_float32(model.SerializeToString()))
    onnx.checker.check_model(rewritten, full_check=True)
    import onnxruntime

    session = onnxruntime.InferenceSession(
        rewritten.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"slab": np.array([1, -1, 0], np.float32)})
    expected = np.array([1, -0.25, 0]) + 2 * values.astype(np.float32) + 7
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_half_a_float16_is_damage() -> None:
    weight = numpy_helper.from_array(np.ones(2, np.float16), "weight")
    weight.raw_data = weight.raw_data[:3]
    cast = helper.make_node("Cast", ["slab"], ["x"], to=TensorProto.FLOAT16)
    model = helper.make_model(helper.make_graph([cast], "g", [], [], [weight]))
    with pytest.raises(ModelError, match="3 bytes of float16"):
        in_float32(model.SerializeToString())
