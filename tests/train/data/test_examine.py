import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from lits_runtime.phantom.ct import make_phantom, write_phantom
from lits_tools.scores.lesion_match import label_lesions
from lits_train.cli.data import main
from support.files.scans import load_nifti


def check(folder: Path, *options: str, status: int = 0) -> str:
    done = CliRunner().invoke(main, ["check", str(folder), "--jobs", "1", *options])
    assert done.exit_code == status, (done.stdout, done.stderr, done.exception)
    return done.stdout


def reports(folder: Path, *options: str, status: int = 0) -> dict[str, dict[str, Any]]:
    lines = check(folder, "--json", *options, status=status).splitlines()
    return {report["case_id"]: report for report in map(json.loads, lines)}


@pytest.fixture(scope="module")
def sound_case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    write_phantom(folder, 0, make_phantom(0, matrix=96, slices=30, lesions=2), gzip=False)
    return folder


@pytest.fixture
def case(sound_case: Path, tmp_path: Path) -> Path:
    """A folder with a copy of a sound case 0 of 96 x 96 x 30."""
    shutil.copytree(sound_case, tmp_path, dirs_exist_ok=True)
    return tmp_path


def rewrite(path: Path, change: Any, affine: Any = None) -> None:
    image = load_nifti(path)
    stored = change(np.asanyarray(image.dataobj).copy())
    nib.save(nib.Nifti1Image(stored, image.affine if affine is None else affine), path)


@pytest.mark.slow
def test_a_real_case_is_reported_as_it_is(real_case: tuple[Path, Path], tmp_path: Path) -> None:
    for path in real_case:
        (tmp_path / path.name).symlink_to(path)
    (report,) = reports(tmp_path).values()
    volume, mask = (load_nifti(path) for path in real_case)
    labels = np.asanyarray(mask.dataobj)
    voxel_ml = abs(np.linalg.det(volume.affine[:3, :3])) / 1000
    assert report["problems"] == report["warnings"] == []
    assert report["shape"] == list(volume.shape)
    assert report["spacing_mm"] == pytest.approx(volume.header.get_zooms(), rel=1e-4)
    assert report["labels"] == [0, 1, 2]
    assert report["lesions"] == len(label_lesions(labels == 2).boxes)
    assert report["lesion_ml"] == pytest.approx((labels == 2).sum() * voxel_ml, rel=1e-6)
    assert report["liver_ml"] == pytest.approx((labels > 0).sum() * voxel_ml, rel=1e-6)
    assert report["lesion_slices"] == np.count_nonzero((labels == 2).any(axis=(0, 1)))
    stored = np.asanyarray(volume.dataobj)
    assert report["range_hu"] == [stored.min(), stored.max()]


def test_lesions_that_touch_by_an_edge_are_two(case: Path) -> None:
    def change(labels: Any) -> Any:
        labels[labels == 2] = 1
        labels[40:42, 40:42, 4] = labels[42:44, 42:44, 4] = labels[42:44, 42:44, 5] = 2
        return labels

    rewrite(case / "segmentation-0.nii", change)
    assert reports(case)["0"]["lesions"] == 2


def test_unusable_cases_are_reported_and_end_in_status_1(case: Path) -> None:
    for number in (1, 2, 3, 4):
        for kind in ("volume", "segmentation"):
            shutil.copy(case / f"{kind}-0.nii", case / f"{kind}-{number}.nii")
    (case / "segmentation-1.nii").unlink()
    volume = case / "volume-2.nii"
    volume.write_bytes(volume.read_bytes()[:-1000])
    rewrite(case / "segmentation-3.nii", lambda labels: np.where(labels == 2, 3, labels))
    rewrite(case / "segmentation-4.nii", lambda labels: labels[:, :, 1:])
    (case / "more").mkdir()
    for kind in ("volume", "segmentation"):
        for where in (case, case / "more"):
            shutil.copy(case / f"{kind}-0.nii", where / f"{kind}-5.nii")
    found = reports(case, status=1)
    wanted = {"1": "no segmentation", "2": "truncated", "3": "values 3", "4": "(96, 96, 29)"}
    for case_id, words in (wanted | {"5": "twice"}).items():
        assert words in found[case_id]["problems"][0]
    assert found["0"]["problems"] == []
    table = check(case, status=1)
    assert sum(line.rstrip().endswith(" unusable") for line in table.splitlines()) == 5
    assert "case 3: segmentation: values 3; expected the labels" in table


def test_the_known_faults_of_lits_are_warnings(case: Path) -> None:
    """Volumes 28 to 47 in small, with float labels and padding besides."""

    def padded(hu: Any) -> Any:
        hu[:3] = -3024
        return hu

    rewrite(case / "volume-0.nii", padded, np.eye(4))
    rewrite(
        case / "segmentation-0.nii",
        lambda labels: labels.astype(np.float64),
        np.diag([-0.7, -0.7, 2, 1]),
    )
    warnings = " | ".join(reports(case)["0"]["warnings"])
    for words in (
        "padding at -3024 HU",
        "labels are stored as float64",
        "the mask's affine (LPS, 0.7 x 0.7 x 2 mm) is not the volume's",
        "lost the voxel size",
        "lost the orientation",
    ):
        assert words in warnings
    assert "padding at -3024 HU" in check(case)


def test_a_mirrored_patient_is_noticed(case: Path) -> None:
    mirrored = load_nifti(case / "volume-0.nii").affine @ np.diag([-1, 1, 1, 1])
    for name in ("volume-0.nii", "segmentation-0.nii"):
        rewrite(case / name, lambda stored: stored, mirrored)
    assert "the liver lies on the left" in reports(case)["0"]["warnings"][0]


def test_odd_spacing_range_and_labels_are_warnings(case: Path) -> None:
    rewrite(case / "volume-0.nii", lambda hu: abs(hu), np.diag([-30.0, -30, 30, 1]))
    rewrite(case / "segmentation-0.nii", lambda labels: labels * 0)
    warnings = " | ".join(reports(case)["0"]["warnings"])
    for words in ("30 x 30 x 30 mm are not CT's", "not Hounsfield units", "no liver is marked"):
        assert words in warnings


def test_liver_only_cases_have_no_lesion_count(case: Path) -> None:
    (case / "cases.json").write_text('{"liver_only": ["0"]}')
    report = reports(case)["0"]
    assert report["liver_only"]
    assert "lesions are marked, but" in report["warnings"][0]
    assert " ?" in check(case)


@pytest.mark.slow
def test_processes_find_the_same_as_one(phantom_folder: Path) -> None:
    assert reports(phantom_folder, "--jobs", "2") == reports(phantom_folder)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["check", str(tmp_path)])
    assert done.exit_code == 1
    assert "no volume-ID" in done.stderr
