"""Slices between those that the model sees: how their labels follow from both."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.interpolate import interp1d

from lits_runtime import ModelError, Options
from lits_runtime.segment.slabs.inference import Inference, SlabResult
from lits_runtime.segment.slabs.interpolation import (
    labels_between,
    probability_between,
)
from lits_runtime.segment.slabs.liver_search import slices_within
from lits_runtime.volumes.geometry import Geometry
from support.slices_left_out import (
    ALL_SLICES,
    affine_of,
    blobs,
    definition,
    open_model,
    seen_slices,
)


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
    volume, affine = blobs(30, 1, share=0.1), affine_of(1.0)
    with open_model(interpolation_mm=4.0) as segmenter:
        result = segmenter.segment((volume, affine))
        whole = segmenter.segment((volume, affine), ALL_SLICES)
        expected = definition(segmenter, volume, affine)
    np.testing.assert_array_equal(result.labels, expected)
    assert (result.labels != whole.labels).any()
    seen = [0, 4, 8, 12, 16, 20, 24, 28, 29]
    np.testing.assert_array_equal(result.labels[..., seen], whole.labels[..., seen])
    assert (result.report.slices_looked_at, whole.report.slices_looked_at) == (9, 30)
    assert result.report.applied["interpolation_mm"] == 4
    assert whole.report.applied["interpolation_mm"] == 0


def test_other_thresholds_and_probabilities_of_lesions() -> None:
    volume, affine = blobs(40, 5, share=0.1), affine_of(1.0)
    options = Options(thresholds={"lesion": 0.9}, tta=True)
    with open_model(interpolation_mm=3.0, settings={"tta": ["flip_columns"]}) as segmenter:
        result = segmenter.segment((volume, affine), options)
        whole = segmenter.segment(
            (volume, affine), Options(thresholds={"lesion": 0.9}, tta=True, interpolation=False)
        )
    assert result.report.lesion_count > 0
    for lesion in result.report.lesions:
        assert lesion.mean_probability is not None and lesion.mean_probability > 0.85
    seen = seen_slices(result.geometry, 3.0)
    np.testing.assert_array_equal(result.labels[..., seen], whole.labels[..., seen])


def test_measures_and_the_range_of_values_are_of_all_slices() -> None:
    volume, affine = blobs(40, 5, share=0.1), affine_of(1.0)
    dim = np.minimum(volume, 90)
    bright = dim.copy()
    bright[0, 0, 6] = 3000  # the model does not see it
    with open_model(interpolation_mm=4.0) as segmenter:
        result = segmenter.segment((volume, affine))
        warned, silent = (segmenter.segment((one, affine)).warnings for one in (dim, bright))
    assert any("values from -900 to 90" in line for line in warned)
    assert not any("values from" in line for line in silent)
    lesions_ml = np.count_nonzero(result.labels == 2) * result.geometry.voxel_ml
    assert result.volumes_ml["lesion"] == pytest.approx(lesions_ml)
    assert sum(one.volume_ml for one in result.report.lesions) == pytest.approx(lesions_ml)


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
    with open_model(search_mm, 3.0) as segmenter, pytest.raises(ModelError, match="broken"):
        segmenter.segment((blobs(100, 5, share=0.1), affine_of(1.0)))


def test_distances_are_kept() -> None:
    for spacing_mm in (0.3, 0.625, 0.7, 1.0, 1.25, 2.0, 2.5, 5.0):
        for interpolation_mm in (0.0, 2.0, 3.0, 4.0, 5.0):
            geometry = Geometry((64, 64, 1000), affine_of(spacing_mm))
            stride = slices_within(geometry, interpolation_mm)
            assert stride == 1 or stride * spacing_mm <= interpolation_mm + 0.01
            assert (stride + 1) * spacing_mm > interpolation_mm - 0.01
    assert slices_within(Geometry((512, 512, 1000), affine_of(0.1)), 4) == 16
    assert slices_within(Geometry((2048, 2048, 1000), affine_of(0.1)), 4) == 1
