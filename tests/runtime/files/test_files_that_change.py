"""Files that are cut, replaced or removed while they are read: reads tell, training goes on."""

import gzip
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lits_runtime import DatasetError, VolumeError
from lits_runtime.files.regular_file import open_regular
from lits_runtime.files.stable_file import StableFile
from lits_runtime.phantom.ct import make_phantom, write_phantom
from lits_runtime.volumes.scan import Scan
from lits_train.data.cases import find_cases, usable_cases
from lits_train.prepared.convert import prepare
from lits_train.prepared.slices import open_cases
from lits_train.samples.dataset import SliceDataset
from lits_train.samples.epoch_order import slice_kinds
from lits_train.samples.unreadable import ReadableSlices, SkippedSlices, Unreadable
from lits_train.settings.recipe import BASELINE
from lits_train.settings.run import RunSettings
from lits_train.training.loop import train
from support.files.cases import write_case
from support.files.scans import load_nifti, random_hu

ROUNDS = int(os.environ.get("LITS_FUZZ_ROUNDS", "40"))
CONTENT = np.random.default_rng(0).integers(0, 40, 12 * 2**20).astype(np.uint8).tobytes()
RECIPE = BASELINE.override(size=32, batch_size=4, epochs=2)


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two gzip streams one after the other, and padding, as some writers leave."""
    path = tmp_path_factory.mktemp("gzip") / "content.gz"
    half = len(CONTENT) // 2
    parts = [gzip.compress(part, 1) for part in (CONTENT[:half], CONTENT[half:])]
    path.write_bytes(b"".join(parts) + bytes(100))
    return path


def test_gzip_reads_the_same_at_any_position(compressed: Path) -> None:
    file = pickle.loads(pickle.dumps(StableFile(compressed)))
    rng = np.random.default_rng(1)
    for start in (0, len(CONTENT) - 10, *rng.integers(0, len(CONTENT), 20).tolist()):
        count = int(rng.integers(1, 2**20))
        with file.opened(compressed=True) as stream:
            stream.seek(start)
            assert stream.read(count) == CONTENT[start : start + count]


def test_a_cut_or_damaged_gzip_ends(compressed: Path, tmp_path: Path) -> None:
    content = compressed.read_bytes()
    damaged = bytearray(content)
    damaged[len(content) // 3] ^= 255
    for name, kept in (("cut", content[: len(content) // 3]), ("damaged", bytes(damaged))):
        (tmp_path / name).write_bytes(kept)
        with (
            pytest.raises((EOFError, zlib.error)),
            StableFile(tmp_path / name).opened(compressed=True) as stream,
        ):
            stream.read(len(CONTENT))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes in folders are POSIX's")
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in ((tmp_path / "pipe", "a named pipe"), (tmp_path, "a folder")):
        with pytest.raises(VolumeError, match=said):
            open_regular(path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_file_that_is_rewritten_all_the_time_never_hangs_a_reader(
    ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"scan{ending}"
    nib.save(nib.Nifti1Image(random_hu((64, 64, 40)), np.diag([1.0, 1, 2, 1])), path)
    whole, over = path.read_bytes(), threading.Event()

    def disturb() -> None:
        rng = np.random.default_rng(0)
        while not over.is_set():
            with path.open("r+b") as file:
                file.truncate(int(rng.integers(1000, len(whole))))
                file.seek(int(rng.integers(352, len(whole))))
                file.write(rng.bytes(5000))
            time.sleep(0.001)
            path.write_bytes(whole)

    scan = Scan.open(path)
    scan.read_slab(0, 40)
    disturber = threading.Thread(target=disturb)
    disturber.start()
    told = 0
    try:
        for number in range(ROUNDS):
            try:
                Scan.open(path).read_slab(number % 40, number % 40 + 1)
                scan.read_slab(number % 40, number % 40 + 1)
            except (VolumeError, OSError):
                told += 1
    finally:
        over.set()
        disturber.join()
    assert told


def test_another_slice_of_the_kind_comes_in_place_the_same_each_time(tmp_path: Path) -> None:
    for case_id in ("1", "2", "3"):
        write_case(tmp_path, case_id)
    cases, _ = usable_cases(find_cases(tmp_path))
    (tmp_path / "volume-2.nii").unlink()
    kinds = slice_kinds(cases)
    dataset = SliceDataset(cases, RECIPE)
    lost = [item for item, (case, _) in enumerate(dataset.index) if case == 1]
    drawn = [ReadableSlices(dataset, kinds)[item] for item in lost]
    again = [ReadableSlices(SliceDataset(cases, RECIPE), kinds)[item] for item in reversed(lost)]
    for item, (sample, unreadable), (same, _) in zip(lost, drawn, reversed(again), strict=True):
        assert sample is not None
        assert same is not None
        assert (sample["case"], sample["slice"]) == (same["case"], same["slice"])
        first = sum(case.slices for case in cases[: int(sample["case"])])
        assert kinds[first + int(sample["slice"])] == kinds[item]
        assert unreadable[0][:2] == ("2", dataset.index[item][1])
    sent = pickle.loads(pickle.dumps(ReadableSlices(dataset, kinds)))  # as spawned processes get it
    assert str(sent[lost[0]]) == str(drawn[0])
    readable = lost[0] - 1
    assert ReadableSlices(dataset, kinds)[readable][1] == []
    assert ReadableSlices(dataset, None)[lost[0]][0] is None
    for path in tmp_path.glob("volume-*"):
        path.unlink()
    sample, unreadable = ReadableSlices(dataset, kinds)[0]
    assert sample is None
    assert len(unreadable) == len(dataset)


def test_what_is_skipped_is_said_once_and_listed(caplog: pytest.LogCaptureFixture) -> None:
    skipped = SkippedSlices()
    for number in (4, 2, 4):
        skipped.add([Unreadable("7", number, "it is gone")])
    skipped.add([Unreadable("8", 1, "damaged")])
    assert [record.args for record in caplog.records] == [
        ("7", 4, "it is gone"),
        ("8", 1, "damaged"),
    ]
    assert skipped.listed() == {
        "7": "slices 2, 4 were left out: it is gone",
        "8": "slice 1 was left out: damaged",
    }


@pytest.mark.slow
def test_a_voxel_that_is_no_number_costs_its_slices_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for seed in range(3):
        write_phantom(
            data, seed, make_phantom(seed, matrix=32, slices=6, lesions=1), gzip=seed == 1
        )
    for name, slice_number in (("volume-0.nii", 5), ("volume-2.nii", 2)):
        image = load_nifti(data / name)
        values = np.asanyarray(image.dataobj).astype(np.float32)
        values[5, 5, slice_number] = np.nan
        nib.save(nib.Nifti1Image(values, image.affine), data / name)
    run = RunSettings(tmp_path / "run", validation_cases=("2",))
    result = train(find_cases(data), RECIPE, run)
    assert (result.epochs, result.stopped) == (2, False)
    assert result.skipped.keys() == {"0", "2"}
    assert result.skipped["0"].startswith("slice 5 was left out: ")
    assert "not finite" in result.skipped["2"]
    saved = RunSettings(tmp_path / "run", validation_cases=("2",), resume=True)
    assert train(find_cases(data), RECIPE, saved).skipped == result.skipped, "after resuming too"


PROGRAM = """
import multiprocessing, os, signal, sys
from pathlib import Path
import numpy as np
from lits_runtime.errors import LitsError
from lits_train.training.loop import train
from lits_train.prepared.slices import open_cases
from lits_train.settings.recipe import BASELINE
from lits_train.settings.run import RunSettings

