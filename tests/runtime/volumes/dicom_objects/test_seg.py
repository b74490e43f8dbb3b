"""Segmentations: the same voxels for every reader, where they belong, and described."""

import errno
import logging
import warnings
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from lits_runtime.errors import OptionsError
from lits_runtime.files.atomic import NewFiles
from lits_runtime.volumes.dicom_objects.facts import Algorithm, ObjectOptions
from lits_runtime.volumes.dicom_objects.identity import write_object
from lits_runtime.volumes.dicom_objects.read_seg import read_seg
from lits_runtime.volumes.dicom_objects.seg import make_seg
from lits_runtime.volumes.dicom_objects.segments import MAX_SEGMENTS_OF_LESIONS, number_lesions
from support.dicom.ct import set_all
from support.dicom.labelled_series import (
    ALGORITHM,
    PLANES,
    Labelled,
    as_multi_frame,
    labelled,
    with_patient,
    without_one,
)
from support.dicom.programs import broken_rules
from support.dicom.segs import by_dcmqi, by_highdicom, by_pydicom, written
from support.files.full_disk import largest_file

CASES: dict[str, dict[str, Any]] = {
    **{plane: {"plane": plane} for plane in PLANES},
    "tilted": {"shear": 0.25},
    "tilted, head to feet": {"plane": "head to feet", "shear": -0.2},
    "multi-frame": {"change": as_multi_frame},
    "filled in": {"change": without_one, "fill_missing": True},
}
TYPES = ("binary", "labelmap")


def seg_of(case: Labelled, path: Path, **options: Any) -> Path:
    return written(make_seg(case.series, case.labels, ALGORITHM, ObjectOptions(**options)), path)


@pytest.mark.parametrize("seg_type", TYPES)
@pytest.mark.parametrize("name", CASES)
def test_voxels_are_where_they_were(name: str, seg_type: str, tmp_path: Path) -> None:
    """Through DICOM as through NIfTI: the reference is on a grid that never was in DICOM."""
    case = labelled(tmp_path / "ct", **CASES[name])
    path = seg_of(case, tmp_path / "seg.dcm", seg_type=seg_type)
    mask = read_seg(path)
    assert not mask.ignored
    assert mask.series_uid == case.series.uid
    assert np.array_equal(mask.on(case.geometry), case.reference)
    assert np.array_equal(by_pydicom(path, case.geometry), case.reference)
    assert seg_type == "labelmap" or broken_rules(path) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("tilted")])
def test_dcmqi_and_highdicom_read_the_same_voxels(name: str, tmp_path: Path) -> None:
    """But for tilted series, which neither can hold in a volume."""
    case = labelled(tmp_path / "ct", **CASES[name])
    path = seg_of(case, tmp_path / "seg.dcm")
    assert np.array_equal(by_dcmqi(path, tmp_path / "itk", case.geometry), case.reference)
    assert np.array_equal(by_highdicom(path, case.geometry), case.reference)


