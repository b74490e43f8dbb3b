"""Secondary captures: pictures in canonical orientation with figures and labels burnt in."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset

from lits_runtime.volumes.dicom_objects.capture import make_sc
from lits_runtime.volumes.dicom_objects.drawing import Frame, picture
from lits_runtime.volumes.dicom_objects.facts import ObjectOptions
from lits_runtime.volumes.dicom_objects.identity import write_object
from support.dicom.labelled_series import ALGORITHM, Labelled, as_multi_frame, labelled
from support.dicom.programs import broken_rules


def captured(case: Labelled) -> list[Dataset]:
    def read_hu(start: int, stop: int) -> NDArray[np.float32]:
        return case.hu[start:stop]

    report = case.report(("odd values",))
    return list(make_sc(case.series, case.labels, read_hu, report, ALGORITHM, ObjectOptions()))


def coloured(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    spread: NDArray[np.bool_] = np.ptp(pixels.astype(int), axis=2) > 20
    return spread


@pytest.mark.parametrize("plane", ["axial", "prone", "coronal", "sagittal"])
def test_pictures_show_the_labels_of_canonical_slices(plane: str, tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct", plane)
    canonical = case.series.geometry.to_canonical(case.labels.T)
    shown = [index for index, one in enumerate(canonical) if one.any()]
    pictures = captured(case)
    assert len(pictures) == len(shown)
    for index, one in list(zip(shown, pictures, strict=True))[::5]:
        pixels = one.pixel_array
        assert min(pixels.shape[:2]) == 512
        rows, columns = np.nonzero(coloured(pixels))
        expected = np.nonzero(canonical[index])
        scale = np.array(pixels.shape[:2]) / canonical.shape[1:]
        for found, axis in ((rows, 0), (columns, 1)):
            edges = np.array([expected[axis].min(), expected[axis].max() + 1]) * scale[axis]
            assert [found.min(), found.max() + 1] == pytest.approx(edges, abs=2)


def test_lesions_are_filled_and_the_liver_is_outlined() -> None:
    hu, labels = np.full((64, 64), 50, np.float32), np.zeros((64, 64), np.uint8)
    labels[20:60, 10:40] = 1
    labels[30:40, 20:30] = 2
    pixels = picture(hu, labels, Frame.of(64, 64, 1, 1), ["text"])
    assert pixels.shape == (512, 512, 3)
    grey = pixels[500, 400]
    assert np.ptp(grey) == 0
    assert pixels[400, 200].tolist() == grey.tolist()  # inside the liver
    assert pixels[280, 200][0] > pixels[280, 200][2] + 30  # inside the lesion
    assert pixels[160, 200].tolist() == [0xF0, 0xE4, 0x42]
    assert pixels[240, 200].tolist() == [0xD5, 0x5E, 0x00]


def test_text_is_legible_and_sides_are_named() -> None:
    blank = np.full((512, 512), -1000, np.float32)
    labels = np.zeros((512, 512), np.uint8)
    frame = Frame.of(512, 512, 0.7, 0.7)
    without = picture(blank, labels, frame, []) > 0
    with_text = picture(blank, labels, frame, ["liver 1500 ml"]) > 0
    rows, columns = np.nonzero(with_text[:100].any(2))
    assert np.ptp(rows) >= 10
    assert 80 < np.ptp(columns) < 200
    for side in (without[:, :40], without[:, -40:]):
        assert side[240:272].any()
    assert not without[:, 40:-40].any()


def test_objects_follow_the_rules(tmp_path: Path) -> None:
    for name, change in (("slices", list), ("multi-frame", as_multi_frame)):
        case = labelled(tmp_path / name, change=change)
        path = tmp_path / f"{name}.dcm"
        pictures = captured(case)
        with path.open("wb") as file:
            write_object(file, pictures[5])
        assert broken_rules(path) == []
        assert len({one.SOPInstanceUID for one in pictures}) == len(pictures)
        assert {one.SeriesInstanceUID for one in pictures} == {pictures[0].SeriesInstanceUID}
        assert pictures[0].StudyInstanceUID == case.series.study_uid
        again = tmp_path / f"{name} again.dcm"
        with again.open("wb") as file:
            write_object(file, captured(case)[5])
        assert again.read_bytes() == path.read_bytes()
        (source,) = pictures[5].SourceImageSequence
        first = np.flatnonzero(case.labels.any((1, 2)))[0]
        one = case.series.slices[first + 5]
        assert source.ReferencedSOPInstanceUID == one.sop_instance_uid
        number = None if one.frame is None else one.frame + 1
        assert source.get("ReferencedFrameNumber") == number


def test_without_labels_there_is_one_picture(tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct")
    case.labels[:] = 0
    (one,) = captured(case)
    assert not coloured(one.pixel_array).any()
