"""Real CT by way of DICOM and by way of NIfTI, through the bundled model: the same voxels."""

import os
from pathlib import Path

import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from lits_runtime import Segmenter
from lits_runtime.volumes.dicom_objects.read_seg import read_seg
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.scan import Scan
from support.dicom.ct import save as save_slices
from support.dicom.ct import slices_of
from support.dicom.labelled_series import PLANES
from support.files.scans import load_nifti, save
from support.paths import SHARED_DATA

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SHARED_DATA / "dicom").exists(), reason="no shared data"),
]
SLICES = int(os.environ.get("LITS_DICOM_SLICES", "6"))
"""Of volume 44, in the middle of its lesion; it has 119."""


def test_a_compressed_series(tmp_path: Path) -> None:
    series = SHARED_DATA / "dicom/totalsegmentator_jpeg2000"
    with Segmenter.open(provider="cpu") as segmenter:
        segmenter.segment_file(series, tmp_path / "out", formats=("seg", "sr", "nifti"))
        scan = Scan.open(series).load()
        hu = scan.read_stored(0, scan.geometry.canonical_shape[0])
        expected = segmenter.segment(save(tmp_path / "scan.nii", hu, scan.geometry.affine))
    assert (expected.labels == 2).any()
    mask = read_seg(tmp_path / "out/seg.dcm").on(expected.geometry)
    assert np.array_equal(mask, expected.labels)
    written = np.asanyarray(load_nifti(tmp_path / "out/mask.nii.gz").dataobj)
    assert np.array_equal(written, expected.labels)


def test_five_orientations_of_a_lits_volume(tmp_path: Path) -> None:
    image = load_nifti(SHARED_DATA / "lits/volume-44.nii.gz")
    first = max(0, min(97 - SLICES // 2, image.shape[2] - SLICES))
    part = image.slicer[64:320, 96:352, first : first + SLICES]
    hu, lps = np.asanyarray(part.dataobj).astype(np.int16), Geometry(part.shape, part.affine)
    with Segmenter.open(provider="cpu") as segmenter:
        expected = segmenter.segment((hu, part.affine))
        assert (expected.labels == 2).any()
        for plane, codes in PLANES.items():
            turn = ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(codes))
            stored = np.ascontiguousarray(apply_orientation(hu, turn))
            affine = part.affine @ inv_ornt_aff(turn, hu.shape)
            save_slices(slices_of(stored, affine), tmp_path / plane)
            segmenter.segment_file(tmp_path / plane, tmp_path / f"{plane}.dcm")
            mask = read_seg(tmp_path / f"{plane}.dcm").on(lps)
            assert np.array_equal(mask, expected.labels), plane
