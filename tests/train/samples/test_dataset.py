import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lits_runtime import DatasetError
from lits_train.data.cases import Case, find_cases, fingerprint, usable_cases
from lits_train.network.preprocessing import Preprocessing
from lits_train.samples.dataset import SliceDataset
from lits_train.samples.held_out import split_cases
from lits_train.settings.recipe import BASELINE, DEFAULT, RECIPES, Recipe
from support.files.cases import write_case
from support.files.scans import LPS_AFFINE, load_nifti, random_hu


def test_pairs_are_found_in_subfolders_and_sorted_by_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_case(tmp_path / "b", "10")
    write_case(tmp_path / "a", "9", ending=".nii.gz")
    write_case(tmp_path, "x1")
    (tmp_path / "volume-11.nii").touch()
    (tmp_path / "other.nii").touch()
    assert [case.case_id for case in find_cases(tmp_path)] == ["9", "10", "x1"]
    assert "case 11 has no segmentation" in caplog.text


def test_no_pair_and_doubled_ids_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no pair volume-ID"):
        find_cases(tmp_path)
    write_case(tmp_path / "a", "1")
    write_case(tmp_path / "b", "1")
    with pytest.raises(DatasetError, match="-1 twice"):
        find_cases(tmp_path)


def test_unusable_cases_are_skipped_with_their_reason(tmp_path: Path) -> None:
    for case_id in ("1", "2", "3", "4"):
        write_case(tmp_path, case_id)
    volume = tmp_path / "volume-2.nii"
    volume.write_bytes(volume.read_bytes()[:-500])
    nib.save(nib.Nifti1Image(random_hu((40, 36, 4)), LPS_AFFINE), tmp_path / "segmentation-3.nii")
    write_case(tmp_path, "4", labels=3)
    usable, problems = usable_cases(find_cases(tmp_path))
    assert [case.case_id for case in usable] == ["1"]
    assert usable[0].slices == 5
    assert "truncated" in problems["2"]
    assert "(40, 36, 5) and segmentation (40, 36, 4)" in problems["3"]
    assert "values 3; expected the labels" in problems["4"]
    (tmp_path / "volume-1.nii").write_bytes(b"")
    with pytest.raises(DatasetError, match="none of 4 cases"):
        usable_cases(find_cases(tmp_path))


