"""The comparison of a model with its network, and what they are compared on."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lits_export.parity.compare import Expected, compare_with
from lits_export.parity.report import table
from lits_export.parity.slabs import CheckSlab, boundary_slabs, scan_files
from lits_export.parity.tolerance import TOLERANCES, Tolerance
from lits_runtime import ParityError, VolumeError
from lits_runtime.phantom.ct import make_phantom, write_phantom
from lits_train.settings.recipe import DEFAULT

RECIPE = DEFAULT.override(context_slices=0)


class Says:
    """An engine that says what it is told to, slab after slab."""

    provider = "cpu"

    def __init__(self, *outputs: tuple[NDArray[np.uint8], NDArray[np.float32]]) -> None:
        self.outputs = iter(outputs)

    def segment(self, slab_hu: object) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        return next(self.outputs)


def probability_of(labels: NDArray[np.uint8], certain: float = 0.9) -> NDArray[np.float32]:
    """Probabilities (n, 2, height, width) that give these labels."""
    masks = np.stack([labels >= 1, labels == 2], axis=1)
    return np.where(masks, np.float32(certain), np.float32(1 - certain))


def said(labels: NDArray[np.uint8], name: str = "slab", anatomy: bool = True) -> Expected:
    """What the network says of a slab with these labels, voxels of 0.001 ml."""
    slab = CheckSlab(name, labels.astype(np.float32), 0.001, anatomy)
    return Expected(slab, labels, probability_of(labels))


def anatomy() -> NDArray[np.uint8]:
    """A slice of 400 voxels of liver, 200 of them lesion."""
    labels = np.zeros((1, 40, 40), np.uint8)
    labels[0, 10:30, 10:30] = 1
    labels[0, 10:20, 10:30] = 2
    return labels


def test_parity_counts_what_changed() -> None:
    """20 of 200 lesion voxels are liver in the file, by 0.41 instead of 0.9."""
    labels = anatomy()
    changed = labels.copy()
    changed[0, 10, 10:30] = 1
    probability = probability_of(labels)
    probability[0, 1, 10, 10:30] = 0.41
    ((report, worst),) = compare_with([said(labels)], RECIPE, [Says((changed, probability))])
    lesion, liver = report.classes["lesion"], report.classes["liver"]
    assert lesion.largest_difference == pytest.approx(0.49)
    assert (lesion.changed_voxels, lesion.changed_near_threshold, lesion.voxels) == (20, 20, 200)
    assert lesion.dice == pytest.approx(2 * 180 / 380)
    assert lesion.volume_difference_ml == pytest.approx(-0.020)
    assert (liver.dice, liver.changed_voxels, liver.largest_difference) == (1, 0, 0)
    assert (worst[0].slab, worst[0].difference) == ("slab", lesion.largest_difference)
    broken = report.broken(TOLERANCES["int8"])
    assert broken == (
        "lesion on cpu: Dice 0.947368 (at least 0.98), volume -0.020 of 0.200 ml (at most 2 %)"
    )
    assert "largest difference 4.90e-01 (at most 0.01)" in report.broken(TOLERANCES["fp16"])
    assert not report.missing(TOLERANCES["int8"])


def test_masks_in_boundary_slabs_decide_nothing() -> None:
    """All lesion in the network's output, none in the file's: a tenth of probability apart."""
    boundary = said(np.full((1, 40, 40), 2, np.uint8), "constant slice", anatomy=False)
    elsewhere = np.zeros((1, 40, 40), np.uint8), boundary.probability - np.float32(0.1)
    file = Says((anatomy(), probability_of(anatomy())), elsewhere)
    ((report, worst),) = compare_with([said(anatomy()), boundary], RECIPE, [file])
    assert {figures.dice for figures in report.classes.values()} == {1.0}
    assert report.classes["lesion"].volume_ml == pytest.approx(0.2)
    assert (report.slabs, report.slices, report.boundary.slabs) == (1, 1, 1)
    assert not report.broken(TOLERANCES["int8"])
    assert report.broken(TOLERANCES["fp16"]) == (
        "boundary on cpu: largest difference 1.00e-01 (at most 0.01) in constant slice"
    )
    assert [(one.slab, one.anatomy) for one in worst] == [
        ("constant slice", False),
        ("slab", True),
    ]


@pytest.mark.parametrize("kind", ["anatomy", "boundary"])
def test_nan_is_out_of_every_tolerance(kind: str) -> None:
    nothing = np.full((1, 2, 40, 40), np.nan, np.float32)
    slabs = [said(anatomy()), said(anatomy(), "one voxel", anatomy=False)]
    good = anatomy(), probability_of(anatomy())
    outputs = [(anatomy(), nothing), good] if kind == "anatomy" else [good, (anatomy(), nothing)]
    ((report, _),) = compare_with(slabs, RECIPE, [Says(*outputs)])
    broken = report.broken(Tolerance(probability=None, dice=0.0))
    assert "values that are not finite" in broken
    assert ("one voxel" in broken) == (kind == "boundary")


def test_a_class_that_never_occurs_proves_nothing() -> None:
    """Both masks are empty, which is a Dice of 1; the same for one of a few voxels."""
    labels = np.minimum(anatomy(), 1)
    boundary = said(np.full((1, 40, 40), 2, np.uint8), "constant slice", anatomy=False)
    file = Says(*[(one, probability_of(one)) for one in (labels, boundary.labels)])
    ((report, _),) = compare_with([said(labels), boundary], RECIPE, [file])
    assert not report.broken(TOLERANCES["fp32"])
    assert report.missing(TOLERANCES["fp32"]) == "0 voxels of lesion"
    assert not report.missing(Tolerance(None, dice=0.0))
    assert re.search("lesion +0.00e[+]00 .* none found", table([report]))
    labels[0, 12, 12:20] = 2
    few = Says((labels, probability_of(labels)))
    ((report, _),) = compare_with([said(labels)], RECIPE, [few])
    assert report.missing(TOLERANCES["fp32"]) == "8 voxels of lesion"


def test_the_table_has_one_row_per_engine_and_class() -> None:
    boundary = said(anatomy(), "one voxel", anatomy=False)
    answer = anatomy(), probability_of(anatomy())
    one, other = Says(answer, answer), Says(answer, answer)
    other.provider = "openvino"
    results = compare_with([said(anatomy()), boundary], RECIPE, [one, other])
    lines = table([report for report, _ in results]).splitlines()
    assert [line.split()[0] for line in lines] == [
        "engine", "cpu", "lesion", "boundary", "openvino", "lesion", "boundary", "1"
    ]  # fmt: skip
    assert lines[1].split("  ")[-1] == "+0.000 of 0.400 ml"
    assert lines[-1].startswith("1 slices of anatomy in 1 slabs, 1 boundary slabs; worst: slice 0")


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(ParityError, match="no slabs to compare"):
        compare_with([], RECIPE, [Says()])


def test_boundary_slabs_are_what_their_names_say() -> None:
    assert not any(slab.anatomy for slab in boundary_slabs(1))
    slabs = {slab.name: slab.slab_hu for slab in boundary_slabs(1)}
    assert slabs["97 x 131"].shape == (3, 97, 131)
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