def harm(paths):
    cut, overwritten, replaced, removed, pipe = paths
    os.truncate(cut, cut.stat().st_size // 3)
    overwritten.write_bytes(np.random.default_rng(0).bytes(5000))
    replaced.with_name("other").write_bytes(replaced.read_bytes() + b"0")
    os.replace(replaced.with_name("other"), replaced)
    removed.unlink()
    pipe.unlink()
    os.mkfifo(pipe)

def after_two_steps():
    after_two_steps.asked += 1
    if after_two_steps.asked == 3:
        if kill:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        else:
            harm(sorted(data.glob(pattern))[:5])
    return False

if __name__ == "__main__":
    data, pattern, workers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    kill = len(sys.argv) > 4
    after_two_steps.asked = 0
    recipe = BASELINE.override(size=32, batch_size=4, epochs=200 if kill else 3)
    run = RunSettings(data / "run", validation_cases=("6",), workers=workers)
    try:
        result = train(open_cases(data), recipe, run, after_two_steps)
    except LitsError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(*sorted(result.skipped))
    print(result.epochs, *result.skipped.values(), sep="\\n")
"""


def ended(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = folder / "program.py"
    program.write_text(PROGRAM)
    return subprocess.run(
        [sys.executable, program, *arguments], capture_output=True, text=True, timeout=240
    )


@pytest.fixture(scope="module")
def seven_cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seven")
    for seed in range(7):
        write_phantom(folder, seed, make_phantom(seed, matrix=48, slices=6, lesions=1))
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes in folders are POSIX's")
@pytest.mark.parametrize(("form", "workers"), [("volume-*.nii.gz", 0), ("hu-*.npy", 2)])
def test_training_outlives_files_that_are_cut_replaced_and_removed(
    form: str, workers: int, seven_cases: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    if form == "hu-*.npy":
        prepare(find_cases(seven_cases), data, 32)
    else:
        shutil.copytree(seven_cases, data)
    done = ended(tmp_path, str(data), form, str(workers))
    assert done.returncode == 0, done.stderr
    skipped, epochs, *reasons = done.stdout.splitlines()
    assert skipped == "0 1 2 3 4"
    assert epochs == "3"
    assert sum("changed while in use" in reason for reason in reasons) == 3
    assert sum("No such file" in reason for reason in reasons) == 1
    assert sum("a named pipe" in reason for reason in reasons) == 1


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "kill"), reason="no signals")
def test_a_killed_loading_process_ends_the_run_with_a_word(
    seven_cases: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(seven_cases, data)
    done = ended(tmp_path, str(data), "volume-*", "2", "kill")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("TrainingError: a loading process was lost")
    assert "--workers" in last


def test_where_nothing_can_be_read_any_more_the_run_ends(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for case_id in ("1", "2"):
        write_case(data, case_id)

    def removing() -> bool:
        for path in data.glob("volume-*"):
            path.unlink()
        return False

    cases = usable_cases(find_cases(data))[0]
    with pytest.raises(DatasetError, match="no training slice is readable any more: case"):
        train(cases, RECIPE, RunSettings(tmp_path / "run"), removing)


def test_a_prepared_array_that_is_cut_is_an_error_and_no_signal(tmp_path: Path) -> None:
    write_case(tmp_path / "data", "1")
    prepare(find_cases(tmp_path / "data"), tmp_path / "prepared", 32)
    (case,) = open_cases(tmp_path / "prepared")
    dataset = SliceDataset([case], RECIPE)
    assert dataset[4]["hu"].shape == (1, 32, 32)
    os.truncate(case.volume, 300)
    with pytest.raises(VolumeError, match=r"changed while in use: .* became 300"):
        dataset[4]
