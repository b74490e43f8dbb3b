"""One measure of lesions: in every orientation, from every source, and in lits-eval."""

import itertools
import os
from pathlib import Path
from typing import Any

import cc3d
import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from lits_runtime import Segmenter
from lits_runtime.measure import lesions
from lits_runtime.measure.lesions import LesionTracker
from lits_runtime.measure.report import Report
from lits_runtime.segment.options import Options
from lits_runtime.volumes.geometry import Geometry
from lits_tools.scores.case_scores import score_case
from lits_tools.scores.lesion_match import label_lesions, match_lesions
from support.files.scans import AXIS_CODES, reorient
from support.networks.tiny_models import positional_model, tiny_model

ROUNDS = int(os.environ.get("LITS_FUZZ_ROUNDS", "40"))
TILTED = np.array([[-0.7, 0.05, 0.0, 128], [0, -0.8, -1.25, 64], [0, 0.02, 2.5, -32], [0, 0, 0, 1]])
"""A gantry tilted by 27 degrees, rows and columns not at right angles either."""

Labels = NDArray[np.uint8]


def branching_hu() -> NDArray[np.int16]:
    """Lesions of the tiny model that branch, meet again slices later, and tie in volume."""
    volume = np.random.default_rng(5).integers(-200, 90, (13, 12, 11)).astype(np.int16)
    volume[1:3, 2, 1:9] = volume[9:12, 2, 1:9] = 150  # two columns
    volume[1:12, 2, 8] = 160  # that meet near the head
    volume[4, 6:9, 3:6] = volume[6, 6:9, 3:6] = 140  # two of one size
    volume[6:9, 10, 0] = volume[0, 0, 10] = 120
    return volume


def table(report: Report) -> NDArray[np.float64]:
    """The lesion table, slices counted from the feet; the last three columns are world mm."""
    axis = next(axis for axis, code in enumerate(report.axis_codes) if code in "SI")
    rows = []
    for lesion in report.lesions:
        first, last = lesion.slices
        if report.axis_codes[axis] == "I":
            first, last = (report.shape[axis] - 1 - index for index in (last, first))
        figures = vars(lesion) | {"slices": (first, last)}
        rows.append(np.hstack([*figures.values(), *lesion.centroid_mm]))
    places = [3, 4, 5]
    return np.delete(np.array(rows, float), places, axis=1)


@pytest.fixture(scope="module")
def tiny() -> Segmenter:
    return Segmenter.open(tiny_model(), provider="cpu", threads=2)


@pytest.fixture(scope="module")
def positional() -> Segmenter:
    return Segmenter.open(positional_model(), provider="cpu", threads=2)


@pytest.mark.slow
@pytest.mark.parametrize("codes", AXIS_CODES)
def test_one_table_for_all_orientations_and_sources(
    codes: str, tiny: Segmenter, positional: Segmenter, tmp_path: Path
) -> None:
    volume, affine = reorient(branching_hu(), TILTED, codes)
    image = nib.Nifti1Image(volume, affine)
    path = tmp_path / ("scan.nii.gz" if AXIS_CODES.index(codes) % 2 else "scan.nii")
    nib.save(image, path)
    for segmenter in (tiny, positional):
        expected = segmenter.segment((branching_hu(), TILTED), with_probability=True).report
        assert expected.lesion_count > 4
        sources: list[Any] = [(volume, affine), image, path]
        reports = [
            segmenter.segment(source, with_probability=True, batch_size=batch_size).report
            for source, batch_size in zip(sources, (1, 7, 3), strict=True)
        ]
        for found in reports:
            assert (found.lesion_count, found.liver_cut) == (
                expected.lesion_count,
                expected.liver_cut,
            )
            got, wanted = table(found), table(expected)
            rtol = 1e-9 if found is reports[0] else 3e-7  # the affine of an image is float32
            np.testing.assert_allclose(got[:, :-3], wanted[:, :-3], rtol=rtol, atol=1e-9)
            np.testing.assert_allclose(got[:, -3:], wanted[:, -3:], rtol=0, atol=1e-4)
        streamed = segmenter.segment_file(path, tmp_path / "mask.nii", batch_size=7, force=True)
        assert [x.slices for x in streamed.lesions] == [x.slices for x in reports[2].lesions]
        assert streamed.volumes_ml == reports[2].volumes_ml


