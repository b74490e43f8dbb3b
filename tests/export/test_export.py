import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto
from PIL import Image

from lits_export.cli.export import main
from lits_export.export import ExportResult, ExportSettings, export_model
from lits_export.lowering.trace import check
from lits_export.parity.compare import compare
from lits_export.parity.engines import open_engine
from lits_export.parity.report import table
from lits_export.parity.slabs import phantom_slabs, scan_slabs
from lits_export.parity.tolerance import TOLERANCES
from lits_runtime import ParityError, Segmenter
from lits_runtime.model.allowed_operators import OPERATORS
from lits_runtime.model.checked_file import check as check_file
from lits_runtime.model.graph_cost import MAX_BYTES, MAX_BYTES_AT_ONCE, MAX_OPERATIONS, GraphCost
from lits_runtime.model.onnx_file.onnx_graph import GraphReader
from lits_runtime.phantom.ct import make_phantom
from lits_runtime.volumes.scan import Scan
from lits_train.network.checkpoint import load_checkpoint
from lits_train.network.slab_segmenter import SlabSegmenter
from lits_train.settings.recipe import RECIPES
from support.networks.export_gates import GATES, tensor_types
from support.services.node_runtime import compare_with_node

# Lowering to float16 and int8 takes the longest, and the two recipes have the same kinds of layers.
EXPORTS = [("default", precision) for precision in TOLERANCES]
EXPORTS += [("baseline", "fp32"), ("baseline", "fp16-weights")]
exports = pytest.mark.parametrize(("checkpoint", "precision"), EXPORTS, indirect=["checkpoint"])
WITHOUT_CONTEXT = [name for name, recipe in RECIPES.items() if not recipe.context_slices]


@exports
def test_node_gives_the_same_labels(
    exported: Mapping[str, ExportResult], precision: str, tmp_path: Path
) -> None:
    phantom = make_phantom(7, matrix=160, slices=6, lesions=3)
    scan = Scan.open((phantom.volume_hu, phantom.affine)).load()
    context = Segmenter.open(exported[precision].model).metadata.context_slices
    compare_with_node(exported[precision].model, scan.read_slab(0, 6, context), tmp_path)


@pytest.mark.parametrize("checkpoint", WITHOUT_CONTEXT, indirect=True)
def test_slices_of_a_model_without_context_are_independent(
    exported: Mapping[str, ExportResult],
) -> None:
    """Triton may then batch the slices of several requests."""
    slab_hu = next(phantom_slabs(0)).slab_hu
    segmenter = Segmenter.open(exported["fp32"].model, provider="cpu")
    alone = [segmenter.labels(slab_hu[index : index + 1]) for index in range(len(slab_hu))]
    np.testing.assert_array_equal(np.concatenate(alone), segmenter.labels(slab_hu))


@exports
def test_the_file_is_in_numerical_parity_with_the_network(
    checkpoint: Path, exported: Mapping[str, ExportResult], precision: str
) -> None:
    result = exported[precision]
    for report in result.parity:
        assert not report.broken(GATES[precision]), table([report])
    segmenter = Segmenter.open(result.model, provider="cpu")
    metadata, recipe = segmenter.metadata, load_checkpoint(checkpoint).recipe
    assert metadata.recipe == recipe.name
    assert metadata.classes == recipe.classes
    assert metadata.precision == precision
    assert metadata.checkpoint_sha256 == load_checkpoint(checkpoint).sha256
    assert metadata.parity["check_scans"] == {"kind": "phantom", "count": 1}
    assert metadata.parity["classes"]["lesion"]["dice"] == result.parity[0].classes["lesion"].dice
    emulated = [report["provider"] for report in metadata.parity["others"]]
    assert emulated == (["emulated float16"] if precision == "fp16" else [])
    # Compared once more, on a phantom that the export did not see.
    phantom = make_phantom(9, matrix=96, slices=5, orientation="RAS")
    reference = SlabSegmenter(recipe, load_checkpoint(checkpoint).network())
    scan = Scan.open((phantom.volume_hu, phantom.affine))
    slabs = scan_slabs(scan, recipe.context_slices)
    engine = open_engine("cpu", result.model.read_bytes())
    ((parity, _),) = compare(reference, [engine], slabs)
    assert not parity.broken(GATES[precision]), table([parity])
    assert parity.slices == 5


@exports
def test_what_is_written_passes_the_runtime_s_check_with_room_to_spare(
    exported: Mapping[str, ExportResult], precision: str
) -> None:
    """Operators, attributes and encoding are in its tables; costs are far from its limits."""
    content = exported[precision].model.read_bytes()
    assert set(check_file(content).operators) <= set(OPERATORS)
    reader = GraphReader(content)
    cost = GraphCost(reader)
    assert 20 * cost.operations < MAX_OPERATIONS  # at size 64
    assert 20 * cost.bytes < MAX_BYTES
    assert 4 * cost.bytes_at_once < MAX_BYTES_AT_ONCE
    assert not reader.between


