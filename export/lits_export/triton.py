"""A model as a repository for NVIDIA Triton Inference Server; needs neither torch nor onnx.

Source: https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/
model_configuration.html, and model_config.proto of triton-inference-server/common.
"""

import json
from pathlib import Path

from lits_runtime.files.atomic import atomic_folder
from lits_runtime.files.output_rule import Inputs, check_folder
from lits_runtime.model.checked_file import ModelFile, check, read_content
from lits_runtime.model.onnx_file.onnx_graph import Value

MAX_BATCH_SIZE = 64
"""The most axial slices that Triton may batch together."""
_TYPES = {"float32": "TYPE_FP32", "uint8": "TYPE_UINT8"}
_INDEPENDENT = f"""\
# The first axis of every tensor holds axial slices, which this model segments independently. It is
# Triton's batch axis: dims leaves it out, and requests of equal height and width are batched. A
# request holds at most max_batch_size = {MAX_BATCH_SIZE} slices."""
_NEIGHBOURS = """\
# This model sees {context} neighbouring slice(s) on either side: slab holds n + {more} slices for n
# slices of labels. Slices are not independent batch entries, so Triton must not join the slabs of
# two requests, and its batching is off. To use a GPU well, send many slices in one request."""


def write_repository(model: Path, folder: Path) -> Path:
    """Write `folder`/NAME/config.pbtxt and NAME/1/model.onnx; NAME is the model's without .onnx.

    NAME appears complete or not at all, and replaces an older one.

    Raises:
        ModelError: not a model of lits-export.
        OutputError: the model lies in the folder that would be replaced.
    """
    content = read_content(model)
    config = configuration(model.stem, check(content))
    target = folder / model.stem
    check_folder(target, Inputs("the model itself", [model]), force=True)
    with atomic_folder(target) as temporary:
        (temporary / "1").mkdir()
        (temporary / "1/model.onnx").write_bytes(content)
        (temporary / "config.pbtxt").write_text(config, "utf-8")
    return target


def configuration(name: str, file: ModelFile) -> str:
    """Triton's model configuration, with names, types and sizes from the graph."""
    context = file.metadata.context_slices
    batched = context == 0
    comment = _INDEPENDENT if batched else _NEIGHBOURS.format(context=context, more=2 * context)
    lines = [
        f"# {file.metadata.recipe}, {file.metadata.precision}, SHA-256 {file.sha256}",
        f"# Needs ONNX Runtime with opset {file.opsets.get('', 0)} and IR {file.ir_version}.",
        comment,
        f"name: {json.dumps(name)}",
        'platform: "onnxruntime_onnx"',
        'backend: "onnxruntime"',
        'default_model_filename: "model.onnx"',
        f"max_batch_size: {MAX_BATCH_SIZE if batched else 0}",
        *(["dynamic_batching { }"] if batched else []),
        *(_tensor("input", value, batched) for value in file.inputs),
        *(_tensor("output", value, batched) for value in file.outputs),
    ]
    return "\n".join(lines) + "\n"


def _tensor(role: str, value: Value, batched: bool) -> str:
    sizes = [size if isinstance(size, int) else -1 for size in value.dims[1 if batched else 0 :]]
    return (
        f"{role} {{ name: {json.dumps(value.name)} data_type: {_TYPES[value.type]} dims: {sizes} }}"
    )
