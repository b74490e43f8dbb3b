import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from click.testing import CliRunner, Result

from lits_tools.cli.eval import main
from lits_tools.scores.pairs import case_id_of
from support.files.scored_folders import write_scored_folders
from support.networks.tiny_models import tiny_model


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scored_folders(tmp_path_factory.mktemp("eval"))


def test_two_files_as_json(folder: Path) -> None:
    found = run(
        folder / "masks/volume-2_mask.nii.gz", folder / "lits/segmentation-2.nii.gz", "--json"
    )
    assert found.exit_code == 0, found.output
    scores = json.loads(found.stdout)
    assert list(scores["cases"]) == ["2"]
    assert 0.8 < scores["cases"]["2"]["liver_dice"] < 1
    assert scores["pooled"]["liver_dice"]["value"] == scores["cases"]["2"]["liver_dice"]
    assert scores["pooled"]["liver_dice"]["low"] is None
    spacing = 400 / 64
    assert scores["cases"]["2"]["liver_mssd_mm"] == pytest.approx(spacing, rel=0.1)


@pytest.mark.slow
def test_folders_in_natural_order_with_all_outputs(folder: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / f"scores.{ending}" for ending in ("csv", "json", "html")]
    found = run(folder / "masks", folder / "lits", *[x for o in outputs for x in ("-o", o)])
    assert found.exit_code == 0, found.output
    assert "Dice per case" in found.stdout
    with outputs[0].open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"], row["case"]) for row in rows[:3]] == [
        ("case", c) for c in ["2", "5", "10"]
    ]
    assert [row["row"] for row in rows[3:]] == ["pooled", "ci_low", "ci_high"]
    assert rows[1]["lesion_assd_mm"] == "", "nothing to measure in the healthy case"
    mean = np.mean([float(row["lesion_dice"]) for row in rows[:3]])
    assert float(rows[3]["lesion_dice"]) == pytest.approx(mean)
    scores = json.loads(outputs[1].read_text())
    assert scores["cases"]["5"]["lesion_dice"] == 1
    assert scores["cases"]["5"]["lesion_recall_iou0"] is None


@pytest.mark.slow
def test_page_is_self_contained(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert run(folder / "masks", folder / "lits", "-o", page).exit_code == 0
    text = page.read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert "__" not in re.sub(r"base64,[^\"]+", "", text), "a placeholder stayed"
    assert text.count("<svg") == 4
    assert text.count('src="data:image/png;base64,') == 3
    assert text.count('<td data-value="') % 3 == 0


def test_gates(folder: Path) -> None:
    pair = (folder / "masks/volume-2_mask.nii.gz", folder / "lits/segmentation-2.nii.gz")
    assert run(*pair, "--fail-below", "liver_dice=0.5").exit_code == 0
    broken = run(*pair, "--fail-below", "liver_dice=0.999", "--fail-above", "liver_mssd_mm=1")
    assert broken.exit_code == 1
    assert re.search(r"failed: liver_dice is 0\.\d+, below 0.999", broken.stderr)
    assert "failed: liver_mssd_mm is" in broken.stderr


def test_infinite_distance_does_not_pass_a_gate(folder: Path, tmp_path: Path) -> None:
    """The mean leaves out the case without a predicted lesion; a limit must not."""
    masks = tmp_path / "masks"
    masks.mkdir()
    for path in (folder / "masks").iterdir():
        image: Any = nibabel.load(path)
        labels = np.asanyarray(image.dataobj)
        if "-2_" in path.name:
            labels = np.minimum(labels, 1)
        nibabel.save(nibabel.Nifti1Image(labels, image.affine), masks / path.name)
    found = run(masks, folder / "lits", "--fail-above", "lesion_hd95_mm=1000")
    assert found.exit_code == 1
    assert "failed: lesion_hd95_mm is infinite in 1 of 2 cases" in found.stderr
    assert "infinite in 1 of 2" in found.stdout


def only(value: int, source: Path, target: Path) -> Path:
    """The masks of a folder with nothing but one label."""
    target.mkdir()
    for path in source.glob("*_mask.nii.gz"):
        image: Any = nibabel.load(path)
        labels = np.asanyarray(image.dataobj)
        labels = np.where(labels >= value, value, 0).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(labels, image.affine), target / path.name)
    return target


def test_masks_of_lesions_get_no_liver_score_in_any_case(folder: Path, tmp_path: Path) -> None:
    """Nor where a mask of lesions is empty, as in the healthy case 5."""
    lesions = only(2, folder / "masks", tmp_path / "lesions")
    scores = json.loads(run(lesions, folder / "lits", "--json").stdout)
    assert scores["cases"]["5"]["liver_dice"] is None
    assert scores["cases"]["5"]["burden_error"] is None
    assert scores["pooled"]["liver_dice"] == {
        "value": None, "low": None, "high": None, "cases": 0, "infinite": 0
    }  # fmt: skip
    found = run(lesions, folder / "masks", folder / "lits", "--json", "--resamples", 100)
    compared = json.loads(found.stdout)["scores"]
    assert compared["liver_dice"]["minus_first"][0]["value"] is None
    assert compared["lesion_dice"]["minus_first"][0]["value"] == 0


def test_one_class_alone(folder: Path, tmp_path: Path) -> None:
    liver = only(1, folder / "masks", tmp_path / "liver")
    hint = run(liver, folder / "lits")
    assert "no prediction contains any lesion: score liver masks with --class liver" in hint.stderr
    scores = json.loads(run(liver, folder / "lits", "--class", "liver", "--json").stdout)
    values = scores["cases"]["2"]
    assert values["liver_dice"] > 0.8
    for name in ("lesion_dice", "lesion_count_gt", "lesion_recall_iou0", "burden_error"):
        assert values[name] is None, name