@pytest.mark.parametrize("checkpoint", ["default"], indirect=True)
@pytest.mark.parametrize(
    ("precision", "most"), [("fp16-weights", 0.55), ("fp16", 0.55), ("int8", 0.4)]
)
def test_precision_shows_in_the_size_and_the_rest_stays_float32(
    exported: Mapping[str, ExportResult], precision: str, most: float
) -> None:
    sizes = {name: result.bytes for name, result in exported.items()}
    assert sizes[precision] == exported[precision].model.stat().st_size
    assert sizes[precision] <= most * sizes["fp32"]
    model = onnx.load(exported[precision].model)
    graph = model.graph
    stored = dict.fromkeys((TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8), 0)
    for weights in graph.initializer:
        if weights.data_type in stored:
            stored[weights.data_type] += int(np.prod(weights.dims))
    lowered = TensorProto.INT8 if precision == "int8" else TensorProto.FLOAT16
    assert stored[lowered] > 0.6 * sum(stored.values())
    assert stored[TensorProto.FLOAT] < 0.07 * sum(stored.values())
    types = tensor_types(model)
    for node in graph.node:
        if node.op_type in ("ReduceMean", "ReduceMax", "ReduceMin", "Resize", "GreaterOrEqual"):
            assert types[node.input[0]] == TensorProto.FLOAT, node.name


def test_the_file_keeps_the_contract(
    checkpoint: Path, exported: Mapping[str, ExportResult]
) -> None:
    loaded = load_checkpoint(checkpoint)
    model = onnx.load(exported["fp32"].model)
    onnx.checker.check_model(model, full_check=True)
    context = loaded.recipe.context_slices
    dims = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert dims == {
        "slab": [f"n + {2 * context}" if context else "n", "height", "width"],
        "labels": ["n", "height", "width"],
        "probability": ["n", len(loaded.recipe.classes), "height", "width"],
    }
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert not any(weights.external_data for weights in model.graph.initializer)


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", ["default"], indirect=True)
def test_out_of_tolerance_nothing_is_written_and_the_old_file_stays(
    checkpoint: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model.onnx"
    model.write_text("older model")
    arguments = [str(checkpoint), "-o", str(model), "--precision", "fp32", "--force"]
    arguments += ["--max-difference", "0", "--providers", "cpu"]
    arguments += ["--worst-slice", str(tmp_path / "worst.png")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    told = result.stderr.splitlines()[-1]
    assert re.search(
        r"out of tolerance: .*lesion on cpu: largest difference .* \(at most 0\)", told
    )
    assert "worst at slice" in told
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "worst.png"}
    assert model.read_text() == "older model"
    with Image.open(tmp_path / "worst.png") as picture:
        assert len(picture.convert("L").getcolors() or []) > 50


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", ["baseline"], indirect=True)
def test_a_provider_that_does_not_load_is_an_error_only_where_it_was_asked_for(
    checkpoint: Path, tmp_path: Path
) -> None:
    """TensorRT is nowhere that these tests run; without being named it would not be missed."""
    arguments = [str(checkpoint), "-o", str(tmp_path / "model.onnx"), "--precision", "fp32"]
    result = CliRunner().invoke(main, [*arguments, "--providers", "cpu,tensorrt"])
    assert result.exit_code == 1
    assert "tensorrt is not available" in result.stderr.splitlines()[-1]
    result = CliRunner().invoke(main, [*arguments, "--providers", "cpu,gpu"])
    assert result.exit_code == 2
    assert "['gpu']" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_command_refuses_to_overwrite(checkpoint: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.touch()
    result = CliRunner().invoke(main, [str(checkpoint), "-o", str(model)])
    assert result.exit_code == 2
    assert "--force" in result.stderr


def test_a_frozen_dimension_is_found(exported: Mapping[str, ExportResult]) -> None:
    model = onnx.load(exported["fp32"].model)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 80
    with pytest.raises(ParityError, match=r"froze dimensions \[1\] of slab"):
        check(model)


@pytest.mark.parametrize("checkpoint", ["default"], indirect=True)
def test_export_is_reproducible(
    checkpoint: Path, exported: Mapping[str, ExportResult], tmp_path: Path
) -> None:
    settings = ExportSettings("int8", tolerance=GATES["int8"], providers=("cpu",))
    again = export_model(checkpoint, tmp_path / "again.onnx", settings)
    assert again.model.read_bytes() == exported["int8"].model.read_bytes()
