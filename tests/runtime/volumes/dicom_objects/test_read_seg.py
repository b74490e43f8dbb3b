"""Segmentations of others, and files that are none."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from lits_runtime.errors import VolumeError
from lits_runtime.volumes.dicom.find import find_series
from lits_runtime.volumes.dicom_objects.read_seg import is_seg, on_grid, read_seg
from lits_runtime.volumes.geometry import Geometry
from support.dicom.labelled_series import Labelled, labelled
from support.dicom.segs import seg_by_dcmqi, write_seg
from support.paths import SHARED_DATA

MUTATIONS = int(os.environ.get("LITS_SEG_MUTATIONS", "60"))


@pytest.fixture
def case(tmp_path: Path) -> Labelled:
    return labelled(tmp_path / "ct")


def changed(path: Path, **elements: Any) -> Path:
    seg = pydicom.dcmread(path)
    for keyword, value in elements.items():
        setattr(seg, keyword, value)
    seg.save_as(path)
    return path


def test_a_segmentation_by_another_program(tmp_path: Path) -> None:
    """By dcmqi: one that it publishes, or else one that it makes here."""
    folder = SHARED_DATA / "dicom/dcmqi"
    ct, seg = folder / "ct-3slice", folder / "liver.dcm"
    if not folder.exists():
        case = labelled(tmp_path / "ct")
        ct, seg = case.folder, seg_by_dcmqi(case, tmp_path)
    mask = read_seg(seg)
    (series,) = find_series([ct]).series
    placed = mask.on(series.geometry)
    assert set(np.unique(placed)) == {0, 1}
    assert placed.sum() == np.count_nonzero(pydicom.dcmread(seg).pixel_array)


def test_a_segmentation_that_dcmqi_makes(case: Labelled, tmp_path: Path) -> None:
    mask = read_seg(seg_by_dcmqi(case, tmp_path))
    assert np.array_equal(mask.on(case.geometry), case.reference > 0)


def test_frames_may_be_missing(case: Labelled, tmp_path: Path) -> None:
    """Other writers leave out frames without voxels, in the middle of a segment too."""
    case.labels[8] = 0
    path = write_seg(case, tmp_path / "seg.dcm")
    seg = pydicom.dcmread(path)
    kept = [n for n, one in enumerate(seg.pixel_array) if one.any()]
    bits = np.concatenate([seg.pixel_array[n].ravel() for n in kept])
    seg.PixelData = np.packbits(bits, bitorder="little").tobytes()
    seg.PerFrameFunctionalGroupsSequence = [seg.PerFrameFunctionalGroupsSequence[n] for n in kept]
    seg.NumberOfFrames = len(kept)
    seg.save_as(path)
    assert np.array_equal(read_seg(path).on(case.series.geometry).T, case.labels)


def test_lesions_lie_on_the_liver_where_segments_overlap(case: Labelled, tmp_path: Path) -> None:
    path = write_seg(case, tmp_path / "seg.dcm")
    seg = pydicom.dcmread(path)
    pixels = seg.pixel_array
    slices = len(pixels) // 2
    pixels[:slices] |= pixels[slices:]
    seg.PixelData = np.packbits(pixels.ravel(), bitorder="little").tobytes()
    seg.save_as(path)
    assert np.array_equal(read_seg(path).on(case.series.geometry).T, case.labels)


def test_other_segments_are_named_and_left_out(case: Labelled, tmp_path: Path) -> None:
    path = write_seg(case, tmp_path / "seg.dcm")
    seg = pydicom.dcmread(path)
    seg.SegmentSequence[0].SegmentLabel = "Spleen"
    seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue = "78961009"
    seg.save_as(path)
    mask = read_seg(path)
    assert mask.ignored == ("Spleen",)
    assert set(np.unique(mask.labels)) == {0, 2}


def test_a_grid_must_have_its_voxels_in_the_same_places(case: Labelled, tmp_path: Path) -> None:
    mask = read_seg(write_seg(case, tmp_path / "seg.dcm"))
    geometry = case.series.geometry
    shifted = geometry.affine.copy()
    shifted[0, 3] += 0.3
    with pytest.raises(VolumeError, match=r"its voxels are not those of the scan \(off by up to 0"):
        mask.on(Geometry(geometry.shape, shifted))
    wider = geometry.affine @ np.diag([2, 2, 1, 1.0])
    with pytest.raises(VolumeError, match="its voxels are not those"):
        mask.on(Geometry(geometry.shape, wider))
    with pytest.raises(VolumeError, match="there are labels outside the scan"):
        mask.on(Geometry((*geometry.shape[:2], 6), geometry.affine))


def test_a_part_of_a_grid_is_placed_in_it(case: Labelled) -> None:
    part = Geometry(
        (28, 36, 12),
        case.geometry.affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 4.0], [0, 0, 0, 1]]),
    )
    placed = on_grid(case.reference[:, :, 4:16], part, case.geometry, "part")
    expected = case.reference.copy()
    expected[:, :, :4] = expected[:, :, 16:] = 0
    assert np.array_equal(placed, expected)


def test_what_is_no_segmentation_is_refused(case: Labelled, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no DICOM")
    assert not is_seg(text)
    with pytest.raises(VolumeError, match="text: not a DICOM file; expected a DICOM SEG"):
        read_seg(text)
    scan = next(case.folder.iterdir())
    assert not is_seg(scan)
    with pytest.raises(VolumeError, match="DICOM of modality CT; expected a DICOM SEG"):
        read_seg(scan)
    path = write_seg(case, tmp_path / "seg.dcm")
    assert is_seg(path)
    seg = pydicom.dcmread(path)
    for one in seg.SegmentSequence:
        one.SegmentLabel = "Kidney"
        one.SegmentedPropertyTypeCodeSequence[0].CodeValue = "64033007"
    seg.save_as(path)
    with pytest.raises(VolumeError, match="no segment of the liver or of lesions; found: Kidney"):
        read_seg(path)


def test_frames_off_a_regular_grid_are_refused(case: Labelled, tmp_path: Path) -> None:
    path = write_seg(case, tmp_path / "seg.dcm")
    for axis, message in ((0, "lie on no regular grid"), (2, "are not a whole number of 1.5 mm")):
        seg = pydicom.dcmread(path)
        for frame in seg.PerFrameFunctionalGroupsSequence[3::20]:
            frame.PlanePositionSequence[0].ImagePositionPatient[axis] += 1
        seg.save_as(tmp_path / "moved.dcm")
        with pytest.raises(VolumeError, match=message):
            read_seg(tmp_path / "moved.dcm")


def test_damaged_segmentations_end_in_our_errors(case: Labelled, tmp_path: Path) -> None:
    content = write_seg(case, tmp_path / "seg.dcm").read_bytes()
    random = np.random.default_rng(0)
    damaged, read = tmp_path / "damaged.dcm", 0
    for _ in range(MUTATIONS):
        spoilt = bytearray(content)
        for at in random.integers(132, len(spoilt), 8):
            spoilt[at] = random.integers(256)
        damaged.write_bytes(spoilt[: random.integers(len(spoilt) // 2, 2 * len(spoilt))])
        try:
            read += read_seg(damaged).labels.ndim == 3
        except VolumeError as error:
            assert "\n" not in str(error)
    assert read < MUTATIONS
