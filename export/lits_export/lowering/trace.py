"""From torch modules to one ONNX graph: symbolic sizes, one file, checked in full."""

import warnings

import onnx
import torch

from lits_runtime.errors import ParityError
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.network.slab_segmenter import SlabSegmenter
from lits_train.settings.recipe import Recipe

OPSET = 18
"""ONNX Runtime has CUDA kernels for ReduceMax, ReduceMin and Resize of opset 18, not of 20."""


def trace(recipe: Recipe, network: SegmentationNetwork) -> onnx.ModelProto:
    """The slab contract of DESIGN as an ONNX model: `slab` in, `labels` and `probability` out.

    Raises:
        ParityError: the exporter froze a dimension or wrote an invalid graph.
    """
    segmenter = SlabSegmenter(recipe, network).eval()
    example = torch.zeros(3 + 2 * recipe.context_slices, 80, 96)
    sizes = {
        0: torch.export.Dim("n", min=1 + 2 * recipe.context_slices),
        1: torch.export.Dim("height"),
        2: torch.export.Dim("width"),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecations
        program = torch.onnx.export(
            segmenter,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            input_names=["slab"],
            output_names=["labels", "probability"],
            dynamic_shapes={"slab_hu": sizes},
            verbose=False,
        )
    assert program is not None  # narrows the type: None only with dynamo=False
    model: onnx.ModelProto = program.model_proto
    tidy(model, recipe.context_slices)
    check(model)
    return model


def check(model: onnx.ModelProto) -> None:
    """Run ONNX's full checker and hold the contract's symbolic sizes.

    Raises:
        ParityError: the graph is invalid, not opset 18, or has a frozen dimension.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ParityError(f"the exported graph is not valid ONNX: {error}") from error
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets.get("") != OPSET:
        raise ParityError(f"the exporter wrote opset {opsets}, expected {OPSET}")
    for value, axes in zip(
        (*model.graph.input, *model.graph.output), ((0, 1, 2), (0, 1, 2), (0, 2, 3)), strict=True
    ):
        dims = value.type.tensor_type.shape.dim
        if frozen := [axis for axis in axes if not dims[axis].dim_param]:
            raise ParityError(f"the exporter froze dimensions {frozen} of {value.name}")


def tidy(model: onnx.ModelProto, context_slices: int) -> None:
    """Drop the exporter's notes (a third of a small file) and give sizes the contract's names."""
    model.producer_name = "lits-export"
    model.producer_version = ""
    del model.graph.value_info[:]
    nodes_and_values = (*model.graph.node, *model.graph.input, *model.graph.output)
    for item in (*nodes_and_values, *model.graph.initializer, model.graph):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    del model.functions[:]
    if context_slices:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = f"n + {2 * context_slices}"
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[0].dim_param = "n"
