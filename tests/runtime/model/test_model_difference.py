"""What passes the check reads the same in onnx, and runs within bounds in ONNX Runtime."""

import os
from collections import Counter
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from onnx import AttributeProto, helper, numpy_helper

from lits_runtime import ModelError, Segmenter
from lits_runtime.model.checked_file import ModelFile, check
from lits_runtime.model.onnx_file.onnx_graph import GraphReader
from lits_runtime.session.run import run
from support.hostile.model_mutations import mutated, seeds

ROUNDS = int(os.environ.get("LITS_FUZZ_MODELS", "1500"))
"""The full size is 100,000."""
RUNS = 40
"""Models that are run, of those that pass."""


def assert_same(content: bytes, file: ModelFile) -> None:
    """onnx must read what was read here, and nothing else."""
    model = onnx.load_from_string(content)
    # Nothing merged, dropped, overwritten or stored otherwise:
    assert model.SerializeToString(deterministic=True) == content
    assert not unknown_fields(model)
    reader, graph = GraphReader(content), model.graph
    assert [vars(node) for node in reader.nodes] == [
        {
            "operator": node.op_type,
            "inputs": tuple(node.input),
            "outputs": tuple(node.output),
            "attributes": {a.name: attribute(a) for a in node.attribute},
        }
        for node in graph.node
    ]
    assert not any(node.domain for node in graph.node)
    stored = [
        (t.name, helper.tensor_dtype_to_np_dtype(t.data_type).name, tuple(t.dims))
        for t in graph.initializer
    ]
    assert [(t.name, t.type, t.dims) for t in file.tensors] == stored
    for entry in graph.initializer:
        assert not entry.external_data and not entry.HasField("segment")
        values = numpy_helper.to_array(entry)
        if (known := reader.constants.get(entry.name)) is not None:
            np.testing.assert_array_equal(np.array(known, values.dtype), values.ravel())
    for values, read in ((graph.input, file.inputs), (graph.output, file.outputs)):
        assert [(v.name, value_dims(v)) for v in values] == [(v.name, v.dims) for v in read]
    assert {entry.domain: entry.version for entry in model.opset_import} == file.opsets
    (entry,) = model.metadata_props
    assert entry.value == reader.properties[entry.key]


def attribute(entry: AttributeProto) -> Any:
    """The value that its type says it has; lists as tuples."""
    value = helper.get_attribute_value(entry)
    return value if isinstance(value, int | float | bytes) else tuple(value)


def value_dims(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_param or dim.dim_value for dim in dims)


def unknown_fields(message: Any) -> bool:
    """Whether this message or one within it has fields that are not in its schema."""
    inner = [
        one
        for field, value in message.ListFields()
        if field.message_type
        for one in (value if field.is_repeated else [value])
    ]
    return len(UnknownFieldSet(message)) > 0 or any(map(unknown_fields, inner))


def test_the_unchanged_models_pass() -> None:
    for content in seeds():
        assert_same(content, check(content))


@pytest.mark.slow
def test_mutated_models_are_refused_or_read_the_same() -> None:
    random, models = Random(7), seeds()
    counts: Counter[str] = Counter()
    passed: list[bytes] = []
    for _ in range(ROUNDS):
        content = mutated(random.choice(models), random)
        try:
            file = check(content)
        except ModelError as error:
            assert str(error).isprintable()
            counts["refused"] += 1
            continue
        assert_same(content, file)
        counts["passed"] += 1
        passed.append(content)
    print(dict(counts))
    assert min(counts.values()) > ROUNDS / 50, counts
    for content in random.sample(passed, min(RUNS, len(passed))):
        run_within_bounds(content)


def run_within_bounds(content: bytes) -> None:
    """ONNX Runtime refuses it, or its output fits the slab, or the output is refused."""
    try:
        segmenter = Segmenter.open(content, provider="cpu", threads=1)
        slab_hu = np.full((2 + 2 * segmenter.metadata.context_slices, 8, 9), 70, np.float32)
        with segmenter.engine.in_use() as session:
            run(session, ["labels", "probability"], slab_hu)
        labels = segmenter.segment((np.full((9, 8, 2), 70, np.float32), np.eye(4))).labels
    except ModelError:
        return
    assert labels.shape == (9, 8, 2)


@pytest.mark.parametrize("content", seeds(), ids=["tiny", "threshold", "windows", "shortened"])
def test_every_byte_counts(content: bytes) -> None:
    """A file with one byte less anywhere, or one more at its end, is refused or reads the same."""
    random = Random(3)
    for at in random.sample(range(len(content)), 60):
        shorter = content[:at] + content[at + 1 :]
        try:
            file = check(shorter)
        except ModelError:
            continue
        assert_same(shorter, file)
    for more in (b"\x00", b"\x08", b"\x08\x0a", b"\x9a\x01\x00"):
        with pytest.raises(ModelError):
            check(content + more)