def test_an_item_is_one_canonical_slice_and_its_mask(tmp_path: Path) -> None:
    write_case(tmp_path, "1", codes="LPS")
    write_case(tmp_path, "2", codes="RAS", ending=".nii.gz")
    write_case(tmp_path, "3", codes="SLA")
    cases, _ = usable_cases(find_cases(tmp_path))
    dataset = SliceDataset(cases, BASELINE.override(size=32))
    assert len(dataset) == 15
    hu = random_hu((40, 36, 5), seed=1).transpose(2, 1, 0)
    for item in (2, 7, 12):
        sample = dataset[item]
        assert sample["hu"].shape == (1, 32, 32)
        assert sample["labels"].shape == (1, 32, 32)
        assert torch.equal(sample["labels"], dataset[2]["labels"])
        assert (int(sample["case"]), int(sample["slice"])) == (item // 5, 2)
        np.testing.assert_array_equal(sample["range_hu"][0], [hu[2].min(), hu[2].max()])
        assert sample["spacing_mm"].tolist() == pytest.approx([2.5, 0.9, 0.875], rel=1e-3)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_training_and_model_see_the_same_input(tmp_path: Path, recipe: Recipe) -> None:
    write_case(tmp_path, "1")
    cases, _ = usable_cases(find_cases(tmp_path))
    recipe = recipe.override(size=32)
    sample = SliceDataset(cases, recipe)[0]
    preprocessing = Preprocessing(recipe)
    trained = preprocessing.of_batch(sample["hu"][None], sample["range_hu"][None])
    hu = random_hu((40, 36, 5), seed=1).transpose(2, 1, 0).astype(np.float32)
    slab_hu = hu[[0, 0, 1]] if recipe.context_slices else hu[:1]  # the end is repeated
    torch.testing.assert_close(preprocessing(torch.from_numpy(slab_hu)), trained)


def test_liver_only_cases_are_named_beside_the_data(tmp_path: Path) -> None:
    for case_id in ("1", "28"):
        write_case(tmp_path, case_id)
    (tmp_path / "cases.json").write_text('{"liver_only": ["28"]}')
    cases, _ = usable_cases(find_cases(tmp_path))
    assert [case.liver_only for case in cases] == [False, True]
    assert [bool(SliceDataset(cases, BASELINE)[item]["liver_only"]) for item in (0, 5)] == [
        False,
        True,
    ]
    for text, message in (
        ("{", "not valid JSON"),
        ('{"liver": ["1"]}', "expected"),
        ('{"liver_only": ["7"]}', "cases that are not here: 7"),
    ):
        (tmp_path / "cases.json").write_text(text)
        with pytest.raises(DatasetError, match=message):
            find_cases(tmp_path)


def test_only_the_slice_asked_for_is_read(tmp_path: Path) -> None:
    """The rest of the volume is torn out of the file: reading it would fail."""
    write_case(tmp_path, "1")
    cases, _ = usable_cases(find_cases(tmp_path))
    for name in ("volume-1.nii", "segmentation-1.nii"):
        path = tmp_path / name
        content = path.read_bytes()
        path.write_bytes(content[: 352 + 2 * 40 * 36 * 2])
    recipe = BASELINE.override(size=32)
    with pytest.raises(ValueError, match="changed while in use"):
        SliceDataset(cases, recipe)[1]
    dataset = SliceDataset([replace(case, states=None) for case in cases], recipe)
    dataset[1]
    with pytest.raises(ValueError, match="truncated"):
        dataset[2]


def test_masks_follow_their_volume_even_under_a_wrong_affine(tmp_path: Path) -> None:
    """As in LiTS volumes 28 to 47, whose masks carry another affine than the scan."""
    write_case(tmp_path, "1")
    reference = SliceDataset(usable_cases(find_cases(tmp_path))[0], BASELINE)[3]
    mask = load_nifti(tmp_path / "segmentation-1.nii")
    stored = np.asanyarray(mask.dataobj).copy()
    nib.save(nib.Nifti1Image(stored, np.diag([1.0, 1, -1, 1])), tmp_path / "segmentation-1.nii")
    wrong = SliceDataset(usable_cases(find_cases(tmp_path))[0], BASELINE)[3]
    assert torch.equal(wrong["labels"], reference["labels"])


def test_workers_read_the_same_items(phantom_folder: Path) -> None:
    cases, _ = usable_cases(find_cases(phantom_folder))
    dataset = SliceDataset(cases, DEFAULT.override(size=32))
    dataset[0]  # open files must not be shared with the workers
    alone, shared = (
        list(DataLoader(dataset, batch_size=4, num_workers=workers)) for workers in (0, 2)
    )
    for one, other in zip(alone, shared, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            assert torch.equal(one[key], other[key]), key


def test_split_is_by_case_with_a_seed() -> None:
    cases = [Case(str(i), Path(), Path()) for i in range(10)]
    training, validation = split_cases(cases, 0.2, seed=0)
    assert len(validation) == 2
    assert {c.case_id for c in training} | {c.case_id for c in validation} == set("0123456789")
    assert split_cases(cases, 0.2, seed=0) == (training, validation)
    assert any(split_cases(cases, 0.2, seed=s)[1] != validation for s in range(1, 5))
    assert split_cases(cases[:1], 0.2, seed=0) == (cases[:1], cases[:1])
    assert [len(part) for part in split_cases(cases[:2], 0.01, seed=0)] == [1, 1]


def test_fingerprint_tells_data_apart(tmp_path: Path) -> None:
    write_case(tmp_path / "a", "1")
    cases = find_cases(tmp_path)
    before = fingerprint(cases)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert fingerprint(find_cases(tmp_path / "b")) == before
    content = bytearray((tmp_path / "b/volume-1.nii").read_bytes())
    content[5000] ^= 1
    (tmp_path / "b/volume-1.nii").write_bytes(content)
    assert fingerprint(find_cases(tmp_path / "b")) != before


def test_slices_of_a_volume_stored_as_floats_are_read(tmp_path: Path) -> None:
    """Such a file is mapped read-only, of which torch warns when it is given as it is."""
    hu = random_hu((40, 36, 5)).astype(np.float32)
    nib.save(nib.Nifti1Image(hu, LPS_AFFINE), tmp_path / "volume-1.nii")
    labels = nib.Nifti1Image(np.ones((40, 36, 5), np.uint8), LPS_AFFINE)
    nib.save(labels, tmp_path / "segmentation-1.nii")
    cases, _ = usable_cases(find_cases(tmp_path))
    sample = SliceDataset(cases, BASELINE.override(size=32))[2]
    assert sample["range_hu"][0].tolist() == [hu[..., 2].min(), hu[..., 2].max()]