def fork() -> Labels:
    """Two prongs, 5 rows apart, that are joined in the last of four slices alone."""
    labels = np.zeros((4, 9, 12), np.uint8)
    labels[:3, [1, 7], 2:4] = 2
    labels[3, 1:8, 2] = 2
    return labels


@pytest.mark.parametrize("upside_down", [False, True])
def test_the_diameter_spans_all_parts_of_a_lesion_in_a_slice(upside_down: bool) -> None:
    labels = fork()[::-1] if upside_down else fork()
    labels = np.ascontiguousarray(labels)
    affine = np.diag([-2.0, -3.0, 5.0, 1.0])
    tracker = LesionTracker(Geometry((12, 9, 4), affine))
    for index in range(4):
        tracker.add_slab(index, labels[index : index + 1], np.zeros((1, 9, 12), np.float32))
    (lesion,), count = tracker.lesions()
    assert count == 1
    assert lesion.longest_axial_diameter_mm == pytest.approx(np.hypot(7 * 3, 2 * 2))
    match = score_case(labels, labels, (5.0, 3.0, 2.0)).match
    assert match.predicted_mm == pytest.approx([lesion.longest_axial_diameter_mm])


def random_labels(rng: np.random.Generator) -> Labels:
    """Noise of any density, combs, walks or rings."""
    shape = tuple(rng.integers(1, (9, 18, 18)))
    labels = np.zeros(shape, np.uint8)
    kind = rng.integers(5)
    if kind < 2:
        labels[rng.random(shape) < rng.choice([0.05, 0.2, 0.32, 0.45, 0.8])] = 2
    elif kind == 2:
        labels[:, :, ::2] = 2
        labels[rng.integers(shape[0])] = 2 * (rng.random(shape[1:]) < 0.8)
    elif kind == 3:
        steps = rng.choice([-1, 1], 200)[:, None] * np.eye(3, dtype=int)[rng.integers(3, size=200)]
        labels[tuple(np.abs(np.cumsum(steps, axis=0) % shape).T)] = 2
    else:
        y, x = np.mgrid[: shape[1], : shape[2]] - np.array(shape[1:])[:, None, None] / 2
        for plane, inner in zip(labels, rng.uniform(1, 4, shape[0]), strict=True):
            plane[(np.hypot(y, x) > inner) & (np.hypot(y, x) < inner + 2)] = 2
    return labels


def by_brute_force(labels: Labels, step_mm: NDArray[np.float64]) -> list[tuple[int, float]]:
    """Voxels and longest axial diameter of each lesion, from all pairs of corners."""
    numbers = cc3d.connected_components(labels == 2, connectivity=6)
    found = []
    for number in range(1, int(numbers.max()) + 1):
        longest = 0.0
        for plane in numbers == number:
            pixels = np.argwhere(plane)[:, ::-1]
            corners = np.concatenate([pixels + c for c in itertools.product((0, 1), repeat=2)])
            points = np.unique(corners, axis=0) @ step_mm.T
            apart = np.linalg.norm(points[:, None] - points[None], axis=2)
            longest = max(longest, float(apart.max(initial=0)))
        found.append((int((numbers == number).sum()), longest))
    return sorted(found)


