"""Scans that change while they are read, and loops that are left early."""

import gc
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest

from lits_runtime import Segmenter, VolumeError
from lits_runtime.batch import run_batch
from lits_runtime.batch.job import Job
from lits_runtime.volumes.scan import Scan
from support.batches import contents, litter, settings
from support.files.scans import LPS_AFFINE, load_nifti, random_hu, write_scan

SHAPE = (24, 24, 60)


def replaced(path: Path) -> None:
    os.replace(write_scan(path.with_name(f"other-{path.name}"), 5, SHAPE), path)


def appended(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def rewritten(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replaced_by_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.fixture(scope="module")
def segmenter(tiny_model_path: Path) -> Segmenter:
    return Segmenter.open(tiny_model_path, provider="cpu", threads=1)


@pytest.mark.parametrize("change", [replaced, appended, rewritten, cut, replaced_by_a_pipe])
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_scan_that_changes_after_its_header_fails(
    name: str, change: Callable[[Path], None], segmenter: Segmenter, tmp_path: Path
) -> None:
    path = write_scan(tmp_path / name, 1, SHAPE)
    scan = Scan.open(path)
    change(path)
    with pytest.raises(VolumeError, match=r"changed while|regular file"):
        segmenter.segment_file(scan, tmp_path / "mask.nii.gz")
    assert sorted(contents(tmp_path)) in ([name], [])


def test_another_header_under_the_same_facts_is_seen(segmenter: Segmenter, tmp_path: Path) -> None:
    path = write_scan(tmp_path / "scan.nii", 1, SHAPE)
    scan, before = Scan.open(path), path.stat()
    content = bytearray(path.read_bytes())
    content[77] ^= 64  # of pixdim
    with path.open("rb+") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(VolumeError, match="another header"):
        segmenter.segment_file(scan, tmp_path / "mask.nii.gz")


def test_neither_part_of_a_pair_may_change(segmenter: Segmenter, tmp_path: Path) -> None:
    for part in (".hdr", ".img"):
        folder = tmp_path / part
        folder.mkdir()
        nib.save(nib.Nifti1Pair(random_hu((6, 5, 4)), LPS_AFFINE), folder / "scan.img")
        scan = Scan.open(folder / "scan.hdr")
        segmenter.segment(scan)
        rewritten(folder / f"scan{part}")
        with pytest.raises(VolumeError, match="changed while"):
            segmenter.segment(scan)


@pytest.mark.parametrize("change", [replaced, appended, rewritten])
def test_a_scan_that_changes_while_it_streams_fails(
    change: Callable[[Path], None], tiny_model_path: Path, tmp_path: Path
) -> None:
    path = write_scan(tmp_path / "scan.nii", 1, (16, 16, 200))
    job = Job(path, tmp_path / "out/mask.nii.gz")
    changed: list[int] = []

    def progress(job: Job, done: int, of: int) -> None:
        if not changed:
            change(path)
            changed.append(done)

    wishes = settings(tiny_model_path, batch_size=1)
    (outcome,) = run_batch([job], wishes, progress=progress)
    assert changed[0] < 200
    assert isinstance(outcome.error, VolumeError), outcome
    assert "changed while it was read" in str(outcome.error)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("when", ["at first", "at last"])
def test_a_scan_that_is_removed_while_it_is_read_is_whole(
    when: str, tiny_model_path: Path, tmp_path: Path
) -> None:
    path = write_scan(tmp_path / "scan.nii.gz", 1, SHAPE)
    size = path.stat().st_size
    job = Job(path, tmp_path / "out/mask.nii.gz")

    def progress(job: Job, done: int, of: int) -> None:
        if when == "at first" or done == of:
            path.unlink(missing_ok=True)

    (outcome,) = run_batch([job], settings(tiny_model_path, batch_size=1), progress=progress)
    assert outcome.status == "done", outcome.error
    assert outcome.record is not None
    assert outcome.record["scan"]["bytes"] == size
    assert load_nifti(job.mask).shape == SHAPE


def open_files() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:  # of the listing itself
            continue
    return found


class Consumer(Exception):
    """What goes wrong in the caller's loop."""


def by_break(batch: Any) -> None:
    for _ in batch:
        break


def by_exception(batch: Any) -> None:
    with pytest.raises(Consumer):
        for _ in batch:
            raise Consumer


def by_closing(batch: Any) -> None:
    next(batch)
    batch.close()


def by_interrupt(batch: Any) -> None:
    next(batch)
    with pytest.raises(KeyboardInterrupt):
        batch.throw(KeyboardInterrupt)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc to see open files")
@pytest.mark.parametrize("leave", [by_break, by_exception, by_closing, by_interrupt])
@pytest.mark.parametrize("second", ["sound", "damaged", "absent", "collides"])
def test_a_loop_that_is_left_leaves_no_thread_and_no_file(
    second: str, leave: Callable[[Any], None], tiny_model_path: Path, tmp_path: Path
) -> None:
    paths = [write_scan(tmp_path / f"{seed}.nii", seed, (16, 16, 80)) for seed in range(3)]
    if second == "damaged":
        cut(paths[1])
    elif second == "absent":
        paths[1].unlink()
    jobs = [Job(path, tmp_path / f"out/{path.stem}.nii.gz") for path in paths]
    if second == "collides":
        jobs[1] = Job(jobs[1].scan, jobs[1].scan)
    wishes = settings(tiny_model_path, batch_size=1)
    list(run_batch(jobs[:1], wishes))  # opens the model and what stays with it
    shutil.rmtree(tmp_path / "out")
    threads, files = set(threading.enumerate()), open_files()
    for _ in range(2):
        leave(run_batch(jobs, wishes))
        gc.collect()
        assert set(threading.enumerate()) <= threads
        assert open_files() <= files
    assert litter(tmp_path) == []


def test_an_error_in_the_consumer_s_progress_closes_the_scan_in_hand(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    paths = [write_scan(tmp_path / f"{seed}.nii", seed, (16, 16, 80)) for seed in range(2)]
    jobs = [Job(path, tmp_path / f"out/{path.stem}.nii.gz") for path in paths]
    wishes = settings(tiny_model_path, batch_size=1)
    list(run_batch(jobs[:1], wishes))
    threads, files = set(threading.enumerate()), open_files()

    def interrupt(job: Job, done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_batch(jobs[1:] * 2, wishes, progress=interrupt))
    gc.collect()
    assert set(threading.enumerate()) <= threads
    assert open_files() <= files
    assert litter(tmp_path) == []
