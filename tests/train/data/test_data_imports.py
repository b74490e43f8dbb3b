import json
import os
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from lits_runtime import DatasetError, OutputError
from lits_train.cli.data import main
from lits_train.cli.train import main as train_main
from lits_train.data.cases import check_case, find_cases
from lits_train.data.imports.image_folders import find_image_folders
from lits_train.data.imports.label_names import label_values
from lits_train.data.imports.layouts import find_layout
from lits_train.data.imports.splits import cases_of_fold
from lits_train.data.imports.write import import_pairs
from support.dicom.ct import save, set_pixels, slices_of

MSD = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver", "2": "cancer"}}
NNUNET = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "liver": 1, "tumor": 2},
    "file_ending": ".nii.gz",
}


def as_dataset(
    folder: Path, pair: tuple[Path, Path], described: Any, names: dict[str, str]
) -> Path:
    """A data set of imagesTr and labelsTr whose files are links to one pair."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for image, label in names.items():
        (folder / "imagesTr" / f"{image}.nii.gz").symlink_to(pair[0])
        if label:
            (folder / "labelsTr" / f"{label}.nii.gz").symlink_to(pair[1])
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, ["import", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def test_msd_is_linked_and_what_is_left_out_is_told(
    real_case: tuple[Path, Path], tmp_path: Path
) -> None:
    source = as_dataset(
        tmp_path / "Task03_Liver", real_case, MSD, {"liver_0": "liver_0", "liver_7": ""}
    )
    (source / "imagesTs").mkdir()
    (source / "imagesTr/._liver_0.nii.gz").write_bytes(b"by macOS")
    output = run(source, "-o", tmp_path / "pairs")
    assert "liver_0" in output and "linked" in output
    assert "imagesTr/liver_7.nii.gz: no mask of this name" in output
    assert "imagesTs: test images without masks" in output
    assert "._liver_0.nii.gz: hidden" in output
    volume = tmp_path / "pairs/volume-liver_0.nii.gz"
    assert volume.is_symlink()
    assert os.path.samefile(volume, real_case[0])
    (case,) = find_cases(tmp_path / "pairs")
    assert (case.case_id, case.liver_only) == ("liver_0", False)
    assert check_case(case).label_counts[:, 1:].sum(axis=0).all()
    again = CliRunner().invoke(main, ["import", str(source), "-o", str(tmp_path / "pairs")])
    assert again.exit_code == 2
    assert "exists" in again.output


def test_nnunet_has_channels_and_splits(
    phantom_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = phantom_folder / "volume-0.nii.gz", phantom_folder / "segmentation-0.nii.gz"
    names = {"a_0000": "a", "b_0000": "b", "b_0001": "", "odd": ""}
    source = as_dataset(tmp_path / "nnUNet_raw/Dataset007_Liver", pair, NNUNET, names)
    splits = tmp_path / "nnUNet_preprocessed/Dataset007_Liver/splits_final.json"
    splits.parent.mkdir(parents=True)
    splits.write_text(json.dumps([{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}]))
    output = run(source, "-o", tmp_path / "pairs", "--copy")
    assert "copied" in output
    assert "b_0001.nii.gz: a further channel" in output
    again = CliRunner().invoke(main, ["import", str(source), "-o", str(tmp_path / "2"), "--json"])
    records = [json.loads(line) for line in again.stdout.splitlines()]
    assert [(one["case"], one["how"]) for one in records[:2]] == [("a", "linked"), ("b", "linked")]
    assert {"left_out", "reason"} == records[-1].keys()
    assert "odd.nii.gz: no number of a channel" in output
    assert not any(path.is_symlink() for path in (tmp_path / "pairs").iterdir())
    assert [case.case_id for case in find_cases(tmp_path / "pairs")] == ["a", "b"]
    held: list[tuple[tuple[str, ...], ...]] = []
    monkeypatch.setattr(
        "lits_train.cli.train._train",
        lambda data, recipe, run: held.append((run.training_cases, run.validation_cases)),
    )
    arguments = [str(tmp_path / "pairs"), "-o", str(tmp_path / "run"), "--device", "cpu"]
    arguments += ["--splits", str(tmp_path / "pairs/splits_final.json")]
    for more in (["--fold", "0"], ["--fold", "1"]):
        assert CliRunner().invoke(train_main, arguments + more).exit_code == 0
    assert held == [(("a",), ("b",)), (("b",), ("a",))]
    both = CliRunner().invoke(train_main, [*arguments, "--folds", "2"])
    assert both.exit_code == 2
    assert "give one" in both.output
    with pytest.raises(DatasetError, match="fold 2, expected 0 to 1"):
        cases_of_fold(splits, 2)
    splits.write_text('[{"train": ["a", "b"], "val": ["b"]}]')
    with pytest.raises(DatasetError, match="trains on b and holds it out as well"):
        cases_of_fold(splits, 0)
    splits.write_text("[3]")
    with pytest.raises(DatasetError, match="expected a list of"):
        cases_of_fold(splits, 0)


def test_labels_of_other_values_are_rewritten_and_others_refused(
    phantom_folder: Path, tmp_path: Path
) -> None:
    described = {**NNUNET, "labels": {"background": 0, "tumour": 1, "liver": 2}}
    volume = phantom_folder / "volume-1.nii"
    volume = volume if volume.exists() else volume.with_suffix(".nii.gz")
    mask = volume.with_name(volume.name.replace("volume", "segmentation"))
    labels = np.asarray(nib.load(mask).dataobj)  # type: ignore[attr-defined]
    swapped = tmp_path / "swapped.nii.gz"
    affine = nib.load(mask).affine  # type: ignore[attr-defined]
    nib.save(nib.Nifti1Image(np.array([0, 2, 1], np.uint8)[labels], affine), swapped)
    source = tmp_path / "source"
    for part, name, path in (
        ("imagesTr", "a_0000", volume),
        ("labelsTr", "a", swapped),
        ("imagesTr", "b_0000", volume),
        ("labelsTr", "b", volume),
    ):
        (source / part).mkdir(parents=True, exist_ok=True)
        ending = "".join(path.suffixes)
        (source / part / f"{name}{ending}").symlink_to(path)
    (source / "dataset.json").write_text(json.dumps(described))
    result = CliRunner().invoke(main, ["import", str(source), "-o", str(tmp_path / "pairs")])
    assert result.exit_code == 1
    assert "mask rewritten" in result.output
    assert "left out: b: segmentation has the value" in result.output
    written = nib.load(tmp_path / "pairs/segmentation-a.nii.gz")
    assert np.array_equal(np.asarray(written.dataobj), labels)  # type: ignore[attr-defined]
    assert np.allclose(written.affine, affine)  # type: ignore[attr-defined]
    assert sorted(path.name for path in (tmp_path / "pairs").glob("*-b*")) == []


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"background": 0, "liver": 1, "vessel": 2}, "expected background, liver and tumour"),
        ({"background": 0, "liver": 1, "tumor": 2, "cancer": 3}, "each once"),
        ({"background": 0, "tumor": 1}, "no label is named liver"),
        ({"background": 0, "liver": "many"}, "expected background, liver and tumour"),
    ],
)
def test_other_labels_are_refused(labels: dict[str, Any], words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        label_values(labels, "dataset.json")


def test_regions_and_names_of_others_are_known() -> None:
    regions = {"background": 0, "liver": [1, 2], "liver_tumors": [2]}
    assert label_values(regions, "") == {0: 0, 1: 1, 2: 2}
    assert label_values({"0": "background", "1": "Liver"}, "") == {0: 0, 1: 1}


def test_a_data_set_without_lesions_is_stated(phantom_folder: Path, tmp_path: Path) -> None:
    pair = phantom_folder / "volume-0.nii.gz", phantom_folder / "segmentation-0.nii.gz"
    described = {**MSD, "labels": {"0": "background", "1": "liver"}}
    source = as_dataset(tmp_path / "source", pair, described, {"x": "x"})
    imported, left_out = import_pairs(find_layout(source), tmp_path / "pairs", copy=False)
    assert ([one.case_id for one in imported], left_out) == (["x"], {})
    assert [case.liver_only for case in find_cases(tmp_path / "pairs")] == [True]
    with pytest.raises(OutputError, match="exists"):
        import_pairs(find_layout(source), tmp_path / "pairs", copy=False)


def test_what_is_no_such_data_set_is_refused(tmp_path: Path, phantom_folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected dataset\.json with imagesTr"):
        find_layout(tmp_path)
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(DatasetError, match="an object with labels"):
        find_layout(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({**MSD, "modality": {"0": "MRI"}}))
    with pytest.raises(DatasetError, match="first channel is MRI, expected CT"):
        find_layout(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps(MSD))
    with pytest.raises(DatasetError, match="labelsTr: no such folder"):
        find_image_folders(tmp_path, "msd")
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / part).mkdir()
    with pytest.raises(DatasetError, match="no pair of image and mask"):
        find_layout(tmp_path)
    (tmp_path / "imagesTr/a.nii.gz").symlink_to(phantom_folder / "volume-0.nii.gz")
    (tmp_path / "labelsTr/a.nii.gz").write_bytes(b"damaged")
    with pytest.raises(DatasetError, match="none of 1 cases can be imported: a: "):
        import_pairs(find_layout(tmp_path), tmp_path / "out", copy=False)
    assert not (tmp_path / "out").exists()


def ircadb(
    folder: Path, pair: tuple[Path, Path], *, zipped: bool
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A part of a case as 3D-IRCADb-01 has its patients; HU and labels (i, j, k)."""
    scans: list[Any] = [nib.load(path) for path in pair]
    whole = np.asarray(scans[1].dataobj)
    middle = int(np.median(np.flatnonzero((whole == 2).any(axis=(0, 1)))))
    cut = np.s_[::8, ::8, middle - 4 : middle + 4]
    volume, label_map = (scan.slicer[cut] for scan in scans)
    hu = np.clip(np.asarray(volume.dataobj), -1024, 3071).astype(np.int16)
    labels = np.asarray(label_map.dataobj).astype(np.uint8)
    first = labels == 2
    first[:, :, 4:] = False
    structures = {
        "liver": labels >= 1,
        "livertumor01": first,
        "livertumor02": (labels == 2) & ~first,
        "bone": hu > 300,
    }
    for name, mask in structures.items():
        slices = slices_of(hu, volume.affine, name)
        for k, one in enumerate(slices):
            one.RescaleIntercept = 0
            set_pixels(one, 255 * mask[:, :, k].T.astype(np.int32), "<u2")
        save(slices, folder / "MASKS_DICOM" / name)
    save(slices_of(hu, volume.affine, "ct"), folder / "PATIENT_DICOM")
    if zipped:
        for part in ("PATIENT_DICOM", "MASKS_DICOM"):
            with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
                for path in sorted((folder / part).rglob("*")):
                    archive.write(path, path.relative_to(folder))
            for path in sorted((folder / part).rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
            (folder / part).rmdir()
    return hu, labels


@pytest.mark.parametrize("zipped", [False, True])
def test_ircadb_is_converted(real_case: tuple[Path, Path], tmp_path: Path, zipped: bool) -> None:
    hu, labels = ircadb(tmp_path / "source/3Dircadb1.17", real_case, zipped=zipped)
    (tmp_path / "source/3Dircadb1.18/PATIENT_DICOM").mkdir(parents=True)
    output = run(tmp_path / "source", "-o", tmp_path / "pairs")
    assert "ircadb-17" in output and "converted" in output
    assert "3Dircadb1.18: no MASKS_DICOM" in output
    (case,) = find_cases(tmp_path / "pairs")
    volume, mask = nib.load(case.volume), nib.load(case.segmentation)
    assert np.array_equal(np.asarray(volume.dataobj), hu)  # type: ignore[attr-defined]
    assert np.array_equal(np.asarray(mask.dataobj), labels)  # type: ignore[attr-defined]
    assert np.count_nonzero(labels == 2)
    assert case.case_id == "ircadb-17"