def test_measured_in_slabs_in_any_order_as_by_brute_force_and_by_lits_eval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed in range(ROUNDS):
        rng = np.random.default_rng(seed)
        labels = random_labels(rng)
        slices, height, width = labels.shape
        affine = np.diag([-1.0, -1.0, 1.0, 1.0])
        affine[:3, :3] *= rng.uniform(0.3, 3, 3)
        affine[:3, :3] += rng.normal(0, 0.05, (3, 3))
        geometry = Geometry((width, height, slices), affine)
        wanted = by_brute_force(labels, affine[:3, :2])
        monkeypatch.setattr(lesions, "_POINTS_BETWEEN", int(rng.choice([0, 30, 2**18])))
        monkeypatch.setattr(lesions, "_VOXELS_AT_ONCE", int(rng.choice([1, 2**20])))
        tracker, size = LesionTracker(geometry), int(rng.integers(1, slices + 1))
        for start in rng.permutation(np.arange(0, slices, size)).tolist():
            slab = labels[start : start + size]
            tracker.add_slab(start, slab, np.zeros(slab.shape, np.float32) if slab.any() else None)
        found, count = tracker.lesions()
        assert count == len(wanted), seed
        figures = [
            (round(x.volume_ml / geometry.voxel_ml), x.longest_axial_diameter_mm) for x in found
        ]
        np.testing.assert_allclose(sorted(figures), wanted, rtol=1e-9, err_msg=str(seed))
        numbered = label_lesions(labels == 2)
        match = match_lesions(numbered, numbered, (1, 1, 1), affine[:3, :2])
        np.testing.assert_allclose(
            sorted(match.predicted_mm), sorted(mm for _, mm in wanted), rtol=1e-9
        )


def test_slices_that_do_not_exist_or_come_twice_are_refused() -> None:
    tracker = LesionTracker(Geometry((3, 3, 4), np.diag([-1.0, -1, 1, 1])))
    slab, hu = np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3, 3), np.float32)
    tracker.add_slab(1, slab, None)
    for start in (0, 2, 3, -1):
        with pytest.raises(ValueError, match="of 4: expected slices of the volume"):
            tracker.add_slab(start, slab, hu)


def test_outlines_beyond_the_limit_cost_the_small_lesions_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thousand columns of voxels and a block: memory is bounded, counts stay right."""
    monkeypatch.setattr(lesions, "_POINTS_BETWEEN", 0)
    monkeypatch.setattr(lesions, "MAX_POINTS", 500)
    labels = np.zeros((9, 64, 64), np.uint8)
    labels[:8, ::2, ::2] = 2
    labels[:8, 10:29, 10:29] = 2
    tracker, held = LesionTracker(Geometry((64, 64, 9), np.diag([-1.0, -1, 1, 1]))), []
    for index in range(9):
        tracker.add(index, labels[index], np.zeros((64, 64), np.float32))
        held.append(sum(points.shape[1] for points in tracker._points))
    found, count = tracker.lesions()
    assert max(held) <= 500
    assert count == 1 + 32 * 32 - 10 * 10
    assert found[0].longest_axial_diameter_mm == pytest.approx(np.hypot(19, 19))
    assert found[1].longest_axial_diameter_mm == pytest.approx(np.hypot(1, 1))


def test_a_clean_up_that_drops_thousands_of_specks_leaves_the_right_ones(tiny: Segmenter) -> None:
    """More specks than are kept, and larger than the lesions that the clean-up leaves."""
    volume = np.full((130, 130, 4), -100, np.int16)
    volume[::2, ::2, :2] = 150  # 4225 columns of two voxels, no liver beside them
    volume[98:112, 98:112] = -100
    volume[100:110, 100:110] = 60
    volume[104, 103, 0] = volume[106, 105, 3] = 150
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    options = Options(drop_lesions_outside_liver=True, keep_largest_liver=True)
    report = tiny.segment((volume, affine), options).report
    assert report.lesion_count == 2
    assert [x.volume_ml for x in report.lesions] == pytest.approx([0.001, 0.001])


def test_the_spread_of_a_bright_lesion_keeps_its_digits() -> None:
    tracker = LesionTracker(Geometry((50, 1, 2), np.diag([-1.0, -1, 1, 1])))
    hu = 30000 + np.random.default_rng(0).integers(0, 2, (2, 1, 50)) / 256
    tracker.add_slab(0, np.full(hu.shape, 2, np.uint8), hu.astype(np.float32))
    (lesion,), _ = tracker.lesions()
    assert lesion.sd_hu == pytest.approx(float(hu.astype(float).std()), rel=1e-9)
