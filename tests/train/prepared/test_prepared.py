import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from lits_runtime import DatasetError
from lits_train.cli.data import main
from lits_train.cli.train import main as train_main
from lits_train.data.cases import find_cases, usable_cases
from lits_train.prepared.arrays import rounded_hu
from lits_train.prepared.convert import Preparation, prepare
from lits_train.prepared.index_content import INDEX_NAME
from lits_train.prepared.slices import open_cases
from lits_train.prepared.write_case import write_case as write_prepared
from lits_train.samples.dataset import SliceDataset
from lits_train.settings.recipe import BASELINE, DEFAULT
from support.files.cases import write_case
from support.files.scans import load_nifti, random_hu

RECIPE = DEFAULT.override(size=32)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.npy")}


def prepared(data: Path, folder: Path, **options: Any) -> Preparation:
    return prepare(find_cases(data), folder, 32, **options)


def assert_same_samples(data: Path, folder: Path, size: int) -> None:
    """From NIfTI and from prepared arrays: HU within rounding to whole units, the rest equal."""
    recipe = DEFAULT.override(size=size)
    straight = SliceDataset(usable_cases(find_cases(data))[0], recipe)
    stored = SliceDataset(usable_cases(open_cases(folder))[0], recipe)
    assert straight.index == stored.index
    for one, other in zip(straight.cases, stored.cases, strict=True):
        assert one.case_id == other.case_id
        assert np.array_equal(one.label_counts, other.label_counts)
    for item in range(0, len(straight), max(len(straight) // 20, 1)):
        wanted: dict[str, Any] = {**straight[item]}
        found: dict[str, Any] = {**stored[item]}
        assert wanted.keys() == found.keys()
        torch.testing.assert_close(found.pop("hu"), wanted.pop("hu"), rtol=0, atol=0.5 + 1e-3)
        for key, value in wanted.items():
            assert torch.equal(value, found[key]), (item, key)
            assert value.dtype == found[key].dtype


@pytest.mark.slow
def test_samples_are_those_of_the_nifti_files(phantom_folder: Path, tmp_path: Path) -> None:
    result = prepared(phantom_folder, tmp_path)
    assert result == Preparation(("0", "1", "2"), (), {})
    assert_same_samples(phantom_folder, tmp_path, 32)


@pytest.mark.slow
def test_samples_of_a_real_case(real_case: tuple[Path, Path], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for path in real_case:
        (data / path.name).symlink_to(path)
    case_id = real_case[0].name.removeprefix("volume-").partition(".")[0]
    (data / "cases.json").write_text(json.dumps({"liver_only": [case_id]}))
    prepare(find_cases(data), tmp_path / "prepared", 128)
    assert_same_samples(data, tmp_path / "prepared", 128)


def test_every_axis_order_and_a_lost_header_come_out_the_same(tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "prepared"
    for case_id, codes in (("1", "LPS"), ("2", "RAI"), ("3", "SLA")):
        write_case(data, case_id, codes=codes)
    write_case(data, "28")
    for name in ("volume-28.nii", "segmentation-28.nii"):
        stored = np.asanyarray(load_nifti(data / name).dataobj).copy()
        nib.save(nib.Nifti1Image(stored, np.eye(4)), data / name)
    prepared(data, folder)
    first, *others = (np.load(folder / f"hu-{case_id}.npy") for case_id in ("1", "2", "3"))
    for other in others:
        assert np.array_equal(first, other)
    assert_same_samples(data, folder, 32)
    index = json.loads((folder / INDEX_NAME).read_text())
    assert any("assuming" in note for note in index["cases"]["28"]["notes"])


@pytest.mark.slow
def test_training_takes_a_prepared_folder(phantom_folder: Path, tmp_path: Path) -> None:
    prepared(phantom_folder, tmp_path / "prepared")
    options = ["--recipe", "baseline", "--weights", "none", "--epochs", "1", "--batch-size", "8"]
    runs = {
        size: [str(tmp_path / "prepared"), "-o", str(tmp_path / size), "--size", size, *options]
        for size in ("32", "64")
    }
    done = CliRunner().invoke(train_main, runs["32"])
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "32/last.pth").exists()
    done = CliRunner().invoke(train_main, runs["64"])
    assert done.exit_code == 1
    assert "lits-data prepare --size 64, or train with --size 32" in done.stderr


def test_only_what_is_new_or_changed_is_made_again(tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "prepared"
    for case_id in ("1", "2"):
        write_case(data, case_id)
    prepared(data, folder)
    before = contents(folder)
    assert prepared(data, folder) == Preparation((), ("1", "2"), {})
    (data / "volume-1.nii").touch()
    assert prepared(data, folder).kept == ("1", "2"), "the same bytes, whatever their date"
    nib.save(
        nib.Nifti1Image(random_hu((40, 36, 5), seed=9), load_nifti(data / "volume-2.nii").affine),
        data / "volume-2.nii",
    )
    write_case(data, "3")
    assert prepared(data, folder) == Preparation(("2", "3"), ("1",), {})
    assert contents(folder)["hu-1.npy"] == before["hu-1.npy"]
    assert contents(folder)["hu-2.npy"] != before["hu-2.npy"]
    (data / "cases.json").write_text('{"liver_only": ["1"]}')
    assert prepared(data, folder).prepared == ("1",)
    assert [case.liver_only for case in open_cases(folder)] == [True, False, False]
    (folder / "labels-3.npy").unlink()
    assert prepared(data, folder).prepared == ("3",)


def test_another_size_needs_force(tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "prepared"
    write_case(data, "1")
    write_case(data, "2")
    prepared(data, folder)
    (data / "volume-2.nii").unlink()
    with pytest.raises(DatasetError, match="prepared at 32 x 32, requested 64 x 64"):
        prepare(find_cases(data), folder, 64)
    prepare(find_cases(data), folder, 64, force=True)
    assert sorted(contents(folder)) == ["hu-1.npy", "labels-1.npy", "shares-1.npy"]
    assert np.load(folder / "hu-1.npy").shape == (5, 64, 64)


def test_unusable_cases_are_skipped_and_end_in_status_1(tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "prepared"
    for case_id in ("1", "2", "3"):
        write_case(data, case_id)
    volume = data / "volume-2.nii"
    volume.write_bytes(volume.read_bytes()[:-500])
    write_case(data, "3", labels=3)
    command = ["prepare", str(data), "-o", str(folder), "--size", "32", "--jobs", "1"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1
    assert "3 cases to prepare, 15 slices at 32 x 32" in done.stderr
    assert "case 2 is skipped" in done.stderr and "values 3" in done.stderr
    assert [case.case_id for case in open_cases(folder)] == ["1"]
    assert not list(folder.glob(".lits-*"))


@pytest.mark.slow
def test_a_kill_leaves_whole_cases_and_the_rest_is_made_later(tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "prepared"
    for number in range(40):
        write_case(data, str(number))
    prepared(data, tmp_path / "undisturbed")
    program = "from lits_train.cli.data import main; main()"
    command = ["prepare", str(data), "-o", str(folder), "--size", "32", "--jobs", "2"]
    process = subprocess.Popen([sys.executable, "-c", program, *command])
    while process.poll() is None and not list(folder.glob("hu-*.npy")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was over before the kill"
    with pytest.raises(DatasetError, match=r"did not finish, .* run the same"):
        open_cases(folder)
    whole = json.loads((folder / INDEX_NAME).read_text())["cases"]
    for case_id in whole:
        name = f"hu-{case_id}.npy"
        assert (folder / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    result = prepared(data, folder)
    assert set(whole) <= set(result.kept)
    assert contents(folder) == contents(tmp_path / "undisturbed")
    assert not list(folder.glob(".lits-*"))
    index, undisturbed = (
        json.loads((path / INDEX_NAME).read_text()) for path in (folder, tmp_path / "undisturbed")
    )
    assert index == undisturbed


def test_a_full_disk_ends_it_and_leaves_no_half_case(tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "prepared"
    write_case(data, "1")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            prepared(data, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert contents(folder) == {}
    assert not list(folder.glob(".lits-*"))
    assert prepared(data, folder).prepared == ("1",)


def test_a_disk_that_is_too_small_is_refused(phantom_folder: Path, tmp_path: Path) -> None:
    hundred_petabytes = 2**27
    with pytest.raises(DatasetError, match=r"24 slices at .* needs .* are free"):
        prepare(find_cases(phantom_folder), tmp_path, hundred_petabytes)
    assert not (tmp_path / INDEX_NAME).exists()


def test_damage_to_the_folder_is_an_error(tmp_path: Path) -> None:
    write_prepared(
        tmp_path, "1", np.zeros((2, 32, 32)), np.zeros((2, 32, 32)), spacing_mm=(1, 1, 1)
    )
    shutil.copytree(tmp_path, tmp_path / "copy")
    array = tmp_path / "hu-1.npy"
    array.write_bytes(array.read_bytes()[:-10])
    with pytest.raises(DatasetError, match=r"hu-1\.npy: missing or damaged, prepare it again"):
        open_cases(tmp_path)
    index = tmp_path / "copy" / INDEX_NAME
    index.write_text(index.read_text().replace('"format_version": 2', '"format_version": 3'))
    with pytest.raises(DatasetError, match="format 3, this version reads 2"):
        open_cases(tmp_path / "copy")
    index.write_text("{}")
    with pytest.raises(DatasetError, match="not the index of prepared data"):
        open_cases(tmp_path / "copy")


def test_arrays_become_cases_and_separate_pictures_their_own_context(tmp_path: Path) -> None:
    hu = random_hu((3, 32, 32)).astype(np.float32) + 0.4
    labels = np.random.default_rng(0).integers(0, 3, hu.shape)
    for case_id, adjacent in (("a", True), ("b", False)):
        write_prepared(
            tmp_path,
            case_id,
            hu,
            labels,
            spacing_mm=(2.0, 1.5, 1.0),
            liver_only=not adjacent,
            adjacent=adjacent,
        )
    cases = open_cases(tmp_path)
    assert [case.liver_only for case in cases] == [False, True]
    assert cases[0].label_counts[1].tolist() == np.bincount(labels[1].ravel()).tolist()
    dataset = SliceDataset(cases, RECIPE)
    near, alone = dataset[0], dataset[3 + 0]
    rounded = torch.from_numpy(rounded_hu(hu)).float()
    assert torch.equal(near["hu"], rounded[[0, 0, 1]])
    assert torch.equal(dataset[2]["hu"], rounded[[1, 2, 2]])
    assert torch.equal(alone["hu"], rounded[[0, 0, 0]])
    assert torch.equal(alone["labels"][0], torch.from_numpy(labels[0]).to(torch.uint8))
    assert near["spacing_mm"].tolist() == [2.0, 1.5, 1.0]
    assert alone["range_hu"].tolist() == [[rounded[0].min(), rounded[0].max()]] * 3
    assert SliceDataset(cases, BASELINE.override(size=32))[1]["hu"].shape == (1, 32, 32)


@pytest.mark.parametrize(
    ("hu", "labels", "case_id", "message"),
    [
        (np.zeros((2, 32, 16)), np.zeros((2, 32, 16)), "1", "expected both"),
        (np.zeros((2, 32, 32)), np.zeros((3, 32, 32)), "1", "expected both"),
        (np.full((2, 32, 32), np.nan), np.zeros((2, 32, 32)), "1", "not finite"),
        (np.zeros((2, 32, 32)), np.full((2, 32, 32), 4), "1", "outside 0..3"),
        (np.zeros((2, 32, 32)), np.zeros((2, 32, 32)), "../1", "case ID"),
    ],
)
def test_arrays_that_are_no_case_are_refused(
    tmp_path: Path, hu: Any, labels: Any, case_id: str, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        write_prepared(tmp_path, case_id, hu, labels, spacing_mm=(1.0, 1.0, 1.0))
    assert not contents(tmp_path)


def test_hu_beyond_16_bits_stay_at_the_end_of_the_range() -> None:
    rounded = rounded_hu(np.array([-1e9, -0.6, 0.5, 1.5, 1e9]))
    assert rounded.tolist() == [-32768, -1, 0, 2, 32767]