@pytest.mark.parametrize("name", CASES)
def test_frames_refer_to_the_images_at_their_place(name: str, tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct", **CASES[name])
    seg: Any = make_seg(case.series, case.labels, ALGORITHM, ObjectOptions())
    sources = {
        (one.sop_instance_uid, one.frame): one.position
        for one in case.series.slices
        if not one.filled
    }
    referred = set()
    for frame in seg.PerFrameFunctionalGroupsSequence:
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        if not frame.DerivationImageSequence:
            assert any(
                one.filled and np.allclose(one.position, position) for one in case.series.slices
            )
            continue
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        number = source.get("ReferencedFrameNumber")
        key = (str(source.ReferencedSOPInstanceUID), None if number is None else number - 1)
        assert np.allclose(sources[key], position, atol=1e-6)
        referred.add(key)
    assert referred == set(sources)
    assert len(seg.PerFrameFunctionalGroupsSequence) == 2 * len(case.series.slices)
    (series,) = seg.ReferencedSeriesSequence
    objects = [str(one.ReferencedSOPInstanceUID) for one in series.ReferencedInstanceSequence]
    assert sorted(objects) == sorted({uid for uid, _ in sources})


def test_what_segments_are_is_coded(tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct", change=with_patient)
    seg: Any = make_seg(case.series, case.labels, ALGORITHM, ObjectOptions())
    liver, lesion = seg.SegmentSequence
    for one, category, kind in ((liver, "123037004", "10200004"), (lesion, "49755003", "52988006")):
        assert one.SegmentedPropertyCategoryCodeSequence[0].CodeValue == category
        assert one.SegmentedPropertyTypeCodeSequence[0].CodeValue == kind
        assert one.SegmentAlgorithmType == "AUTOMATIC"
        (made_by,) = one.SegmentationAlgorithmIdentificationSequence
        assert (made_by.AlgorithmName, made_by.AlgorithmVersion) == (ALGORITHM.name, "0.2.0")
        assert ALGORITHM.model_sha256 in made_by.AlgorithmParameters
        assert len(one.RecommendedDisplayCIELabValue) == 3
    assert lesion.AnatomicRegionSequence[0].CodeValue == "10200004"
    neoplasm: Any = make_seg(
        case.series, case.labels, ALGORITHM, ObjectOptions(lesion_code="neoplasm")
    )
    kinds = neoplasm.SegmentSequence[1].SegmentedPropertyTypeCodeSequence
    assert kinds[0].CodeValue == "108369006"
    assert (seg.PatientName, seg.PatientSex, seg.StudyID) == ("Doe^Jane", "F", "7")
    assert seg.StudyInstanceUID == case.series.study_uid
    assert seg.FrameOfReferenceUID == case.series.frame_of_reference_uid
    assert seg.Modality == "SEG"
    assert {one.Manufacturer for one in seg.ContributingEquipmentSequence} >= {"lits-toolkit"}


@pytest.mark.parametrize("seg_type", TYPES)
def test_each_lesion_may_be_a_segment(seg_type: str, tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct", "head to feet")
    options = {"seg_type": seg_type, "segment_per_lesion": True}
    path = seg_of(case, tmp_path / "seg.dcm", **options)
    seg = highdicom.seg.segread(path)
    names = [one.SegmentLabel for one in seg.SegmentSequence if one.SegmentNumber]
    assert names == ["Liver", "Lesion 1", "Lesion 2", "Lesion 3"]
    found = by_pydicom(path, case.series.geometry)
    voxels = np.bincount(found.ravel(), minlength=5)[2:] * case.series.geometry.voxel_ml
    assert voxels == pytest.approx([one.volume_ml for one in case.report().lesions])
    assert np.array_equal(read_seg(path).on(case.geometry), case.reference)


def test_lesions_are_numbered_as_they_are_measured(tmp_path: Path) -> None:
    """Largest first; of equally large ones the first in canonical order, however it is stored."""
    for plane in PLANES:
        case = labelled(tmp_path / plane, plane)
        case.labels[:] = 0
        canonical = case.series.geometry.to_canonical(case.labels.T)
        for place in ((3, 4, 5), (3, 4, 9), (3, 8, 1), (9, 1, 1)):
            canonical[place] = 2
        numbers = number_lesions(case.labels, case.series.geometry)
        for number, lesion in enumerate(case.report().lesions, 1):
            inside = np.argwhere(numbers.numbers == number)[0] + [one.start for one in numbers.box]
            place_mm = case.series.geometry.affine @ [*inside[::-1], 1]
            assert place_mm[:3] == pytest.approx(lesion.centroid_mm)
            assert numbers.slices_of(number).tolist() == [inside[0]]


def test_specks_share_the_last_segment(tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct")
    case.labels[:] = 0
    case.labels[::2, ::2, ::2] = 2
    path = seg_of(case, tmp_path / "seg.dcm", segment_per_lesion=True)
    segments = pydicom.dcmread(path).SegmentSequence
    assert len(segments) == MAX_SEGMENTS_OF_LESIONS
    count = 10 * 18 * 14
    assert segments[-1].SegmentLabel == f"Lesions {MAX_SEGMENTS_OF_LESIONS} to {count}"
    assert np.array_equal(read_seg(path).on(case.series.geometry).T, case.labels)


def test_a_class_without_voxels_has_no_segment(tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct")
    case.labels[case.labels == 2] = 1
    seg: Any = make_seg(case.series, case.labels, ALGORITHM, ObjectOptions())
    assert [one.SegmentLabel for one in seg.SegmentSequence] == ["Liver"]
    assert seg.ContentDescription == "Liver and lesions; no lesion found"
    case.labels[case.labels == 1] = 2
    path = seg_of(case, tmp_path / "seg.dcm")
    assert pydicom.dcmread(path).ContentDescription == "Liver and lesions; no liver found"
    assert np.array_equal(read_seg(path).on(case.series.geometry).T, case.labels)
    case.labels[:] = 0
    assert make_seg(case.series, case.labels, ALGORITHM, ObjectOptions()) is None


def test_a_rerun_gives_the_same_bytes(tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct")
    for options in ({}, {"seg_type": "labelmap"}, {"segment_per_lesion": True}):
        one, other = (seg_of(case, tmp_path / name, **options) for name in "ab")
        assert one.read_bytes() == other.read_bytes()


def test_uids_follow_from_source_model_options_and_labels(tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct")

    def uids(algorithm: Algorithm = ALGORITHM, **options: Any) -> tuple[str, str]:
        seg: Any = make_seg(case.series, case.labels, algorithm, ObjectOptions(**options))
        return seg.SeriesInstanceUID, seg.SOPInstanceUID

    first = uids()
    another_model = Algorithm(ALGORITHM.name, ALGORITHM.version, "f" * 64)
    for others in (uids(another_model), uids(lesion_code="neoplasm")):
        assert not set(first) & set(others)
    case.labels[3, 3, 3] = 1
    series_uid, instance_uid = uids()
    assert series_uid == first[0]
    assert instance_uid != first[1]


def test_odd_patient_data_is_copied_and_told_to_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = "Secret^Name=^^^^^^" + "x" * 70

    def change(slices: list[Dataset]) -> list[Dataset]:
        set_all(slices, PatientName=name, PatientBirthDate="01.02.1960", PatientSex="w")
        return slices

    with pydicom.config.disable_value_validation():
        case = labelled(tmp_path / "ct", change=change)
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        path = seg_of(case, tmp_path / "seg.dcm")
    with pydicom.config.disable_value_validation():
        seg = pydicom.dcmread(path)
        assert str(seg.PatientName) == name
        assert (seg.PatientBirthDate, seg.PatientSex) == ("", "")
    for told in ("Secret", "P-4711", case.series.uid, case.series.study_uid):
        assert told not in caplog.text


def test_uids_that_anonymisation_removed_are_derived(tmp_path: Path) -> None:
    def change(slices: list[Dataset]) -> list[Dataset]:
        set_all(slices, FrameOfReferenceUID=None, StudyInstanceUID="", SeriesInstanceUID="")
        return slices

    case = labelled(tmp_path / "ct", change=change)
    path = seg_of(case, tmp_path / "seg.dcm")
    seg = pydicom.dcmread(path)
    assert broken_rules(path) == []
    derived = {seg.FrameOfReferenceUID, seg.StudyInstanceUID, read_seg(path).series_uid}
    assert len(derived) == 3
    assert all(uid.startswith("2.25.") for uid in derived)
    assert np.array_equal(read_seg(path).on(case.geometry), case.reference)
    assert path.read_bytes() == seg_of(case, tmp_path / "again.dcm").read_bytes()


@pytest.mark.parametrize("characters", ["ISO_IR 100", ["", "ISO 2022 IR 87"], "ISO_IR 192", None])
def test_names_in_any_script_are_kept(characters: Any, tmp_path: Path) -> None:
    name = {
        "ISO_IR 100": "Äneas^Rüdiger",
        "ISO_IR 192": "Wang^XiaoDong=王^小东",
        None: "Doe^Jane",
    }.get(characters if isinstance(characters, str | None) else "", "Yamada^Tarou=山田^太郎")

    def change(slices: list[Dataset]) -> list[Dataset]:
        set_all(slices, PatientName=name)
        for one in slices:
            if characters is not None:
                one.SpecificCharacterSet = characters
        return slices

    case = labelled(tmp_path / "ct", change=change)
    assert str(pydicom.dcmread(seg_of(case, tmp_path / "seg.dcm")).PatientName) == name


def test_options_that_there_are_not() -> None:
    with pytest.raises(
        OptionsError, match="seg_type 'fractional' of a DICOM object: expected binary"
    ):
        ObjectOptions(seg_type="fractional")


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """pydicom repeats an error of the file as text, with the traceback in it."""
    case = labelled(tmp_path / "ct")
    seg = make_seg(case.series, case.labels, ALGORITHM, ObjectOptions())
    assert seg is not None
    path = tmp_path / "out" / "seg.dcm"
    path.parent.mkdir()
    with pytest.raises(OSError, match="make room, or choose another output") as raised:  # noqa: SIM117
        with largest_file(1000), NewFiles() as new:
            write_object(new.open(path), seg)
    assert raised.value.errno == errno.EFBIG
    assert "\n" not in str(raised.value) and "Traceback" not in str(raised.value)
    assert not list(path.parent.iterdir())
