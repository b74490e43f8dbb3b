"""A model of a kilobyte in the form of lits-export: thresholds on Hounsfield units, no weights."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lits_runtime.model.metadata import DISCLAIMER, METADATA_KEY, ModelMetadata

LIVER_HU, LESION_HU = 30.0, 70.0
"""A voxel from the first value is liver, and a lesion if it is below the second one."""


def threshold_model() -> bytes:
    """Labels: 0 below 30 HU, 2 up to 70 HU, 1 above; the probabilities are 0 and 1."""
    constants: dict[str, NDArray[Any]] = {
        "liver_hu": np.array(LIVER_HU, np.float32),
        "lesion_hu": np.array(LESION_HU, np.float32),
        "channel": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("GreaterOrEqual", ["slab", "liver_hu"], ["liver"]),
        helper.make_node("Less", ["slab", "lesion_hu"], ["low"]),
        helper.make_node("And", ["liver", "low"], ["lesion"]),
        helper.make_node("Cast", ["liver"], ["liver_one"], to=TensorProto.UINT8),
        helper.make_node("Cast", ["lesion"], ["lesion_one"], to=TensorProto.UINT8),
        helper.make_node("Add", ["liver_one", "lesion_one"], ["labels"]),
        helper.make_node("Cast", ["liver"], ["liver_p"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["lesion"], ["lesion_p"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["liver_p", "channel"], ["liver_c"]),
        helper.make_node("Unsqueeze", ["lesion_p", "channel"], ["lesion_c"]),
        helper.make_node("Concat", ["liver_c", "lesion_c"], ["probability"], axis=1),
    ]
    size = ["n", "height", "width"]
    graph = helper.make_graph(
        nodes,
        "thresholds",
        [helper.make_tensor_value_info("slab", TensorProto.FLOAT, size)],
        [
            helper.make_tensor_value_info("labels", TensorProto.UINT8, size),
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n", 2, *size[1:]]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {METADATA_KEY: _metadata().to_json()})
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _metadata() -> ModelMetadata:
    return ModelMetadata(
        format_version=1,
        recipe="thresholds",
        settings={},
        classes=("liver", "lesion"),
        label_values=(1, 2),
        thresholds=(0.5, 0.5),
        context_slices=0,
        orientation="LPS",
        working_size=512,
        precision="fp32",
        opset=18,
        training={},
        parity={},
        checkpoint_sha256="0" * 64,
        licence="Apache-2.0",
        intended_use=DISCLAIMER,
    )
