"""A model file, checked before anything is done with it; needs no onnx."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lits_runtime.errors import ModelError
from lits_runtime.files.regular_file import read_bounded
from lits_runtime.messages import brief
from lits_runtime.model.graph_cost import GraphCost
from lits_runtime.model.metadata import METADATA_KEY, ModelMetadata
from lits_runtime.model.onnx_file.onnx_graph import GraphReader, Value
from lits_runtime.model.onnx_file.protobuf import refuse
from lits_runtime.model.onnx_file.stored_tensors import Tensor

MAX_MODEL_BYTES = 2**30
"""Fifty times a float32 model; protobuf itself ends at twice this."""
_INPUTS = {"slab": ("float32", 3)}
_OUTPUTS = {"labels": ("uint8", 3), "probability": ("float32", 4)}


@dataclass(frozen=True)
class ModelFile:
    """What a checked file holds."""

    size: int
    """Bytes."""
    sha256: str
    ir_version: int
    producer: str
    opsets: dict[str, int]
    """By domain; "" is ONNX itself."""
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    operators: dict[str, int]
    """The number of nodes by operator."""
    tensors: tuple[Tensor, ...]
    """Initialisers."""
    metadata: ModelMetadata


def read_content(path: Path) -> bytes:
    """The bytes of a model file.

    Raises:
        ModelError: no regular file, or larger than `MAX_MODEL_BYTES`.
        FileNotFoundError: there is no such file.
    """
    return read_bounded(path, MAX_MODEL_BYTES, ModelError)


def check(content: bytes, sha256: str | None = None) -> ModelFile:
    """Check a model before anything is done with it.

    Whatever lits-export does not write is refused: any encoding but protobuf's own, so that ONNX
    Runtime reads what was read here; other fields, operators and attributes, and with them data in
    other files, subgraphs (`Loop` may run for ever) and functions; tensors that declare more than
    they hold; graphs beyond the limits of `graph_cost` on memory and time.

    Raises:
        ModelError: damaged, refused, or not of this SHA-256 (hexadecimal) if one is given.
    """
    if len(content) > MAX_MODEL_BYTES:
        raise ModelError(f"the model has {len(content)} bytes, expected at most {MAX_MODEL_BYTES}")
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise ModelError(f"the model's SHA-256 is {found}, expected {sha256}")
    reader = GraphReader(content)
    if METADATA_KEY not in reader.properties:
        raise ModelError(
            f"the model has no metadata {METADATA_KEY!r}: it was not written by lits-export"
        )
    if len(reader.properties) > 1:
        refuse(f"the metadata entries {brief(sorted(reader.properties))}")
    _check_contract(reader)
    metadata = ModelMetadata.from_json(reader.properties[METADATA_KEY])
    if metadata.opset != reader.opsets[""]:
        refuse(f"opset {reader.opsets['']}, and {metadata.opset} in its metadata")
    GraphCost(reader)
    return ModelFile(
        size=len(content),
        sha256=found,
        ir_version=reader.ir_version,
        producer=reader.producer,
        opsets=reader.opsets,
        inputs=tuple(reader.inputs),
        outputs=tuple(reader.outputs),
        operators=dict(Counter(node.operator for node in reader.nodes).most_common()),
        tensors=tuple(reader.tensors),
        metadata=metadata,
    )


def _check_contract(reader: GraphReader) -> None:
    """Check names, types and dimensions of inputs and outputs; all sizes but classes are free."""
    inputs, outputs = (
        {value.name: (value.type, len(value.dims)) for value in values}
        for values in (reader.inputs, reader.outputs)
    )
    values = (*reader.inputs, *reader.outputs)
    if (inputs, outputs) != (_INPUTS, _OUTPUTS) or len(values) > 3:
        raise ModelError(
            f"the model takes {brief(inputs)} and gives {brief(outputs)}, expected a slab of HU in "
            "and labels and probability out"
        )
    for value in values:
        if any(isinstance(value.dims[axis], int) for axis in (0, -2, -1)):
            raise ModelError(
                f"the model has {brief(value)}, expected free sizes: export it with lits-export"
            )
