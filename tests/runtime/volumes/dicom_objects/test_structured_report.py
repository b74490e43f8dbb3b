"""Structured reports: dcmtk and dcmqi give back what was measured."""

from pathlib import Path
from typing import Any

import pydicom
import pytest
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from lits_runtime.volumes.dicom_objects import codes as our
from lits_runtime.volumes.dicom_objects.facts import ObjectOptions
from lits_runtime.volumes.dicom_objects.identity import write_object
from lits_runtime.volumes.dicom_objects.report import make_sr
from lits_runtime.volumes.dicom_objects.seg import make_seg
from support.dicom.labelled_series import ALGORITHM, Labelled, as_multi_frame, labelled
from support.dicom.programs import broken_rules, report_by_dcmqi, run

WARNINGS = ("values from -160 to 240, no air", "the liver reaches the upper end")


def report_of(case: Labelled, path: Path, **options: Any) -> Path:
    chosen = ObjectOptions(**options)
    seg = make_seg(case.series, case.labels, ALGORITHM, chosen)
    figures = case.report(WARNINGS)
    with path.open("wb") as file:
        write_object(file, make_sr(case.series, case.labels, seg, figures, ALGORITHM, chosen))
    return path


def values(group: Any) -> dict[str, float]:
    return {one["quantity"]["CodeValue"]: float(one["value"]) for one in group["measurementItems"]}


@pytest.mark.parametrize("options", [{}, {"segment_per_lesion": True}], ids=["all", "each"])
@pytest.mark.parametrize("change", [list, as_multi_frame], ids=["slices", "multi-frame"])
def test_dcmqi_gives_the_figures_back(change: Any, options: Any, tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct", change=change)
    path = report_of(case, tmp_path / "sr.dcm", **options)
    assert broken_rules(path) == []
    summary, liver, *lesions = report_by_dcmqi(path, tmp_path)["Measurements"]
    report = case.report()
    assert values(summary) == pytest.approx(
        {
            "LESIONS": 3,
            codes.SCT.Volume.value: report.volumes_ml["liver"],
            "LESIONVOLUME": report.volumes_ml["lesion"],
            "BURDEN": report.tumour_burden_percent,
        },
        abs=1e-6,
    )
    told = [one["conceptValue"] for one in summary["qualitativeEvaluations"]]
    assert told == [f"Warning: {one}" for one in WARNINGS]
    assert values(liver) == pytest.approx({codes.SCT.Volume.value: report.volumes_ml["liver"]})
    assert liver["ReferencedSegment"] == 1
    assert len({one["TrackingUniqueIdentifier"] for one in lesions}) == 3
    for number, (found, lesion) in enumerate(zip(lesions, report.lesions, strict=True), 1):
        assert found["TrackingIdentifier"] == f"Lesion {number}"
        assert found["ReferencedSegment"] == (1 + number if options else 2)
        assert values(found) == pytest.approx(
            {
                codes.SCT.Volume.value: lesion.volume_ml,
                codes.SCT.LongAxis.value: lesion.longest_axial_diameter_mm,
                codes.DCM.AttenuationCoefficient.value: lesion.mean_hu,
                "PROBABILITY": lesion.mean_probability,
            },
            abs=1e-6,
        )


def test_a_lesion_names_the_images_that_it_is_in(tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct")
    sr = pydicom.dcmread(report_of(case, tmp_path / "sr.dcm"))
    groups = [
        one
        for one in sr.ContentSequence[-1].ContentSequence
        if one.ContentSequence[0].TextValue.startswith("Lesion")
    ]
    lengths = []
    for group, lesion in zip(groups, case.report().lesions, strict=True):
        volume = next(one for one in group.ContentSequence if one.ValueType == "NUM")
        images = [
            str(one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
            for one in volume.ContentSequence
            if one.ValueType == "IMAGE"
        ]
        first, last = lesion.slices
        expected = case.series.slices[first : last + 1]
        assert images == [one.sop_instance_uid for one in expected]
        lengths.append(len(images))
    assert lengths == [5, 4, 1]


def test_dsrdump_shows_the_volumes(tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct", "coronal")
    told = run("dsrdump", report_of(case, tmp_path / "sr.dcm"))
    for volume_ml in (*case.report().volumes_ml.values(), case.report().lesions[0].volume_ml):
        assert f'="{round(volume_ml, 6)}" (cm3,UCUM,"cubic centimeter")' in told
    assert "Verification Flag   : UNVERIFIED" in told


def test_without_labels_there_is_a_report_all_the_same(tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct")
    case.labels[:] = 0
    path = report_of(case, tmp_path / "sr.dcm")
    assert broken_rules(path) == []
    (summary,) = report_by_dcmqi(path, tmp_path)["Measurements"]
    assert values(summary) == {"LESIONS": 0, codes.SCT.Volume.value: 0, "LESIONVOLUME": 0}


def test_a_rerun_gives_the_same_bytes(tmp_path: Path) -> None:
    case = labelled(tmp_path / "ct")
    one, other = (report_of(case, tmp_path / name).read_bytes() for name in "ab")
    assert one == other


def test_codes_are_those_of_the_dictionaries() -> None:
    """Numbers are compared; meanings differ in case."""
    known = {
        (code.scheme_designator, code.value): code.meaning
        for scheme in (codes.SCT, codes.DCM, codes.UCUM, codes.LN)
        for name in scheme.dir()
        for code in [getattr(scheme, name)]
    }
    ours = [one for one in vars(our).values() if isinstance(one, Code | CodedConcept)]
    ours += our.LESIONS.values()
    assert len(ours) > 20
    for code in ours:
        if code.scheme_designator != our.SCHEME:
            assert (code.scheme_designator, code.value) in known, code.meaning
    for value, name in (("10200004", "Liver"), ("52988006", "Lesion"), ("108369006", "Neoplasm")):
        assert getattr(codes.SCT, name).value == value