@pytest.mark.slow
def test_tables_and_figures_of_one_prediction(folder: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / f"scores.{ending}" for ending in ("md", "tex", "svg")]
    found = run(folder / "masks", folder / "lits", *[x for o in outputs for x in ("-o", o)])
    assert found.exit_code == 0, found.output
    assert "| Dice per case |" in outputs[0].read_text()
    assert outputs[1].read_text().count(r"\begin{tabular}") == 3
    assert outputs[2].read_text().startswith("<?xml")


def test_undefined_score_does_not_pass_a_gate(folder: Path) -> None:
    pair = (folder / "masks/volume-5_mask.nii.gz", folder / "lits/segmentation-5.nii.gz")
    found = run(*pair, "--fail-below", "lesion_recall_iou0=0.1")
    assert found.exit_code == 1
    assert "undefined" in found.stderr


@pytest.mark.parametrize("gate", ["lesion_dice", "lesion_dice=high", "lesion_dicee=0.6"])
def test_gate_that_makes_no_sense_is_a_usage_error(folder: Path, gate: str) -> None:
    found = run(folder / "masks", folder / "lits", "--fail-below", gate)
    assert found.exit_code == 2
    assert "lesion_dice" in found.stderr


def test_model_predicts_first(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(tiny_model())
    found = run(folder / "lits", folder / "lits", "--model", model, "--provider", "cpu", "--json")
    assert found.exit_code == 0, found.output
    scores = json.loads(found.stdout)
    assert len(scores["cases"]) == 3
    assert len(scores["model_sha256"]) == 64
    images: list[Any] = [
        nibabel.load(folder / f"lits/{name}-2.nii.gz") for name in ("volume", "segmentation")
    ]
    hu, reference = (np.asanyarray(image.dataobj) for image in images)
    volume_ml = (hu >= 50).sum() * scores["cases"]["2"]["liver_volume_gt_ml"]
    expected = volume_ml / (reference > 0).sum()
    assert scores["cases"]["2"]["liver_volume_pred_ml"] == pytest.approx(expected)


def test_reoriented_prediction_scores_the_same(folder: Path, tmp_path: Path) -> None:
    reference = folder / "lits/segmentation-2.nii.gz"
    turned = tmp_path / "turned-2.nii.gz"
    nibabel.save(nibabel.as_closest_canonical(nibabel.load(reference)), turned)
    scores = json.loads(run(turned, reference, "--json").stdout)
    assert scores["pooled"]["liver_dice"]["value"] == 1


def test_affines_that_disagree(folder: Path, tmp_path: Path) -> None:
    reference = folder / "lits/segmentation-2.nii.gz"
    image: Any = nibabel.load(reference)
    wrong = tmp_path / "wrong-2.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.asanyarray(image.dataobj), np.eye(4)), wrong)
    refused = run(wrong, reference)
    assert refused.exit_code == 1
    assert "--ignore-affine" in refused.stderr
    taken = run(wrong, reference, "--ignore-affine", "--json")
    assert json.loads(taken.stdout)["pooled"]["lesion_dice"]["value"] == 1


def test_bad_case_is_reported_and_the_rest_go_on(folder: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for path in (folder / "masks").iterdir():
        (masks / path.name).write_bytes(path.read_bytes())
    (masks / "volume-10_mask.nii.gz").write_bytes(b"no mask")
    found = run(masks, folder / "lits", "--json")
    assert found.exit_code == 1
    scores = json.loads(found.stdout)
    assert list(scores["cases"]) == ["2", "5"]
    assert "not a readable NIfTI" in scores["failed"]["10"]


def test_foreign_label(folder: Path, tmp_path: Path) -> None:
    image: Any = nibabel.load(folder / "lits/segmentation-2.nii.gz")
    labels = np.asanyarray(image.dataobj).copy()
    labels[0, 0, 0] = 5
    nibabel.save(nibabel.Nifti1Image(labels, image.affine), tmp_path / "odd-2.nii.gz")
    found = run(tmp_path / "odd-2.nii.gz", folder / "lits/segmentation-2.nii.gz")
    assert found.exit_code == 1
    assert "values 5; expected the labels" in found.stderr


def test_missing_prediction_is_an_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "volume-2_mask.nii.gz").write_bytes(b"")
    found = run(tmp_path, folder / "lits")
    assert found.exit_code == 1
    assert "no file for 2 of 3 cases" in found.stderr


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("segmentation-44.nii", "44"),
        ("volume-44_mask.nii.gz", "44"),
        ("test-segmentation-7.nii", "7"),
        ("submission-1.nii.gz", "1"),
        ("patient_3_pred.nii.gz", "patient_3"),
        ("segmentation.nii.gz", "segmentation"),
    ],
)
def test_case_of_a_file(name: str, case: str) -> None:
    assert case_id_of(Path(name)) == case


def test_existing_output_is_kept(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "scores.csv"
    kept.write_text("mine")
    found = run(folder / "masks", folder / "lits", "-o", kept)
    assert found.exit_code == 2
    assert kept.read_text() == "mine"
    assert run(folder / "masks", folder / "lits", "-o", tmp_path / "scores.txt").exit_code == 2


def test_json_has_no_nan(folder: Path) -> None:
    text = run(folder / "masks", folder / "lits", "--json").stdout

    def refuse(word: str) -> float:
        raise AssertionError(word)

    scores = json.loads(text, parse_constant=refuse)
    assert not any(isinstance(v, float) and math.isnan(v) for v in scores["cases"]["5"].values())
