"""Masks of real CT: through DICOM they are what they were through NIfTI, voxel for voxel."""

from pathlib import Path

import numpy as np
import pytest
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

from lits_runtime.volumes.dicom.find import find_series
from lits_runtime.volumes.dicom_objects.facts import ObjectOptions
from lits_runtime.volumes.dicom_objects.identity import write_object
from lits_runtime.volumes.dicom_objects.read_seg import on_grid, read_seg
from lits_runtime.volumes.dicom_objects.seg import make_seg
from lits_runtime.volumes.geometry import Geometry
from support.dicom_ct import save, slices_of
from support.dicom_tools import broken_rules, segments_by_dcmqi
from support.labelled_series import ALGORITHM, PLANES
from support.paths import SHARED_DATA
from support.scans import load_nifti

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SHARED_DATA / "dicom").exists(), reason="no shared data"),
]
THINNED = 4
"""Every fourth row and column of a full CT, so that a test takes a second."""


def check(folder: Path, mask: NDArray[np.uint8], geometry: Geometry, scratch: Path) -> None:
    """A mask on a grid of its own, through a SEG of the series in a folder, and back."""
    (series,) = find_series([folder]).series
    labels = on_grid(mask, geometry, series.geometry, "mask").T
    made = make_seg(series, np.ascontiguousarray(labels), ALGORITHM, ObjectOptions())
    assert made is not None
    with (scratch / "seg.dcm").open("wb") as file:
        write_object(file, made)
    assert broken_rules(scratch / "seg.dcm") == []
    assert np.array_equal(read_seg(scratch / "seg.dcm").on(geometry), mask)
    found = np.zeros_like(mask)
    for values, grid in segments_by_dcmqi(scratch / "seg.dcm", scratch / "itk"):
        found += on_grid(values.astype(np.uint8), grid, geometry, "dcmqi")
    assert np.array_equal(found, mask)


def test_a_jpeg_2000_series_with_its_mask(tmp_path: Path) -> None:
    folder = SHARED_DATA / "dicom/totalsegmentator_jpeg2000"
    image = load_nifti(SHARED_DATA / "dicom/totalsegmentator_jpeg2000_seg.nii.gz")
    mask = (np.asarray(image.dataobj) == 5).astype(np.uint8)
    assert mask.sum() > 10_000
    check(folder, mask, Geometry(image.shape, image.affine), tmp_path)


def test_a_series_of_three_slices(tmp_path: Path) -> None:
    theirs = read_seg(SHARED_DATA / "dicom/dcmqi/liver.dcm")
    check(SHARED_DATA / "dicom/dcmqi/ct-3slice", theirs.labels, theirs.geometry, tmp_path)


@pytest.mark.parametrize("plane", PLANES)
def test_a_ct_of_lits_in_five_orientations(plane: str, tmp_path: Path) -> None:
    image = load_nifti(SHARED_DATA / "lits/segmentation-44.nii.gz")
    mask = np.asarray(image.dataobj)[::THINNED, ::THINNED].astype(np.uint8)
    affine = image.affine @ np.diag([THINNED, THINNED, 1, 1])
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(PLANES[plane]))
    turned = apply_orientation(mask, turn)
    save(
        slices_of(np.zeros(turned.shape), affine @ inv_ornt_aff(turn, mask.shape)), tmp_path / "ct"
    )
    check(tmp_path / "ct", mask, Geometry(mask.shape, affine), tmp_path)
