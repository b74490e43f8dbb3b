"""Slices between those that the model sees: their labels, whichever way a scan comes."""

import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import interp1d

from lits_runtime import CancelledError, ModelError, Options, Segmenter
from lits_runtime.segment.slabs.inference import Inference, SlabResult
from lits_runtime.segment.slabs.interpolation import (
    labels_between,
    probability_between,
    stride_of,
)
from lits_runtime.segment.slabs.liver_search import searched
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.scan import Scan
from support.files.scans import AXIS_CODES, load_nifti, reorient
from support.networks.tiny_models import positional_model, tiny_model

ALL = Options(search=False, interpolation=False)


def affine_of(slice_mm: float, pixel_mm: float = 6.0) -> NDArray[np.float64]:
    """LPS; three pixels are a square centimetre."""
    return np.diag([-pixel_mm, -pixel_mm, slice_mm, 1.0])


def blobs(slices: int, seed: int, share: float = 0.1) -> NDArray[np.int16]:
    """Some blobs of 40 to 160 HU, (12, 11, slices), in air."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(12, 11, slices)), (1.5, 1.5, 2.0))
    inside = smooth > np.quantile(smooth, 1 - share)
    hu: NDArray[np.int16] = np.where(inside, rng.integers(40, 160, smooth.shape), -900)
    return hu.astype(np.int16)


def open_model(
    interpolation_mm: float, search_mm: float = 0.0, context_slices: int = 0, **more: Any
) -> Segmenter:
    make = positional_model if context_slices else tiny_model
    metadata = {"interpolation_mm": interpolation_mm, "search_mm": search_mm, **more}
    return Segmenter.open(make(metadata), provider="cpu", threads=2)


def seen_slices(geometry: Geometry, interpolation_mm: float) -> list[int]:
    slices = geometry.canonical_shape[0]
    return sorted({*range(0, slices, stride_of(geometry, interpolation_mm)), slices - 1})


def definition(segmenter: Segmenter, volume: NDArray[Any], affine: Any) -> NDArray[np.uint8]:
    """By the probabilities of all slices, (i, j, k)."""
    facts, scan = segmenter.metadata, Scan.open((volume, affine))
    geometry, context = scan.geometry, facts.context_slices
    slab_hu = scan.read_slab(0, geometry.canonical_shape[0], context)
    labels, probability = segmenter.labels(slab_hu), segmenter.probability(slab_hu)
    seen = seen_slices(geometry, facts.interpolation_mm)
    for low, high in pairwise(seen):
        first, last = (SlabResult(labels[[at]], probability[[at]]) for at in (low, high))
        labels[low + 1 : high] = labels_between(
            first, last, high - low - 1, facts.thresholds, facts.label_values
        )
    stride = stride_of(geometry, facts.interpolation_mm)
    left = searched(labels, geometry, facts.search_mm, stride)
    stored: NDArray[np.uint8] = geometry.from_canonical(left)
    return stored


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_log_odds_change_linearly_between_two_slices(count: int) -> None:
    rng = np.random.default_rng(count)
    probability = rng.uniform(0.001, 0.999, (2, 2, 40, 30)).astype(np.float32)
    thresholds, values = (0.5, 0.3), (1, 2)

    def label(several: NDArray[Any]) -> NDArray[np.uint8]:
        labels = np.where(several[:, 0] >= thresholds[0], 1, 0)
        return np.where(several[:, 1] >= thresholds[1], 2, labels).astype(np.uint8)

    odds = probability.astype(np.float64) / (1 - probability.astype(np.float64))
    expected = interp1d([0, count + 1], np.log(odds), axis=0)(np.arange(1, count + 1))
    expected = 1 / (1 + np.exp(-expected))
    low, high = (SlabResult(label(probability[[at]]), probability[[at]]) for at in (0, 1))
    found = labels_between(low, high, count, thresholds, values)
    assert found.dtype == np.uint8 and (found[0] != low.labels[0]).any()
    np.testing.assert_array_equal(found, label(expected))
    np.testing.assert_allclose(probability_between(low, high, count), expected, atol=1e-6)
    mirrored = labels_between(high, low, count, thresholds, values)
    assert (mirrored[::-1] != found).mean() < 1e-3  # by rounding


def test_certain_probabilities_are_no_infinite_odds() -> None:
    low, high = (
        SlabResult(np.full((1, 1, 1), label, np.uint8), np.full((1, 1, 1, 1), p, np.float32))
        for label, p in ((1, 1.0), (0, 0.0))
    )
    assert labels_between(low, high, 4, [0.5], [1]).ravel().tolist() == [1, 1, 0, 0]
    assert labels_between(low, high, 3, [0.5], [1]).ravel().tolist() == [1, 1, 0]
    assert labels_between(high, low, 3, [0.5], [1]).ravel().tolist() == [0, 1, 1]
    assert np.isfinite(probability_between(low, high, 4)).all()


def test_the_model_sees_every_nth_slice_and_both_ends() -> None:
    volume, affine = blobs(30, 1), affine_of(1.0)
    with open_model(4.0) as segmenter:
        result = segmenter.segment((volume, affine))
        whole = segmenter.segment((volume, affine), ALL)
        expected = definition(segmenter, volume, affine)
    np.testing.assert_array_equal(result.labels, expected)
    assert (result.labels != whole.labels).any()
    seen = [0, 4, 8, 12, 16, 20, 24, 28, 29]
    np.testing.assert_array_equal(result.labels[..., seen], whole.labels[..., seen])
    assert (result.report.slices_looked_at, whole.report.slices_looked_at) == (9, 30)
    assert result.report.applied["interpolation_mm"] == 4
    assert whole.report.applied["interpolation_mm"] == 0


@pytest.mark.parametrize("context_slices", [0, 1])
@pytest.mark.parametrize("search_mm", [0.0, 9.0])
def test_the_mask_is_the_same_in_all_48_orientations(
    context_slices: int, search_mm: float, tmp_path: Path
) -> None:
    volume, affine = blobs(40, 5, share=0.02), affine_of(1.0)
    with open_model(3.0, search_mm, context_slices) as segmenter:
        expected = definition(segmenter, volume, affine)
        for codes in AXIS_CODES:
            stored, turned = reorient(volume, affine, codes)
            nib.save(nib.Nifti1Image(stored, turned), tmp_path / "scan.nii")
            report = segmenter.segment_file(
                tmp_path / "scan.nii", tmp_path / "mask.nii", force=True
            )
            mask = np.asanyarray(load_nifti(tmp_path / "mask.nii").dataobj)
            right = reorient(expected.astype(np.int16), affine, codes)[0]
            np.testing.assert_array_equal(mask, right, codes)
            assert report.slices_looked_at <= 14


@pytest.mark.parametrize("context_slices", [0, 1])
def test_any_spacing_number_of_slices_search_and_batch(context_slices: int) -> None:
    fewer = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        slices = int(rng.choice([1, 2, 3, 4, 5, 20, 41, 100]))
        affine = affine_of(float(rng.choice([0.3, 0.7, 1, 1.5, 2.5, 5])))
        volume = blobs(slices, seed, share=float(rng.choice([0, 0.02, 0.3])))
        distances = float(rng.choice([2, 3, 5])), float(rng.choice([0, 4, 10, 20]))
        with open_model(*distances, context_slices) as segmenter:
            result = segmenter.segment((volume, affine), batch_size=int(rng.choice([1, 3, 16])))
            expected = definition(segmenter, volume, affine)
        np.testing.assert_array_equal(result.labels, expected, str(seed))
        geometry = Geometry(volume.shape, affine)
        assert result.report.slices_looked_at <= len(seen_slices(geometry, distances[0]))
        fewer += result.report.slices_looked_at < slices
    assert fewer > 20


def test_other_thresholds_and_probabilities_of_lesions() -> None:
    volume, affine = blobs(40, 5), affine_of(1.0)
    options = Options(thresholds={"lesion": 0.9}, tta=True)
    with open_model(3.0, settings={"tta": ["flip_columns"]}) as segmenter:
        result = segmenter.segment((volume, affine), options)
        whole = segmenter.segment(
            (volume, affine), Options(thresholds={"lesion": 0.9}, tta=True, interpolation=False)
        )
    assert result.report.lesion_count > 0
    for lesion in result.report.lesions:
        assert lesion.mean_probability is not None and lesion.mean_probability > 0.85
    seen = seen_slices(result.geometry, 3.0)
    np.testing.assert_array_equal(result.labels[..., seen], whole.labels[..., seen])


def test_probabilities_need_every_slice(tmp_path: Path) -> None:
    scan = blobs(40, 5), affine_of(1.0)
    with open_model(4.0) as segmenter:
        whole = segmenter.segment(scan, ALL)
        result = segmenter.segment(scan, with_probability=True)
    np.testing.assert_array_equal(result.labels, whole.labels)
    assert result.report.slices_looked_at == 40
    assert result.report.applied["interpolation_mm"] == 0


def test_measures_and_the_range_of_values_are_of_all_slices() -> None:
    volume, affine = blobs(40, 5), affine_of(1.0)
    dim = np.minimum(volume, 90)
    bright = dim.copy()
    bright[0, 0, 6] = 3000  # the model does not see it
    with open_model(4.0) as segmenter:
        result = segmenter.segment((volume, affine))
        warned, silent = (segmenter.segment((one, affine)).warnings for one in (dim, bright))
    assert any("values from -900 to 90" in line for line in warned)
    assert not any("values from" in line for line in silent)
    lesions_ml = np.count_nonzero(result.labels == 2) * result.geometry.voxel_ml
    assert result.volumes_ml["lesion"] == pytest.approx(lesions_ml)
    assert sum(one.volume_ml for one in result.report.lesions) == pytest.approx(lesions_ml)


def test_progress_counts_every_slice_and_cancel_leaves_nothing(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(blobs(40, 5), affine_of(1.0)), tmp_path / "scan.nii.gz")
    calls: list[tuple[int, int]] = []
    threads = set(threading.enumerate())  # a model that another test left open has some
    with open_model(3.0, 9.0, 1) as segmenter:
        segmenter.segment(tmp_path / "scan.nii.gz", progress=lambda *now: calls.append(now))
        assert [done for done, _ in calls] == sorted({done for done, _ in calls})
        assert calls[-1] == (40, 40)
        for last in (1, 3, len(calls) - 1):
            answers = iter([False] * last + [True])
            with pytest.raises(CancelledError):
                segmenter.segment_file(
                    *(tmp_path / "scan.nii.gz", tmp_path / "mask.nii"),
                    cancel=lambda answers=answers: next(answers),  # type: ignore[misc]
                )
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"]
    assert set(threading.enumerate()) <= threads


@pytest.mark.parametrize("search_mm", [0.0, 9.0])
def test_a_failing_slice_ends_those_that_wait_for_it(
    search_mm: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, calls = Inference._run, [0]

    def fails_later(self: Inference, names: list[str], slab_hu: Any) -> list[Any]:
        calls[0] += 1
        if calls[0] == 5:
            raise ModelError("broken")
        return run(self, names, slab_hu)

    monkeypatch.setattr(Inference, "_run", fails_later)
    with open_model(3.0, search_mm) as segmenter, pytest.raises(ModelError, match="broken"):
        segmenter.segment((blobs(100, 5), affine_of(1.0)))


def test_distances_are_kept() -> None:
    for spacing_mm in (0.3, 0.625, 0.7, 1.0, 1.25, 2.0, 2.5, 5.0):
        for interpolation_mm in (0.0, 2.0, 3.0, 4.0, 5.0):
            geometry = Geometry((64, 64, 1000), affine_of(spacing_mm))
            stride = stride_of(geometry, interpolation_mm)
            assert stride == 1 or stride * spacing_mm <= interpolation_mm + 0.01
            assert (stride + 1) * spacing_mm > interpolation_mm - 0.01
    assert stride_of(Geometry((512, 512, 1000), affine_of(0.1)), 4) == 16
    assert stride_of(Geometry((2048, 2048, 1000), affine_of(0.1)), 4) == 1
