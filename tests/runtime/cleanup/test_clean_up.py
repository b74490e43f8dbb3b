"""Clean-up slab by slab: worked out by hand, and as by its definition on the whole volume."""

import itertools
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from lits_runtime import Segmenter, VolumeError
from lits_runtime.cleanup import kept_runs
from lits_runtime.cleanup.clean_up import CleanUp
from lits_runtime.cleanup.label_runs import Runs
from lits_runtime.model.metadata import Postprocessing
from lits_runtime.segment.options import Options
from lits_runtime.volumes.geometry import Geometry
from support.files.scans import AXIS_CODES, LPS_AFFINE, load_nifti, random_hu, reorient, save
from support.networks.tiny_models import positional_labels, positional_model
from support.paths import SHARED_DATA
from support.whole_cleanup import cleaned_whole

VOLUMES = int(os.environ.get("LITS_CLEANUP_VOLUMES", "40"))
"""300 for the long version."""
MASKS = sorted([*SHARED_DATA.glob("*/segmentation-*.nii.gz")], key=lambda path: path.stat().st_size)
MOST_MASKS = int(os.environ.get("LITS_CLEANUP_MASKS", "1"))
ALL_OPTIONS = [
    Postprocessing(liver, outside, least, contact)
    for liver, outside, least, contact in itertools.product(
        (False, True), (False, True), (0.0, 2.5, 5.5), (0.0, 0.6)
    )
]
SPACING_MM = (10.0, 10.0, 10.0)
SPACINGS_MM = (SPACING_MM, (25.0, 8.0, 5.0))
"""Voxels of 1 ml, as cubes and as the slabs that CT has."""


def clean_up(
    labels: NDArray[np.uint8],
    options: Postprocessing,
    slabs: Sequence[tuple[int, int]] | None = None,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
) -> NDArray[np.uint8]:
    """Canonical labels cleaned up, in one slab or in those that are given."""
    slices, height, width = labels.shape
    found = np.full_like(labels, 9)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.diag([*spacing_mm[::-1], 1.0])
    with closing(CleanUp(Geometry((width, height, slices), affine))) as held:
        for start, stop in slabs or [(0, slices)]:
            held.add(start, labels[start:stop])
        for start, cleaned in held.slabs(options):
            found[start : start + len(cleaned)] = cleaned
    return found


