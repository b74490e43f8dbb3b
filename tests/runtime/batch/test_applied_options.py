"""Records hold what was applied, the model's part included; another result is made again."""

import json
from pathlib import Path

import numpy as np
import pytest

from lits_runtime.model.checked_file import check
from support.batches import invoke
from support.files.scans import save, write_scan
from support.networks.tiny_models import tiny_model

MODEL = {"postprocessing": {"keep_largest_liver": True, "min_lesion_ml": 0.5}, "search_mm": 5}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(tiny_model(MODEL))
    return path


def done_again(model: Path, scan: Path, *options: str) -> bool:
    result = invoke(model, scan, *options)
    assert result.exit_code == 0, result.output
    return "done before" not in result.stderr


def record_of(scan: Path) -> Path:
    return scan.with_name("scan_mask.json")


def test_what_gives_the_same_result_is_not_done_again(model: Path, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz", shape=(60, 50, 12))
    assert done_again(model, scan)
    record = json.loads(record_of(scan).read_text())
    assert record["settings"] == {
        "keep_largest_liver": True,
        "drop_lesions_outside_liver": False,
        "min_lesion_ml": 0.5,
        "min_liver_contact": 0.0,
        "thresholds": {},
        "tta": False,
        "search_mm": 5.0,
        "interpolation_mm": 0.0,
        "strict": False,
        "mask_kind": "labels",
        "probability": False,
    }
    assert record["slices_looked_at"] == 12
    same: tuple[tuple[str, ...], ...] = (
        (),
        ("--keep-largest-liver",),
        ("--no-drop-lesions-outside-liver", "--min-lesion-ml", "0.5"),
        ("--no-postprocessing", "--keep-largest-liver", "--min-lesion-ml", "0.5"),
    )
    for options in same:
        assert not done_again(model, scan, *options), options
    other: tuple[tuple[str, ...], ...] = (
        ("--no-search",),
        ("--no-search", "--no-postprocessing"),
        ("--no-search", "--min-lesion-ml", "0"),
        ("--no-search", "--min-liver-contact", "0.5"),
        ("--no-search", "--no-keep-largest-liver"),
    )
    for options in other:
        assert done_again(model, scan, *options), options
    record = json.loads(record_of(scan).read_text())
    assert record["settings"]["search_mm"] == 0
    assert record["settings"]["keep_largest_liver"] is False


def test_probabilities_switch_the_search_off(model: Path, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz", shape=(60, 50, 12))
    assert done_again(model, scan, "--probability", str(tmp_path / "p.nii.gz"))
    assert json.loads(record_of(scan).read_text())["settings"]["search_mm"] == 0


@pytest.mark.parametrize("searches", [False, True])
def test_a_record_from_before_the_search_stands_where_there_is_none(
    searches: bool, tmp_path: Path
) -> None:
    model, scan = tmp_path / "model.onnx", write_scan(tmp_path / "scan.nii.gz")
    model.write_bytes(tiny_model({"search_mm": 5} if searches else {}))
    assert done_again(model, scan)
    record = json.loads(record_of(scan).read_text())
    del record["settings"]["search_mm"], record["settings"]["interpolation_mm"]
    del record["slices_looked_at"]
    record_of(scan).write_text(json.dumps(record))
    assert done_again(model, scan) is searches


def test_a_verbose_run_tells_how_many_slices_the_model_saw(model: Path, tmp_path: Path) -> None:
    affine = np.diag([-6.0, -6.0, 1.0, 1.0])
    scan = save(tmp_path / "scan.nii", np.full((12, 11, 30), -900, np.int16), affine)
    result = invoke(model, scan, "-v")
    assert "scan.nii: the model saw 7 of 30 slices" in result.stderr  # 0, 5, ... 25, and 29
    assert "the model saw" not in invoke(model, scan, "-v", "--no-search").stderr


def test_interpolation_is_part_of_the_settings_and_can_be_switched_off(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(tiny_model({"interpolation_mm": 4}))
    scan = save(
        tmp_path / "scan.nii",
        np.full((12, 11, 30), -900, np.int16),
        np.diag([-6.0, -6.0, 1.0, 1.0]),
    )
    assert "the model saw 9 of 30 slices" in invoke(model, scan, "-v").stderr
    assert json.loads(record_of(scan).read_text())["settings"]["interpolation_mm"] == 4
    assert not done_again(model, scan)
    assert "the model saw" not in invoke(model, scan, "-v", "--no-interpolation").stderr
    assert json.loads(record_of(scan).read_text())["settings"]["interpolation_mm"] == 0


def test_the_report_says_how_many_slices_were_looked_at(model: Path, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz", shape=(60, 50, 12))
    assert done_again(model, scan, "--report", str(tmp_path / "report.json"))
    (outcome,) = json.loads((tmp_path / "report.json").read_text())
    assert outcome["record"]["slices_looked_at"] == 12
    assert (
        outcome["record"]["settings"]["search_mm"] == check(model.read_bytes()).metadata.search_mm
    )
