"""Shared fixtures: real CT where it is at hand, phantoms where not, and a model without weights."""

import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

# One thread each: the tensors here are small, and several processes share the processors.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest

from lits_runtime.phantom.ct import make_phantom, write_phantom
from support.models import tiny_model
from support.paths import SHARED_DATA

# A shell starts what it puts in the background with Ctrl-C ignored, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where LITS_NO_SKIPS is set, as in CI, a test that would be skipped fails with its reason."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("LITS_NO_SKIPS"):
        _, _, reason = cast(tuple[str, int, str], report.longrepr)
        report.outcome, report.longrepr = "failed", f"CI accepts no skipped test. {reason}"
    return report


@pytest.fixture(scope="session")
def tiny_model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    path.write_bytes(tiny_model())
    return path


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small LiTS-style cases in three orientations, one of them compressed."""
    folder = tmp_path_factory.mktemp("phantoms")
    for seed, orientation in enumerate(("LPS", "LAS", "RAS")):
        phantom = make_phantom(seed, matrix=64, slices=8, orientation=orientation, lesions=2)
        write_phantom(folder, seed, phantom, gzip=seed == 0)
    return folder


@pytest.fixture(scope="session")
def real_case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Volume and mask of LiTS case 44; where the shared data is absent, of a phantom."""
    volume = SHARED_DATA / "lits/volume-44.nii.gz"
    if volume.exists():
        return volume, volume.with_name("segmentation-44.nii.gz")
    phantom = make_phantom(44, matrix=256, slices=40, lesions=2)
    return write_phantom(tmp_path_factory.mktemp("case"), 44, phantom)


@pytest.fixture(scope="session", params=["default", "baseline"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network of each recipe, small, whose masks are neither empty nor full."""
    import torch

    from lits_export.parity.slabs import phantom_slabs
    from lits_train.network.checkpoint import Checkpoint, save_checkpoint
    from lits_train.network.segmentation_network import SegmentationNetwork
    from lits_train.network.slab_segmenter import SlabSegmenter
    from lits_train.settings.recipe import RECIPES

    torch.manual_seed(3)
    recipe = RECIPES[request.param].override(size=64)
    network = SegmentationNetwork(recipe).eval()
    slab_hu = next(phantom_slabs(recipe.context_slices)).slab_hu
    with torch.no_grad():
        logits = SlabSegmenter(recipe, network).logits(torch.from_numpy(slab_hu))
        deviation = 8 * logits.std(dim=(0, 2, 3))
        network.head.weight /= deviation.view(-1, 1, 1, 1)
        assert network.head.bias is not None
        medians = logits.transpose(0, 1).flatten(1).median(dim=1).values
        network.head.bias.sub_(medians).div_(deviation)
    path = tmp_path_factory.mktemp(request.param) / "checkpoint.pth"
    save_checkpoint(Checkpoint(recipe, network.state_dict(), {"epochs": 0}), path)
    return path


@pytest.fixture(scope="session")
def exported(checkpoint: Path) -> dict[str, Any]:
    """The checkpoint in every precision."""
    from lits_export.export import ExportSettings, export_model
    from support.export_gates import GATES

    return {
        precision: export_model(
            checkpoint,
            checkpoint.with_name(f"{precision}.onnx"),
            ExportSettings(precision, tolerance=tolerance, providers=("cpu",)),
        )
        for precision, tolerance in GATES.items()
    }
