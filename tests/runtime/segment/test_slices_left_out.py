"""Masks where the model does not see every slice, by the search, the interpolation, or both."""

import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lits_runtime import CancelledError
from lits_runtime.volumes.geometry import Geometry
from support.files.scans import AXIS_CODES, load_nifti, reorient
from support.slices_left_out import (
    ALL_SLICES,
    affine_of,
    blobs,
    definition,
    open_model,
    seen_slices,
)

DISTANCES = [(9.0, 0.0), (0.0, 3.0), (9.0, 3.0)]
"""Of the search and of the interpolation, for slices of 1 mm."""


@pytest.mark.parametrize("context_slices", [0, 1])
@pytest.mark.parametrize(("search_mm", "interpolation_mm"), DISTANCES)
def test_the_mask_is_the_same_in_all_48_orientations(
    search_mm: float, interpolation_mm: float, context_slices: int, tmp_path: Path
) -> None:
    volume, affine = blobs(40, 5), affine_of(1.0)
    with open_model(search_mm, interpolation_mm, context_slices) as segmenter:
        expected = definition(segmenter, volume, affine)
        assert (expected != segmenter.segment((volume, affine), ALL_SLICES).labels).any()
        for codes in AXIS_CODES:
            stored, turned = reorient(volume, affine, codes)
            nib.save(nib.Nifti1Image(stored, turned), tmp_path / "scan.nii")
            report = segmenter.segment_file(
                tmp_path / "scan.nii", tmp_path / "mask.nii", force=True
            )
            mask = np.asanyarray(load_nifti(tmp_path / "mask.nii").dataobj)
            right = reorient(expected.astype(np.int16), affine, codes)[0]
            np.testing.assert_array_equal(mask, right, codes)
            assert report.slices_looked_at < (15 if interpolation_mm else 40)


@pytest.mark.parametrize("context_slices", [0, 1])
def test_any_spacing_number_of_slices_distances_and_batch(context_slices: int) -> None:
    fewer = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        slices = int(rng.choice([1, 2, 3, 5, 20, 41, 64, 100]))
        affine = affine_of(float(rng.choice([0.3, 0.7, 1, 1.5, 2.5, 3.3, 8])))
        volume = blobs(slices, seed, share=float(rng.choice([0, 0.02, 0.3])))
        search_mm, interpolation_mm = (
            float(rng.choice([0, 4, 10, 20])),
            float(rng.choice([0, 2, 5])),
        )
        with open_model(search_mm, interpolation_mm, context_slices) as segmenter:
            result = segmenter.segment((volume, affine), batch_size=int(rng.choice([1, 3, 16])))
            expected = definition(segmenter, volume, affine)
        np.testing.assert_array_equal(result.labels, expected, str(seed))
        geometry = Geometry(volume.shape, affine)
        assert result.report.slices_looked_at <= len(seen_slices(geometry, interpolation_mm))
        fewer += result.report.slices_looked_at < slices
    assert fewer > 40, "a third"


@pytest.mark.parametrize(("search_mm", "interpolation_mm"), DISTANCES)
def test_probabilities_need_every_slice(
    search_mm: float, interpolation_mm: float, tmp_path: Path
) -> None:
    scan = blobs(40, 5), affine_of(1.0)
    with open_model(search_mm, interpolation_mm) as segmenter:
        whole = segmenter.segment(scan, ALL_SLICES)
        result = segmenter.segment(scan, with_probability=True)
        report = segmenter.segment_file(scan, tmp_path / "mask.nii", probability=tmp_path / "p.nii")
    np.testing.assert_array_equal(result.labels, whole.labels)
    assert result.report.slices_looked_at == report.slices_looked_at == 40
    assert report.applied["search_mm"] == report.applied["interpolation_mm"] == 0


@pytest.mark.parametrize("context_slices", [0, 1])
@pytest.mark.parametrize(("search_mm", "interpolation_mm"), DISTANCES)
def test_progress_counts_every_slice_and_cancel_leaves_nothing(
    search_mm: float, interpolation_mm: float, context_slices: int, tmp_path: Path
) -> None:
    nib.save(nib.Nifti1Image(blobs(40, 5), affine_of(1.0)), tmp_path / "scan.nii.gz")
    calls: list[tuple[int, int]] = []
    threads = set(threading.enumerate())  # a model that another test left open has some
    with open_model(search_mm, interpolation_mm, context_slices) as segmenter:
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
