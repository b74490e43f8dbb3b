"""Scratch files: what is written is read, and whatever happens nothing of them stays."""

import itertools
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from lits_runtime import CancelledError, ClosedError, Options, Segmenter, VolumeError
from lits_runtime.cleanup import kept_runs
from lits_runtime.files.scratch_file import ScratchFile
from support.files.full_disk import largest_file
from support.files.scans import LPS_AFFINE, random_hu, reorient, save
from support.networks.tiny_models import tiny_model

ALL = Options(keep_largest_liver=True, drop_lesions_outside_liver=True, min_lesion_ml=0.002)
OPEN_FILES = Path("/proc/self/fd")
fork_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
# Python 3.12 warns of any fork where there are threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that needs scratch files for voxels, mask and clean-up."""
    monkeypatch.setattr(kept_runs, "MAX_BYTES_IN_MEMORY", 100)
    return save(tmp_path / "scan.nii", *reorient(random_hu((12, 11, 30)), LPS_AFFINE, "SLP"))


def held_in(folder: Path) -> int:
    """Open files of this process in a folder, unnamed ones too."""
    held = 0
    for link in OPEN_FILES.iterdir() if OPEN_FILES.exists() else ():
        if link.exists() or link.is_symlink():
            held += os.readlink(link).startswith(str(folder))
    return held + len(list(folder.iterdir()))


def test_what_is_written_anywhere_is_read_again(folder: Path) -> None:
    numbers = np.arange(12, dtype=">i4").reshape(3, 4)
    file = ScratchFile("a test")
    file.write(100, numbers)
    file.write(100 + numbers[:1].nbytes, (-numbers[1]).astype(">i4"))
    again = np.empty((3, 4), ">i4")
    file.read(100, again)
    assert again.tolist() == [[0, 1, 2, 3], [-4, -5, -6, -7], [8, 9, 10, 11]]
    with pytest.raises(VolumeError, match="shorter than what was written"):
        file.read(101, again)
    file.close()
    assert held_in(folder) == 0
    with pytest.raises(ClosedError, match="a scratch file was closed"):
        file.read(100, again)


def test_a_full_disk_says_how_much_is_needed(folder: Path) -> None:
    with largest_file(5000):
        with pytest.raises(VolumeError, match=f"a test takes 6000 bytes .*{folder}.*set TMPDIR"):
            ScratchFile("a test", 6000)
        file = ScratchFile("a test")
        file.write(0, np.zeros(4000, np.uint8))
        with pytest.raises(VolumeError, match=r"takes at least 6000 bytes .*\(File too large\)"):
            file.write(4000, np.zeros(2000, np.uint8))
        file.close()
    with pytest.raises(VolumeError, match=r"takes 1000000000000000000 bytes .* free\)"):
        ScratchFile("a test", 10**18)
    assert held_in(folder) == 0


def test_without_a_folder_for_temporary_files_one_is_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "absent"))
    with pytest.raises(VolumeError, match=r"no folder for temporary files .*: set TMPDIR to one"):
        ScratchFile("a test")


@fork_only
def test_a_forked_child_does_not_share_it(folder: Path) -> None:
    file, numbers = ScratchFile("a test"), np.arange(1000)
    file.write(0, numbers)
    child = os.fork()
    if not child:
        status = 1
        try:
            file.write(0, -numbers)
        except ClosedError:
            status = 2 * held_in(folder)
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    again = np.empty_like(numbers)
    file.read(0, again)
    np.testing.assert_array_equal(again, numbers)
    file.close()


@pytest.mark.parametrize("slices", [1, 29])
def test_ctrl_c_and_cancel_leave_no_scratch_file(slices: int, folder: Path, scan: Path) -> None:
    held: list[int] = []

    def interrupt(done: int, of: int) -> None:
        held.append(held_in(folder))
        if done == slices:
            raise KeyboardInterrupt

    with Segmenter.open(tiny_model(), provider="cpu", threads=2) as segmenter:
        mask = scan.with_name("mask.nii.gz")
        with pytest.raises(KeyboardInterrupt):
            segmenter.segment_file(scan, mask, ALL, batch_size=1, progress=interrupt)
        assert held_in(folder) == 0
        assert max(held) == (3 if OPEN_FILES.exists() else 0)  # voxels, mask, runs
        asked = itertools.count()
        with pytest.raises(CancelledError):
            segmenter.segment_file(
                scan, mask, ALL, batch_size=1, cancel=lambda: next(asked) == slices
            )
        assert held_in(folder) == 0
        segmenter.segment_file(scan, mask, ALL, batch_size=1)
    assert held_in(folder) == 0


def test_a_disk_that_fills_up_leaves_neither_scratch_file_nor_mask(
    folder: Path, scan: Path
) -> None:
    random = save(scan.with_name("random.nii"), random_hu((12, 11, 30)), LPS_AFFINE)
    with Segmenter.open(tiny_model(), provider="cpu", threads=2) as segmenter, largest_file(8000):
        for path in (scan, random):  # voxels take 7920 bytes, and runs more
            with pytest.raises(VolumeError, match=r"bytes of scratch space, more than .*TMPDIR"):
                segmenter.segment_file(path, path.with_name("mask.nii.gz"), ALL, batch_size=1)
    assert held_in(folder) == 0
    assert {path.name for path in scan.parent.iterdir()} == {"scratch", "scan.nii", "random.nii"}


KILLED = """
import os, signal, sys
from lits_runtime import Options, Segmenter
from lits_runtime.cleanup import kept_runs
kept_runs.MAX_BYTES_IN_MEMORY = 100
def progress(done, of):
    if done == of:
        os.kill(os.getpid(), signal.SIGKILL)
segmenter = Segmenter.open(sys.argv[1], provider="cpu", threads=2)
options = Options(keep_largest_liver=True)
segmenter.segment_file(sys.argv[2], sys.argv[3], options, progress=progress)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_process_that_is_killed_leaves_no_scratch_file(
    folder: Path, scan: Path, tiny_model_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, tiny_model_path, scan, scan.with_name("mask.nii.gz")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(folder)},
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    assert list(folder.iterdir()) == []
