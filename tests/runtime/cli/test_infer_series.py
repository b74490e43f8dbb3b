"""lits-infer on DICOM series: which objects are written where, reruns, refusals, and privacy."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from pydicom import Dataset, dcmread

from lits_runtime import Segmenter
from lits_runtime.batch.job import FAILED
from lits_runtime.messages import hashed_uid
from lits_runtime.volumes.dicom.find import find_series
from lits_runtime.volumes.dicom_objects.facts import ObjectOptions
from lits_runtime.volumes.dicom_objects.read_seg import read_seg
from lits_runtime.volumes.scan import Scan
from support.batches import FOREIGN, contents, invoke, litter, statuses
from support.dicom.ct import AFFINE, PATIENT_NAME, save, set_all, slices_of, uid
from support.dicom.labelled_series import PLANES, labelled, liver_with_lesions
from support.dicom.objects import litter as objects_of_others
from support.dicom.objects import with_directory
from support.files.scans import load_nifti, write_scan
from support.files.scans import save as save_nifti

HU = np.array([-900, 55, 150], np.int16)
"""Of background, liver and lesion, as the tiny model takes them."""


def body(name: str = "a", labels: Any = None, number: int = 3, **values: Any) -> list[Dataset]:
    slices = slices_of(HU[liver_with_lesions() if labels is None else labels], AFFINE, name)
    set_all(slices, SeriesNumber=number, **values)
    return slices


def brighter(slices: list[Dataset]) -> list[Dataset]:
    set_all(slices, RescaleIntercept=-979)  # 85 HU in the liver, 115 in lesions
    return slices


def name_of(folder: Path) -> str:
    (series,) = find_series(folder).series
    return series.name


def files_in(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())


def outcomes(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    save(body(), tmp_path / "study/1")
    return tmp_path / "study"


def test_a_series_gives_seg_and_report_in_a_folder_of_its_name(
    study: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = invoke(tiny_model_path, study, "-o", out, "--json")
    assert first.exit_code == 0, first.output
    (outcome,) = outcomes(first)
    name = name_of(study)
    assert (outcome["status"], outcome["scan"]) == ("done", name)
    assert outcome["mask"] == str(out / name)
    assert files_in(out) == [f"{name}/{one}" for one in ("record.json", "seg.dcm", "sr.dcm")]
    mask = read_seg(out / name / "seg.dcm").labels  # every frame is kept
    assert np.array_equal(mask, liver_with_lesions())
    report = str(dcmread(out / name / "sr.dcm"))
    assert dcmread(out / name / "seg.dcm").SOPInstanceUID in report
    before = contents(out)
    again = invoke(tiny_model_path, study, "-o", out, "--json")
    assert statuses(again) == ["skipped"] and contents(out) == before
    forced = invoke(tiny_model_path, study, "-o", out, "--json", "--force")
    assert statuses(forced) == ["done"]
    after = contents(out)
    assert after.keys() == before.keys() and litter(out) == []
    assert [one for one in after if after[one] != before[one]] in ([], [f"{name}/record.json"])


@pytest.mark.slow
def test_changed_options_replace_what_was_written_and_remove_what_is_no_more(
    study: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    everything = ("nifti", "seg", "sr", "sc", "rtstruct")
    asked = [part for one in everything for part in ("--format", one)]
    assert invoke(tiny_model_path, study, "-o", out, *asked).exit_code == 0
    folder = out / name_of(study)
    pictures = len(list((folder / "sc").iterdir()))
    assert pictures == int(liver_with_lesions().any((0, 1)).sum())
    assert files_in(folder)[:2] == ["mask.nii.gz", "record.json"]
    higher = [*asked, "--threshold", "liver=1", "--json"]  # lesions alone reach it
    assert statuses(invoke(tiny_model_path, study, "-o", out, *higher)) == ["done"]
    left = len(list((folder / "sc").iterdir()))
    assert 0 < left < pictures
    assert statuses(invoke(tiny_model_path, study, "-o", out, "--json")) == ["done"]
    assert files_in(folder) == ["record.json", "seg.dcm", "sr.dcm"]


@pytest.mark.slow
def test_each_series_of_a_folder_is_a_job_and_none_stops_another(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    archive, out = tmp_path / "archive", tmp_path / "out"
    save(body("good"), archive / "p1/ct")
    save(body("also", number=4), archive / "p2")
    gap = body("gap", number=5)
    save([*gap[:9], *gap[11:]], archive / "p3")
    objects_of_others(archive / "p2")
    write_scan(archive / "nifti/scan.nii.gz")
    result = invoke(tiny_model_path, archive, "-o", out, "--json", "--report", tmp_path / "all.csv")
    told = {one["scan"]: one for one in outcomes(result)}
    assert result.exit_code == 1 and len(told) == 4
    good, also = name_of(archive / "p1"), name_of(archive / "p2")
    assert {told[good]["status"], told[also]["status"]} == {"done"}
    failed = told.pop(str(archive))
    assert "2 slices are missing" in failed["error"] and "--fill-missing" in failed["error"]
    lost = f"series-5-{hashed_uid(uid('gap'))}"
    made = [good, also, "nifti"]
    assert sorted(path.name for path in out.iterdir()) == sorted([*made, f".{lost}{FAILED}"])
    assert len((tmp_path / "all.csv").read_text().splitlines()) > 4
    filled = invoke(tiny_model_path, archive, "-o", out, "--json", "--fill-missing")
    assert sorted(statuses(filled)) == ["done", "skipped", "skipped", "skipped"]
    assert "interpolated linearly" in filled.stderr
    assert sorted(path.name for path in out.iterdir()) == sorted([*made, lost])
    inside = archive / "results"  # results in the folder of the scans are no scans
    for expected in ("done", "skipped"):
        nested = invoke(
            tiny_model_path, archive, "-o", inside, "--json", "--format", "nifti", "--fill-missing"
        )
        assert statuses(nested) == [expected] * 4, nested.stderr
    assert len(outcomes(invoke(tiny_model_path, archive, "-o", out, "--json"))) == 4


def test_of_an_archive_or_for_one_file_the_most_fitting_series_is_taken(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    save(body("lung", number=2, ConvolutionKernel="B70f"), study / "2")
    save(body("soft", number=5, ConvolutionKernel="B30f"), study / "5")
    soft, lung = (name_of(study / number) for number in "52")
    one = tmp_path / "one.dcm"
    result = invoke(tiny_model_path, study, "-o", one)
    assert result.exit_code == 0, result.output
    assert f"{soft}: axial CT" in result.stderr and "chosen among 2 series" in result.stderr
    assert read_seg(one).series_uid == uid("soft")
    assert files_in(tmp_path)[:2] == ["one.dcm", "one.json"]
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(study.rglob("*")):
            packed.write(path, str(path.relative_to(study)))
    out = tmp_path / "out"
    wanted = invoke(tiny_model_path, archive, "-o", out, "--series", "2", "--json")
    assert [line["scan"] for line in outcomes(wanted)] == [lung]
    wrong = invoke(tiny_model_path, study, "-o", out, "--series", "9")
    assert wrong.exit_code == 1 and f"no series 9; there is: {lung}, {soft}" in wrong.stderr
    medium = tmp_path / "medium"
    with_directory(body("medium", number=7), medium)
    mask = tmp_path / "mask.nii.gz"
    assert invoke(tiny_model_path, medium / "DICOMDIR", "-o", mask).exit_code == 0
    listed = sorted((study / "5").iterdir())
    assert invoke(tiny_model_path, *listed, "-o", out, "--json").exit_code == 0
    assert np.array_equal(np.asanyarray(load_nifti(mask).dataobj), liver_with_lesions())


def test_series_are_listed(tiny_model_path: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    save(body(), study)
    gap = body("gap", number=4)
    save([*gap[:9], *gap[11:]], study / "gap")
    table = invoke(tiny_model_path, study, "--list-series")
    assert table.exit_code == 0 and table.stdout.splitlines()[0].startswith("series  slices")
    lines = outcomes(invoke(tiny_model_path, study, "--list-series", "--json"))
    assert [line["uid"] for line in lines] == [uid("a"), uid("gap")]
    assert "missing" in lines[1]["problem"]
    nothing = invoke(tiny_model_path, write_scan(tmp_path / "s/scan.nii"), "--list-series")
    assert (nothing.exit_code, "no CT series among 1 files" in nothing.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["study"], 1, "a DICOM series, into whose folder nothing is written: give -o"),
        (["scan.nii", "-o", "x.dcm"], 1, "not a DICOM series, which a SEG needs"),
        (["scan.nii", "-o", "x", "--format", "sr"], 1, "not a DICOM series, which --format sr"),
        (["study", "-o", "x.dcm", "--format", "sr"], 2, "a name of one seg file, and the formats"),
        (["scan.nii", "-o", "x", "--series", "3"], 1, "not DICOM, so that it has no series to"),
        (["few", "-o", "x"], 1, "6 slices, fewer than 10; --series names the one to segment"),
        (["study", "other", "-o", "x.dcm"], 2, "one file for several scans; give a folder"),
        (["reports", "-o", "x"], 1, "no scan in this folder (.nii, .nii.gz, .hdr with .img, DICOM"),
        (["reports/report", "-o", "x"], 1, "no CT series among 1 files"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: list[str],
    status: int,
    message: str,
    study: Path,
    tiny_model_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save(body("other"), tmp_path / "other")
    save(body("few")[:6], tmp_path / "few")
    objects_of_others(tmp_path / "reports")
    write_scan(tmp_path / "scan.nii")
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    result = invoke(tiny_model_path, *arguments)
    assert (result.exit_code, message in result.stderr) == (status, True), result.stderr
    assert contents(tmp_path) == before


def test_nothing_foreign_is_overwritten(study: Path, tiny_model_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / name_of(study)
    out.mkdir(parents=True)
    for name in ("seg.dcm", "sc/0003.dcm", "record.json"):
        file = out / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(FOREIGN)
        asked = ("-o", tmp_path / "out", "--format", "seg", "--format", "sc")
        result = invoke(tiny_model_path, study, *asked)
        assert (result.exit_code, "exists, and no record" in result.stderr) == (2, True), name
        assert contents(out) == {name: FOREIGN}
        file.unlink()
    scan = sorted((study / "1").iterdir())[0]
    scan.rename(scan.with_suffix(".dcm"))
    onto = invoke(tiny_model_path, study, "-o", scan.with_suffix(".dcm"), "--force")
    assert (onto.exit_code, "would overwrite the scan" in onto.stderr) == (2, True)


def test_without_labels_there_is_no_seg_and_it_is_said(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    study, out = tmp_path / "study", tmp_path / "out.dcm"
    save(body(), study)
    assert invoke(tiny_model_path, study, "-o", out).exit_code == 0 and out.exists()
    shutil.rmtree(study)
    save(body(labels=np.zeros_like(liver_with_lesions())), study)
    for _ in range(2):
        result = invoke(tiny_model_path, study, "-o", out)
        assert result.exit_code == 0
        assert "nothing is labelled, so there is no SEG" in result.stderr
        assert not out.exists()  # the older one showed another scan


def test_a_liver_without_lesions_has_a_report(tiny_model_path: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    save(body(labels=np.minimum(liver_with_lesions(), 1)), study)
    result = invoke(tiny_model_path, study, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    (report,) = tmp_path.rglob("sr.dcm")
    assert b"Liver, lesions included" in report.read_bytes()


def test_nobody_is_named_but_in_the_objects(tiny_model_path: Path, tmp_path: Path) -> None:
    archive, out = tmp_path / "archive", tmp_path / "out"
    person = archive / "DOE^JANE 1960" / uid("study")
    save(body(PatientName=PATIENT_NAME, SeriesDescription="Jane Doe portal"), person / "CT")
    gap = body("gap", number=4)
    save([*gap[:9], *gap[11:]], person / "gap")
    few = body("few", number=6)
    save(few[:6], person / "few")
    objects_of_others(person)
    broken = body("broken", number=5)
    paths = save(broken, person / "broken")
    paths[3].write_bytes(paths[3].read_bytes()[:-5000])
    asked = ("-o", out, "--format", "seg", "--format", "sr", "--format", "sc")
    report = tmp_path / "all.json"
    result = invoke(tiny_model_path, archive, *asked, "--report", report, "--json", "-vv")
    assert result.exit_code == 1 and "done" in statuses(result)
    texts = [result.stdout, result.stderr, report.read_text(), *map(str, out.rglob("*"))]
    texts += [path.read_text() for path in out.rglob("*.json")]
    for text in texts:
        for secret in (
            "DOE",
            "Doe",
            "Jane",
            "JANE",
            "P-4711",
            "1960",
            "A77",
            uid("study"),
            uid("a"),
        ):
            assert secret not in text, secret
    (seg,) = out.rglob("seg.dcm")
    assert dcmread(seg).PatientName == PATIENT_NAME


@pytest.mark.parametrize("plane", PLANES)
def test_masks_by_way_of_dicom_and_of_nifti_are_equal(
    plane: str, tiny_model_path: Path, tmp_path: Path
) -> None:
    case = labelled(tmp_path / "ct", plane, change=brighter)
    hu = Scan.open(case.series).load().read_stored(0, case.series.geometry.canonical_shape[0])
    scan = save_nifti(tmp_path / "scan.nii.gz", hu.astype(np.int16), case.series.geometry.affine)
    out = tmp_path / "out"
    with Segmenter.open(tiny_model_path, provider="cpu") as segmenter:
        expected = segmenter.segment(scan)
        report = segmenter.segment_file(
            case.series,
            out,
            formats=("seg", "sr", "sc", "rtstruct", "nifti"),
            objects=ObjectOptions(segment_per_lesion=True),
        )
    assert (
        np.array_equal(expected.labels.T, case.labels) and report.volumes_ml == expected.volumes_ml
    )
    assert np.array_equal(read_seg(out / "seg.dcm").on(expected.geometry), expected.labels)
    mask = load_nifti(out / "mask.nii.gz")
    assert np.array_equal(np.asanyarray(mask.dataobj), expected.labels)
    assert np.allclose(mask.affine, expected.affine)
    assert report.whole_because == "DICOM objects are made of all labels"
