"""One measure of lesions: in every orientation, from every source, and in lits-eval."""

import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from conftest import tiny_model
from numpy.typing import NDArray
from test_streaming import positional_model
from test_volume import AXIS_CODES, reorient

from lits_runtime import Segmenter
from lits_runtime.report import Report

ROUNDS = int(os.environ.get("LITS_FUZZ_ROUNDS", "60"))
TILTED = np.array([[-0.7, 0.05, 0.0, 128], [0, -0.8, -1.25, 64], [0, 0.02, 2.5, -32], [0, 0, 0, 1]])
"""A gantry tilted by 27 degrees, rows and columns not at right angles either."""


def branching_hu() -> NDArray[np.int16]:
    """Lesions of the tiny model that branch, meet again slices later, and tie in volume."""
    volume = np.random.default_rng(5).integers(-200, 90, (13, 12, 11)).astype(np.int16)
    volume[1:3, 2, 1:9] = volume[9:12, 2, 1:9] = 150  # two columns
    volume[1:12, 2, 8] = 160  # that meet near the head
    volume[4, 6:9, 3:6] = volume[6, 6:9, 3:6] = 140  # two of one size
    volume[6:9, 10, 0] = volume[0, 0, 10] = 120
    return volume


def table(report: Report) -> list[tuple[Any, ...]]:
    """The lesion table, slices counted from the feet."""
    rows: list[tuple[Any, ...]] = []
    turned = "I" in report.axis_codes
    slices = report.shape[[axis for axis, code in enumerate(report.axis_codes) if code in "SI"][0]]
    for lesion in report.lesions:
        ends = [slices - 1 - index for index in lesion.slices] if turned else lesion.slices
        rows.append(
            (
                lesion.volume_ml,
                lesion.longest_axial_diameter_mm,
                lesion.equivalent_sphere_diameter_mm,
                *lesion.centroid_mm,
                *sorted(ends),
                lesion.mean_hu,
                lesion.sd_hu,
                lesion.mean_probability or 0,
                lesion.largest_probability or 0,
            )
        )
    return rows


@pytest.fixture(scope="module", params=["alone", "context"])
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    content = tiny_model() if request.param == "alone" else positional_model()
    return Segmenter.open(content, provider="cpu", threads=2)


@pytest.mark.parametrize("codes", AXIS_CODES)
def test_one_table_for_all_orientations_and_sources(
    codes: str, segmenter: Segmenter, tmp_path: Path
) -> None:
    stored = branching_hu()
    expected = segmenter.segment((stored, TILTED), with_probability=True).report
    assert expected.lesion_count > 4
    volume, affine = reorient(stored, TILTED, codes)
    image = nib.Nifti1Image(volume, affine)
    nib.save(image, tmp_path / "scan.nii")
    nib.save(image, tmp_path / "scan.nii.gz")
    sources: list[Any] = [(volume, affine), image, tmp_path / "scan.nii", tmp_path / "scan.nii.gz"]
    for source, batch_size in zip(sources, (1, 3, 7, 3), strict=True):
        found = segmenter.segment(source, with_probability=True, batch_size=batch_size).report
        assert found.lesion_count == expected.lesion_count
        assert found.liver_cut == expected.liver_cut
        # Offsets of an affine are float32 in a file.
        np.testing.assert_allclose(table(found), table(expected), rtol=1e-9, atol=1e-4)
        exact = [row[:3] + row[6:] for row in table(found)]
        np.testing.assert_allclose(
            exact, [row[:3] + row[6:] for row in table(expected)], rtol=3e-7, atol=1e-9
        )
    streamed = segmenter.segment_file(sources[2], tmp_path / "mask.nii", batch_size=7)
    assert [lesion.slices for lesion in streamed.lesions] == [
        lesion.slices for lesion in found.lesions
    ]
