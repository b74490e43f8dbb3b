from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from onnx import TensorProto

from lits_export.cli import main
from lits_export.export import ExportResult, ExportSettings, export_model
from lits_export.graph import check
from lits_export.parity import TOLERANCES, Tolerance, compare
from lits_export.slabs import boundary_slabs, phantom_slabs, scan_files, scan_slabs
from lits_runtime import ParityError, Segmenter, VolumeError
from lits_runtime.phantom import make_phantom, write_phantom
from lits_runtime.volume import Scan
from lits_train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lits_train.network import SegmentationNetwork
from lits_train.pipeline import SlabSegmenter
from lits_train.recipe import RECIPES

GATES = TOLERANCES | {"int8": Tolerance(None, dice=0.9, volume_percent=10)}
"""An untrained network's masks have no margins: int8 moves more of their voxels."""


@pytest.fixture(scope="module", params=RECIPES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network of each recipe, small, whose masks are neither empty nor full."""
    torch.manual_seed(3)
    recipe = RECIPES[request.param].override(size=64)
    network = SegmentationNetwork(recipe).eval()
    slab_hu = next(phantom_slabs(recipe.context_slices)).slab_hu
    segmenter = SlabSegmenter(recipe, network)
    with torch.no_grad():
        probability = segmenter(torch.from_numpy(slab_hu))[1]
        logits = probability.logit()
        network.head.weight /= logits.std(dim=(0, 2, 3)).view(-1, 1, 1, 1)
        assert network.head.bias is not None
        network.head.bias.sub_(logits.median()).div_(logits.std())
    path = tmp_path_factory.mktemp(request.param) / "checkpoint.pth"
    save_checkpoint(Checkpoint(recipe, network.state_dict(), {"epochs": 0}), path)
    return path


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> dict[str, ExportResult]:
    """The checkpoint in every precision."""
    return {
        precision: export_model(
            checkpoint,
            checkpoint.with_name(f"{precision}.onnx"),
            ExportSettings(precision, tolerance=GATES[precision], providers=("cpu",)),
        )
        for precision in TOLERANCES
    }


@pytest.mark.parametrize("precision", TOLERANCES)
def test_the_file_says_what_the_network_says(
    checkpoint: Path, exported: dict[str, ExportResult], precision: str
) -> None:
    result = exported[precision]
    for report in result.parity:
        assert not report.broken(GATES[precision]), report.table()
    segmenter = Segmenter.open(result.model, provider="cpu")
    metadata, recipe = segmenter.metadata, load_checkpoint(checkpoint).recipe
    assert metadata.recipe == recipe.name
    assert metadata.classes == recipe.classes
    assert metadata.precision == precision
    assert metadata.checkpoint_sha256 == load_checkpoint(checkpoint).sha256
    assert metadata.parity["check_scans"] == ["phantom"]
    assert metadata.parity["classes"]["lesion"]["dice"] == result.parity[0].classes["lesion"].dice
    emulated = [report["provider"] for report in metadata.parity["others"]]
    assert emulated == (["emulated float16"] if precision == "fp16" else [])
    # Compared once more, on a phantom that the export did not see.
    phantom = make_phantom(9, matrix=96, slices=5, orientation="RAS")
    reference = SlabSegmenter(recipe, load_checkpoint(checkpoint).network())
    scan = Scan.open((phantom.volume_hu, phantom.affine))
    slabs = scan_slabs(scan, recipe.context_slices)
    ((parity, _),) = compare(reference, [segmenter], slabs)
    assert not parity.broken(GATES[precision]), parity.table()
    assert parity.slices == 5


def test_fp16_halves_the_weights_and_leaves_the_rest_float32(
    exported: dict[str, ExportResult],
) -> None:
    sizes = {precision: result.bytes for precision, result in exported.items()}
    assert sizes["fp16"] == exported["fp16"].model.stat().st_size
    assert sizes["fp16"] < 0.55 * sizes["fp32"]
    model = onnx.load(exported["fp16"].model)
    graph = model.graph
    stored = dict.fromkeys((TensorProto.FLOAT, TensorProto.FLOAT16), 0)
    for weights in graph.initializer:
        if weights.data_type in stored:
            stored[weights.data_type] += int(np.prod(weights.dims))
    assert stored[TensorProto.FLOAT16] > 50 * stored[TensorProto.FLOAT]
    types = tensor_types(model)
    for node in graph.node:
        if node.op_type in ("ReduceMean", "ReduceMax", "ReduceMin", "Resize", "GreaterOrEqual"):
            assert types[node.input[0]] == TensorProto.FLOAT, node.name


def tensor_types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {weights.name: weights.data_type for weights in inferred.initializer}


def test_the_file_keeps_the_contract(checkpoint: Path, exported: dict[str, ExportResult]) -> None:
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


def test_out_of_tolerance_nothing_is_written_and_the_old_file_stays(
    checkpoint: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model.onnx"
    model.write_text("older model")
    settings = ExportSettings("fp32", tolerance=Tolerance(probability=0.0, dice=1.0))
    with pytest.raises(ParityError, match=r"lesion on cpu: largest difference .* \(at most 0\)"):
        export_model(checkpoint, model, settings)
    assert model.read_text() == "older model"
    arguments = [str(checkpoint), "-o", str(model), "--precision", "fp32", "--force"]
    arguments += ["--max-difference", "0"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "out of tolerance" in result.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == [model]
    assert model.read_text() == "older model"


def test_command_refuses_to_overwrite(checkpoint: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.touch()
    result = CliRunner().invoke(main, [str(checkpoint), "-o", str(model)])
    assert result.exit_code == 2
    assert "--force" in result.stderr


def test_a_frozen_dimension_is_found(exported: dict[str, ExportResult]) -> None:
    model = onnx.load(exported["fp32"].model)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 80
    with pytest.raises(ParityError, match=r"froze dimensions \[1\] of slab"):
        check(model)


def test_parity_counts_what_changed(checkpoint: Path) -> None:
    """A network against the file of another: the figures must show it."""
    loaded = load_checkpoint(checkpoint)
    changed = loaded.network()
    with torch.no_grad():
        assert changed.head.bias is not None
        changed.head.bias += 0.5
    reference = SlabSegmenter(loaded.recipe, loaded.network())
    other = SlabSegmenter(loaded.recipe, changed)

    class Other:
        provider = "cpu"

        def labels(self, slab_hu: NDArray[np.float32]) -> Any:
            with torch.no_grad():
                return other(torch.from_numpy(slab_hu))[0].numpy()

        def probability(self, slab_hu: NDArray[np.float32]) -> Any:
            with torch.no_grad():
                return other(torch.from_numpy(slab_hu))[1].numpy()

    slab = next(phantom_slabs(loaded.recipe.context_slices))
    ((report, worst),) = compare(reference, [Other()], [slab])
    figures = report.classes["lesion"]
    largest = 2 * (float(torch.tensor(0.25).sigmoid()) - 0.5)
    assert 0.5 * largest < figures.largest_difference <= largest + 1e-3
    assert figures.percentile_999 <= figures.largest_difference
    assert 0 < figures.changed_near_threshold == figures.changed_voxels
    assert figures.volume_difference_ml == pytest.approx(figures.changed_voxels * slab.voxel_ml)
    assert figures.dice < 1
    assert report.broken(TOLERANCES["fp16"])
    assert (worst[0].slab, worst[0].difference) == (slab.name, figures.largest_difference)
    assert report.broken(Tolerance(None, 0.0, volume_percent=0.0)).startswith("l")


def test_nan_is_out_of_every_tolerance(checkpoint: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    reference = SlabSegmenter(loaded.recipe, loaded.network())

    class Broken:
        provider = "cpu"

        def labels(self, slab_hu: NDArray[np.float32]) -> Any:
            return np.zeros((8, *slab_hu.shape[1:]), np.uint8)

        def probability(self, slab_hu: NDArray[np.float32]) -> Any:
            return np.full((8, len(loaded.recipe.classes), *slab_hu.shape[1:]), np.nan, "f4")

    slab = next(phantom_slabs(loaded.recipe.context_slices))
    ((report, _),) = compare(reference, [Broken()], [slab])
    assert "not finite" in report.broken(Tolerance(probability=None, dice=0.0))


def test_boundary_slabs_are_what_they_say() -> None:
    slabs = {slab.name: slab.slab_hu for slab in boundary_slabs(1)}
    assert slabs["37 x 53"].shape == (3, 37, 53)
    assert slabs["1024 x 1024"].shape == (3, 1024, 1024)
    assert slabs["one voxel"].shape == (3, 1, 1)
    assert slabs["padding at -3024"].min() == -3024
    assert slabs["16-bit extremes"].min() == -32768
    assert np.ptp(slabs["constant slice"]) == 0


def test_check_scans_come_from_folders_without_their_masks(tmp_path: Path) -> None:
    volume, _ = write_phantom(tmp_path, 1, make_phantom(1, matrix=32, slices=2))
    assert scan_files([tmp_path]) == [volume]
    (tmp_path / "empty").mkdir()
    with pytest.raises(VolumeError, match=r"no \.nii or \.nii\.gz scan"):
        scan_files([tmp_path / "empty"])


def test_export_is_reproducible(
    checkpoint: Path, exported: dict[str, ExportResult], tmp_path: Path
) -> None:
    again = export_model(checkpoint, tmp_path / "again.onnx", ExportSettings("fp16"))
    assert again.model.read_bytes() == exported["fp16"].model.read_bytes()
