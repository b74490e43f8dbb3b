"""From torch modules to one ONNX graph: symbolic sizes, one file, checked in full."""

import ast
import hashlib
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import onnx
import torch

from lits_export.lowering.banded_resize import in_bands
from lits_export.lowering.fuse import for_inference
from lits_runtime.errors import ParityError
from lits_train.network.checkpoint import Checkpoint
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.network.slab_segmenter import SlabSegmenter
from lits_train.settings.recipe import Recipe

OPSET = 18
"""ONNX Runtime has CUDA kernels for ReduceMax, ReduceMin and Resize of opset 18, not of 20."""
MAX_KEPT = 2
"""Traces that a process keeps, some 20 MB each."""
_SCOPES = "pkg.torch.onnx.name_scopes"
"""The exporter's note in each node: the torch modules that it comes from, outermost first."""


@dataclass(frozen=True)
class Traced:
    """A network's float32 graph, from which every precision is made."""

    content: bytes
    context_slices: int
    modules: Mapping[str, str]
    """By node of the network: the innermost torch module that it comes from, as "encoder.0.2"."""

    def model(self) -> onnx.ModelProto:
        """The graph, free to be changed."""
        return onnx.load_from_string(self.content)


_kept: OrderedDict[str, Traced] = OrderedDict()
"""By recipe and weights, the most recently used last."""


def trace_checkpoint(checkpoint: Checkpoint) -> Traced:
    """The network of a checkpoint in inference form; traced once, however often it is asked.

    Raises:
        ParityError: the exporter froze a dimension or wrote an invalid graph.
    """
    key = _key(checkpoint)
    if key not in _kept:
        _kept[key] = trace(checkpoint.recipe, for_inference(checkpoint.network()))
    _kept.move_to_end(key)
    while len(_kept) > MAX_KEPT:
        _kept.popitem(last=False)
    return _kept[key]


def _key(checkpoint: Checkpoint) -> str:
    """Of recipe and weights: one file may be read in several ways."""
    digest = hashlib.sha256(f"{checkpoint.recipe} {id(checkpoint.module)}".encode())
    for name, tensor in checkpoint.state_dict.items():
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def trace(recipe: Recipe, network: SegmentationNetwork) -> Traced:
    """The model contract as an ONNX graph: `slab` in, `labels` and `probability` out.

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
    modules = _modules(model)
    in_bands(model, _resize_products(model), recipe.size)
    tidy(model, recipe.context_slices)
    check(model)
    return Traced(model.SerializeToString(), recipe.context_slices, modules)


def _scopes(node: onnx.NodeProto) -> list[str]:
    """The torch modules that a node comes from, outermost first; the last is the operation."""
    notes = {entry.key: entry.value for entry in node.metadata_props}
    scopes: list[str] = ast.literal_eval(notes.get(_SCOPES, "[]"))
    return scopes


def _resize_products(model: onnx.ModelProto) -> list[str]:
    """Names of the matrix products that resize the slab."""
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul" and "preprocessing" in _scopes(node)
    ]


def _modules(model: onnx.ModelProto) -> dict[str, str]:
    """The module of each node of the network, from the notes that `tidy` drops."""
    modules: dict[str, str] = {}
    for node in model.graph.node:
        scopes = _scopes(node)
        module = scopes[-2] if len(scopes) > 1 else ""
        if f"{module}.".startswith("network."):
            modules[node.name] = module.removeprefix("network").removeprefix(".")
    return modules


def check(model: onnx.ModelProto) -> None:
    """Run ONNX's full checker, and check that the contract's sizes are symbolic.

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
    """Drop the exporter's notes (a third of a small file) and name sizes as the contract does."""
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
