"""Which of several series is taken, why, and how others are asked for."""

from pathlib import Path
from typing import Any

import pytest

from lits_runtime import VolumeError
from lits_runtime.messages import hashed_uid
from lits_runtime.volumes.dicom.choice import choose_series, kernel_of, phase_of
from lits_runtime.volumes.dicom.find import FoundSeries, find_series
from lits_runtime.volumes.dicom.series import Acquisition, Series
from lits_runtime.volumes.dicom.table import rows, table
from support.dicom.ct import AFFINE, PATIENT_NAME, body_hu, save, set_all, slices_of, uid
from support.dicom.faults import FAULTS

HU = body_hu((24, 20, 44))


def study(folder: Path, **series: dict[str, Any]) -> FoundSeries:
    """Series of 44 slices in steps of 2.5 mm; `every` keeps each N-th."""
    for number, (name, tags) in enumerate(series.items(), 1):
        step = tags.pop("every", 1)
        affine = AFFINE.copy()
        affine[:3, 2] *= step
        slices = slices_of(HU[..., ::step], affine, name=name)
        set_all(slices, SeriesNumber=number, **tags)
        save(slices, folder / name)
    return find_series(folder)


def test_the_portal_venous_soft_series_of_a_fitting_step_is_taken(tmp_path: Path) -> None:
    found = study(
        tmp_path,
        native={"SeriesDescription": "Abdomen nativ 2.5 B30f", "ConvolutionKernel": "B30f"},
        arterial={"SeriesDescription": "Leber art. 2.5", "ConvolutionKernel": "B30f"},
        thick={"SeriesDescription": "Leber portalvenös", "ConvolutionKernel": "B30f", "every": 4},
        sharp={"SeriesDescription": "Leber portalvenös", "ConvolutionKernel": "B70f"},
        wanted={
            "SeriesDescription": f"{PATIENT_NAME} portalven\u00f6s",
            "ConvolutionKernel": "B30f",
        },
        mip={"SeriesDescription": "pv MIP", "ImageType": ["DERIVED", "SECONDARY", "MIP"]},
        late={"SeriesDescription": "Leber spät", "ConvolutionKernel": "B30f"},
    )
    chosen = choose_series(found)
    assert chosen.series.uid == uid("wanted")
    name = f"series-5-{hashed_uid(uid('wanted'))}"
    assert chosen.reason.startswith(
        f"{name}: axial CT, portal venous by its description, soft kernel, 44 slices in steps of "
        "2.5 mm; chosen among 7 series (others: series-3-"
    )
    assert PATIENT_NAME not in chosen.reason and uid("wanted") not in chosen.reason


def test_a_refused_series_of_its_size_is_named_beside_the_chosen(tmp_path: Path) -> None:
    FAULTS["one slice missing"](tmp_path / "gap")
    save(slices_of(body_hu(), name="b"), tmp_path / "b")
    chosen = choose_series(find_series(tmp_path))
    assert chosen.series.uid == uid("b")
    assert "; refused: series-3-" in chosen.reason and "1 slice is missing" in chosen.reason


def test_series_are_asked_for_by_uid_number_or_name(tmp_path: Path) -> None:
    found = study(tmp_path, one={}, two={})
    for wanted in ("2", uid("two"), hashed_uid(uid("two")), f"series-2-{hashed_uid(uid('two'))}"):
        assert choose_series(found, wanted).series.uid == uid("two")
    with pytest.raises(VolumeError, match=r"^x: no series 7; there is: series-1-\w{8}, series-2-"):
        choose_series(found, "7", "x")


def test_volumes_of_one_series_have_numbers_of_their_own(tmp_path: Path) -> None:
    FAULTS["two phases in one series"](tmp_path)
    found = find_series(tmp_path)
    assert choose_series(found, "3.2").series == found.series[1]
    with pytest.raises(
        VolumeError, match=r"several series 3: series-3-\w+-1of2, series-3-\w+-2of2"
    ):
        choose_series(found, "3")


def test_a_refused_series_that_is_asked_for_says_why(tmp_path: Path) -> None:
    FAULTS["spacing varies"](tmp_path)
    with pytest.raises(VolumeError, match=r"series-3-\w{8}: steps of 2.5 to 3.2 mm"):
        choose_series(find_series(tmp_path), "3")


def test_the_table_lists_what_is_there(tmp_path: Path) -> None:
    FAULTS["one slice missing"](tmp_path / "gap")
    study(tmp_path, pv={"SeriesDescription": "Abdomen\x1b pv", "ConvolutionKernel": "STANDARD"})
    found = find_series(tmp_path)
    first, last = rows(found)
    assert first["uid"] == uid("pv") and first["spacing_mm"] == [0.75, 0.75, 2.5]
    assert (first["phase"], first["kernel"], first["plane"]) == ("portal venous", "soft", "axial")
    assert last["problem"].startswith("1 slice is missing")
    lines = table(found).splitlines()
    assert lines[0].split()[:3] == ["series", "slices", "step_mm"]
    assert lines[1].startswith("1       44      2.5")
    assert "\x1b" not in table(found)


@pytest.mark.parametrize(
    ("description", "phase"),
    [
        ("Abd PV 3.0 Br36", "portal venous"),
        ("ABDOMEN PORTO-VEINEUX", "portal venous"),
        ("fase portale", "portal venous"),
        ("Fase venosa portal", "portal venous"),
        ("Leber 70s", "portal venous"),
        ("上腹部门静脉期", "portal venous"),
        ("портальная фаза", "portal venous"),
        ("Arterielle Phase", "arterial"),
        ("temps artériel", "arterial"),
        ("动脉期", "arterial"),
        ("Liver delayed 5 min", "late"),
        ("temps tardif", "late"),
        ("Spätphase 180 s", "late"),
        ("sans injection", "native"),
        ("non-contrast", "native"),
        ("Abdomen nativ", "native"),
        ("平扫", "native"),
        ("Thorax Abdomen 2.0", ""),
    ],
)
def test_phases_are_read_in_several_languages(description: str, phase: str) -> None:
    assert phase_of(made(texts=(description,))) == phase


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        *[(one, "soft") for one in ("B30f", "Br36d/3", "I31f", "STANDARD", "SOFT", "FC08", "B")],
        *[(one, "sharp") for one in ("B70f", "Bl64", "LUNG", "BONEPLUS", "FC51", "YC")],
        ("", ""),
    ],
)
def test_kernels_of_the_vendors(kernel: str, kind: str) -> None:
    assert kernel_of(made(kernel=kernel)) == kind


def made(**acquisition: Any) -> Series:
    from lits_runtime.volumes.geometry import Geometry

    geometry = Geometry((4, 4, 4), AFFINE)
    texts = ("", "", "", None, "", (), (1, 0, 0, 0, 1, 0), geometry, ())
    return Series(*texts, acquisition=Acquisition(**acquisition))


def test_series_without_uids_have_names_of_their_own(tmp_path: Path) -> None:
    """Anonymisation may empty all UIDs; results are named for the series all the same."""
    for name, time in (("a", "101500"), ("b", "101530")):
        slices = slices_of(HU, name=name)
        set_all(slices, SeriesInstanceUID="", StudyInstanceUID="", AcquisitionTime=time)
        save(slices, tmp_path / name)
    one, other = (find_series(tmp_path / name).series[0] for name in "ab")
    assert one.uid == other.uid == ""
    assert one.name != other.name
    assert find_series(tmp_path / "a").series[0].name == one.name
