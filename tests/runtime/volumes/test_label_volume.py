"""Masks whose labels a writer's scaling has put off, in every command that reads masks."""

import json
import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from lits_runtime.errors import DatasetError
from lits_runtime.volumes.label_volume import read_labels, to_labels
from lits_tools.cli.eval import main as eval_main
from lits_tools.view.view_data import open_view
from lits_train.data.cases import check_case, find_cases
from lits_train.data.examine import examine, files_of
from lits_train.samples.dataset import SliceDataset
from lits_train.settings.recipe import RECIPES
from support.files.scans import load_nifti


@pytest.fixture
def case(tmp_path: Path) -> tuple[Path, Path]:
    """Volume and mask of a case with two lesions."""
    labels = np.zeros((24, 20, 8), np.uint8)
    labels[3:18, 4:16, 1:7] = 1
    labels[5:8, 6:9, 2:4] = labels[12:15, 6:12, 3:6] = 2
    hu = np.random.default_rng(3).integers(-1000, 300, labels.shape).astype(np.int16)
    paths = tmp_path / "volume-3.nii", tmp_path / "segmentation-3.nii"
    for path, values in zip(paths, (hu, labels), strict=True):
        nib.save(nib.Nifti1Image(values, np.diag([-0.8, -0.8, 2.0, 1.0])), path)
    return paths


def with_labels(mask: Path, labels: NDArray[Any], path: Path | None = None) -> Path:
    path = path or mask
    nib.save(nib.Nifti1Image(labels, load_nifti(mask).affine), path)
    return path


def labels_of(mask: Path) -> NDArray[np.uint8]:
    labels: NDArray[np.uint8] = np.asanyarray(load_nifti(mask).dataobj).astype(np.uint8)
    return labels


@pytest.mark.parametrize("off", [-5e-4, -2e-5, 2e-5, 5e-4])
def test_labels_a_little_off_are_those_labels_everywhere(
    off: float, case: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    volume, mask = case
    labels = labels_of(mask)
    assert set(np.unique(labels)) == {0, 1, 2}
    sound = check_case(find_cases(mask.parent)[0])
    sample = SliceDataset([sound], RECIPES["default"].override(size=64))
    wanted = [sample[number]["labels"].numpy() for number in range(sound.slices)]
    with_labels(mask, labels.astype(np.float32) + np.float32(off))
    with caplog.at_level(logging.WARNING):
        found = read_labels(mask)
    assert "off whole numbers and were rounded" in caplog.text
    np.testing.assert_array_equal(found.geometry.from_canonical(found.labels), labels)
    np.testing.assert_array_equal(open_view(volume, mask).labels, found.labels)
    checked = check_case(find_cases(mask.parent)[0])
    np.testing.assert_array_equal(checked.label_counts, sound.label_counts)
    assert "were rounded" in checked.notes[-1]
    rounded = SliceDataset([checked], RECIPES["default"].override(size=64))
    for number, expected in enumerate(wanted):
        np.testing.assert_array_equal(rounded[number]["labels"].numpy(), expected)
    report = examine(files_of(mask.parent)[0])
    assert not report.problems
    assert any("were rounded" in warning for warning in report.warnings)
    assert report.lesions


@pytest.mark.parametrize("value", [0.5, 1.002, 2.9, 3.0, -1.0, -0.002, 255.0])
def test_other_values_are_refused_everywhere(value: float, case: tuple[Path, Path]) -> None:
    _, mask = case
    labels = labels_of(mask).astype(np.float32)
    labels[5, 5, 5] = value
    with_labels(mask, labels)
    message = rf"values {value:g}; expected the labels 0 background, 1 liver and 2 lesion"
    with pytest.raises(DatasetError, match=message):
        read_labels(mask)
    with pytest.raises(DatasetError, match=message):
        check_case(find_cases(mask.parent)[0])
    with pytest.raises(DatasetError, match=message):
        to_labels(labels, "mask")


def evaluated(predicted: Path, reference: Path, *options: object) -> tuple[dict[str, Any], str]:
    found = CliRunner().invoke(eval_main, [str(x) for x in (predicted, reference, *options)])
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout) if "--json" in options else {}, found.stdout + found.stderr


@pytest.mark.slow
def test_lits_eval_does_not_score_the_liver_of_masks_of_lesions(
    case: tuple[Path, Path], tmp_path: Path
) -> None:
    _, reference = case
    labels = labels_of(reference)
    lesions = with_labels(
        reference, np.where(labels == 2, 2, 0).astype(np.uint8), tmp_path / "p.nii"
    )
    for pair in ((lesions, reference), (reference, lesions), (lesions, lesions)):
        scores, text = evaluated(*pair, "--json")
        (values,) = scores["cases"].values()
        assert values["liver_dice"] is values["liver_volume_gt_ml"] is None
        assert values["lesion_dice"] == 1
        assert scores["pooled"]["liver_dice"]["value"] is None
        assert "the liver and the tumour burden are not scored" in text
        assert "the liver is not scored in any case" in text
    outputs = [tmp_path / f"scores.{ending}" for ending in ("csv", "html")]
    _, text = evaluated(lesions, reference, *(x for path in outputs for x in ("-o", path)))
    row = next(line for line in text.splitlines() if line.lstrip("│ ").startswith("3"))
    assert row.split("│")[2].strip() == "-"
    assert "liver_dice" in outputs[0].read_text()


def test_lits_eval_says_that_all_masks_are_empty(case: tuple[Path, Path], tmp_path: Path) -> None:
    _, reference = case
    empty = with_labels(reference, np.zeros_like(labels_of(reference)), tmp_path / "p.nii")
    scores, text = evaluated(empty, empty, "--json")
    assert scores["pooled"]["lesion_dice"]["value"] == 1
    assert "the prediction is empty" in text
    assert "no mask contains any lesion: its Dice of 1 is that of empty masks" in text
    scores, text = evaluated(empty, reference, "--json")
    assert scores["pooled"]["liver_dice"]["value"] == 0
    assert "no mask shows" not in text


def test_a_view_of_masks_of_lesions_has_no_liver_dice(
    case: tuple[Path, Path], tmp_path: Path
) -> None:
    volume, mask = case
    labels = labels_of(mask)
    lesions = with_labels(mask, np.where(labels == 2, 2, 0).astype(np.uint8), tmp_path / "p.nii")
    assert open_view(volume, lesions, mask).captions[0] == "no liver in the mask, only lesions"
    assert "reference: no liver" in open_view(volume, mask, lesions).captions[0]
