"""Tolerances of the exports that tests share, and a look into their graphs."""

import onnx

from lits_export.parity.tolerance import TOLERANCES, Tolerance

GATES = TOLERANCES | {"int8": Tolerance(None, dice=0.9, volume_percent=10)}
"""An untrained network's masks have no margins: int8 moves more of their voxels."""


def tensor_types(model: onnx.ModelProto) -> dict[str, int]:
    """The type of each value and weight of a graph."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {weights.name: weights.data_type for weights in inferred.initializer}