def random_labels(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blobs of liver, and of lesions within it or anywhere."""
    shape = tuple(rng.integers(3, 18, 3))
    liver, lesion = (
        ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0, 1.5)) for _ in range(2)
    )
    outside = liver <= np.quantile(liver, rng.uniform(0.2, 0.95))
    labels = np.where(outside, np.uint8(0), np.uint8(1))
    inside = (labels > 0) if rng.random() < 0.5 else True
    labels[(lesion > np.quantile(lesion, rng.uniform(0.5, 0.99))) & inside] = 2
    return labels


def random_slabs(slices: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Slabs of a few slices, upwards, downwards or in any order."""
    cuts = sorted({0, slices, *rng.integers(0, slices, slices // 2).tolist()})
    slabs = list(itertools.pairwise(cuts))
    return [slabs, slabs[::-1], [slabs[i] for i in rng.permutation(len(slabs))]][rng.integers(3)]


def two_livers() -> NDArray[np.uint8]:
    """A liver of 20 voxels with a lesion of 2, one of 6 with a lesion of 3, a lesion apart."""
    labels = np.zeros((12, 6, 3), np.uint8)
    labels[0:5, 0:4, 0] = 1
    labels[1, 1:3, 0] = 2
    labels[7:9, 0:3, 1] = 1
    labels[8, 0:3, 1] = 2
    labels[11, 5, 2] = 2
    return labels


def test_the_largest_liver_stays_with_its_lesions() -> None:
    expected = two_livers()
    expected[5:] = 0
    found = clean_up(two_livers(), Postprocessing(keep_largest_liver=True))
    np.testing.assert_array_equal(found, expected)


def test_lesions_outside_the_liver_become_background() -> None:
    expected = two_livers()
    expected[11, 5, 2] = 0
    found = clean_up(two_livers(), Postprocessing(drop_lesions_outside_liver=True))
    np.testing.assert_array_equal(found, expected)


def test_lesions_that_border_less_liver_than_asked_become_background() -> None:
    labels = np.zeros((3, 5, 8), np.uint8)
    labels[:, :, :4] = 1
    labels[1, 2, 2] = 2  # within
    labels[1, 2, 4] = 2  # outside, on the liver's surface: one face of six
    labels[0, 4, 0] = 2  # in a corner of the scan: three faces, all to the liver
    outside, within = labels.copy(), labels.copy()
    outside[1, 2, 4] = 0
    within[1, 2, 4] = 2
    for least, expected in ((1 / 6, within), (0.17, outside), (1.0, outside)):
        found = clean_up(labels, Postprocessing(min_liver_contact=least))
        np.testing.assert_array_equal(found, expected)
    flat = 100.0, 10.0, 10.0  # the face to the liver, of 1000 mm2, is a fifth less than a quarter
    found = clean_up(labels, Postprocessing(min_liver_contact=0.23), spacing_mm=flat)
    np.testing.assert_array_equal(found, within)


def test_small_lesions_become_liver_or_background_where_there_is_none() -> None:
    expected = two_livers()
    expected[1, 1:3, 0] = 1
    expected[11, 5, 2] = 0
    found = clean_up(two_livers(), Postprocessing(min_lesion_ml=3.0))
    np.testing.assert_array_equal(found, expected)


def test_all_at_once_and_nothing_at_all() -> None:
    options = Postprocessing(
        keep_largest_liver=True, drop_lesions_outside_liver=True, min_lesion_ml=2.5
    )
    expected = np.zeros((12, 6, 3), np.uint8)
    expected[0:5, 0:4, 0] = 1
    np.testing.assert_array_equal(clean_up(two_livers(), options), expected)
    assert not clean_up(np.zeros((3, 3, 3), np.uint8), options).any()


def test_a_lesion_alone_in_a_model_without_liver_may_be_dropped_by_size() -> None:
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[0, 0, 0], labels[2:4, 2:4, 2:4] = 2, 2
    found = clean_up(labels, Postprocessing(min_lesion_ml=2.0))
    assert (found == 2).sum() == 8
    assert (found == 0).sum() == 56


def test_runs_touch_where_their_voxels_do() -> None:
    slab = np.array([[[1, 1, 2], [0, 1, 0]], [[1, 0, 0], [2, 2, 2]]], np.uint8)
    runs = Runs.of(slab)
    assert runs.starts.tolist() == [0, 2, 4, 6, 9]
    assert runs.stops.tolist() == [2, 3, 5, 7, 12]
    assert runs.labels.tolist() == [1, 2, 1, 1, 2]
    touching = runs.touching(2, 3, (100.0, 10.0, 1.0))
    found = dict(zip(map(tuple, touching.pairs.T.tolist()), touching.areas.tolist(), strict=True))
    assert found == {(0, 1): 1, (0, 2): 10, (0, 3): 100, (2, 4): 100, (3, 4): 10}
    assert runs.faces(0, (2, 2, 3), (100, 10, 1)).tolist() == [221, 111, 112, 111, 330]
    assert runs.faces(1, (4, 2, 3), (100, 10, 1)).tolist() == [421, 211, 212, 211, 630]
    np.testing.assert_array_equal(runs.drawn((2, 2, 3)), slab)


def test_slab_by_slab_as_on_the_whole_volume() -> None:
    for seed in range(VOLUMES):
        rng = np.random.default_rng(seed)
        labels, spacing_mm = random_labels(rng), SPACINGS_MM[seed % 2]
        for options in ALL_OPTIONS:
            found = clean_up(labels, options, random_slabs(len(labels), rng), spacing_mm)
            expected = cleaned_whole(labels, spacing_mm, options)
            np.testing.assert_array_equal(found, expected, f"{seed} {options}")


def test_noise_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lits_runtime.cleanup.clean_up.MAX_PARTS", 100)
    labels = np.zeros((3, 20, 20), np.uint8)
    labels[:, ::2, ::2] = 1
    assert clean_up(labels[:, :, 10:], Postprocessing(keep_largest_liver=True)).sum() == 3
    with pytest.raises(VolumeError, match="the labels are in over 100 parts"):
        clean_up(labels, Postprocessing(keep_largest_liver=True), [(0, 1), (1, 2), (2, 3)])


def test_runs_that_are_many_go_to_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    options, rng = Postprocessing(min_lesion_ml=3.0), np.random.default_rng(0)
    labels = rng.integers(0, 3, (12, 40, 30)).astype(np.uint8)
    monkeypatch.setattr(kept_runs, "MAX_BYTES_IN_MEMORY", 20000)  # of 60000
    found = clean_up(labels, options, [(start, start + 3) for start in range(0, 12, 3)])
    np.testing.assert_array_equal(found, cleaned_whole(labels, SPACING_MM, options))


@pytest.mark.slow
@pytest.mark.skipif(not MASKS, reason="needs the shared CT")
def test_reference_masks_with_specks_as_on_the_whole_volume() -> None:
    rng = np.random.default_rng(0)
    for path in MASKS[:MOST_MASKS]:
        image = load_nifti(path)
        geometry = Geometry(image.shape, image.affine)
        stored = np.asanyarray(image.dataobj).astype(np.uint8)
        labels = np.ascontiguousarray(geometry.to_canonical(stored))
        specks = ndimage.grey_dilation(rng.random(labels.shape) < 1e-4, (2, 3, 3))
        labels[specks] = rng.integers(0, 3, labels.shape, np.uint8)[specks]
        slabs = list(geometry.slab_ranges(4))
        for options in (ALL_OPTIONS[1], ALL_OPTIONS[-2]):
            found = clean_up(labels, options, slabs, geometry.canonical_spacing_mm)
            expected = cleaned_whole(labels, geometry.canonical_spacing_mm, options)
            np.testing.assert_array_equal(found, expected, str(path))
            assert (expected != labels).any()


@pytest.mark.parametrize("codes", AXIS_CODES)
def test_every_orientation_gives_the_same_mask(codes: str, tmp_path: Path) -> None:
    stored = random_hu((9, 8, 11))
    volume, affine = reorient(stored, LPS_AFFINE, codes)
    scan = save(tmp_path / "scan.nii", volume, affine)
    geometry = Geometry(stored.shape, LPS_AFFINE)
    steps = Postprocessing(True, True, 2.5 * geometry.voxel_ml, 0.3)
    options = Options(**asdict(steps))
    labels = positional_labels(stored)
    expected = cleaned_whole(labels.T, geometry.canonical_spacing_mm, steps).T
    assert (expected != labels).any()
    with Segmenter.open(positional_model(), provider="cpu", threads=2) as segmenter:
        segmenter.segment_file(scan, tmp_path / "mask.nii.gz", options, batch_size=3)
        whole = segmenter.segment(scan, options)
    turned = reorient(expected.astype(np.int16), LPS_AFFINE, codes)[0]
    mask = np.asanyarray(load_nifti(tmp_path / "mask.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, turned)
    np.testing.assert_array_equal(whole.labels, turned)
