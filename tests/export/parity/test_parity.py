"""The comparison of a model with its network, and what they are compared on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lits_export.parity.compare import compare
from lits_export.parity.slabs import boundary_slabs, phantom_slabs, scan_files
from lits_export.parity.tolerance import TOLERANCES, Tolerance
from lits_runtime import VolumeError
from lits_runtime.phantom.ct import make_phantom, write_phantom
from lits_train.network.checkpoint import load_checkpoint
from lits_train.network.slab_segmenter import SlabSegmenter


@pytest.mark.slow
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
    most = max(of_class.largest_difference for of_class in report.classes.values())
    assert (worst[0].slab, worst[0].difference) == (slab.name, most)
    assert report.broken(Tolerance(None, 0.0, volume_percent=0.0)).startswith("l")


@pytest.mark.slow
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


def test_edge_cases_are_what_their_names_say() -> None:
    slabs = {slab.name: slab.slab_hu for slab in boundary_slabs(1)}
    assert slabs["37 x 53"].shape == (3, 37, 53)
    assert slabs["1024 x 1024"].shape == (3, 1024, 1024)
    assert slabs["one voxel"].shape == (3, 1, 1)
    assert slabs["padding at -3024"].min() == -3024
    assert slabs["16-bit extremes"].min() == -32768
    assert slabs["float32 extremes"].max() == np.finfo(np.float32).max
    assert np.ptp(slabs["constant slice"]) == 0


def test_check_scans_come_from_folders_without_their_masks(tmp_path: Path) -> None:
    volume, _ = write_phantom(tmp_path, 1, make_phantom(1, matrix=32, slices=2))
    assert scan_files([tmp_path]) == [volume]
    (tmp_path / "empty").mkdir()
    with pytest.raises(VolumeError, match=r"no scan in this folder \(\.nii"):
        scan_files([tmp_path / "empty"])
