"""The walk through folders: links, loops, what cannot be read, and what is said of it."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lits_runtime.batch.jobs import plan
from lits_runtime.finding.find import find_scans
from lits_runtime.finding.left_out import log_lines
from lits_train.data.case_files import find_files
from support.files.record_folders import make, within


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    data, pool = tmp_path / "data", tmp_path / "pool"
    make(data, {"own/a.nii": ""})
    make(pool, {"b.nii.gz": "", "deep/c.nii": ""})
    (data / "file.nii.gz").symlink_to(pool / "b.nii.gz")
    (data / "folder").symlink_to(pool)
    (data / "again").symlink_to(pool)
    (data / "own/up").symlink_to(data)
    (pool / "deep/round").symlink_to(pool)
    (data / "aa").symlink_to(data / "own")  # by name before the folder itself
    found = find_scans(data)
    assert within(data, found.files) == [
        "again/b.nii.gz",
        "again/deep/c.nii",
        "file.nii.gz",
        "own/a.nii",
    ]
    assert {one.path.relative_to(data).as_posix(): one.why for one in found.left_out} == {
        "aa": f"the same folder as {data}/own",
        "again/deep/round": f"the same folder as {data}/again",
        "folder": f"the same folder as {data}/again",
        "own/up": f"the same folder as {data}",
    }


def test_what_should_be_a_scan_and_cannot_be_read_fails_and_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    make(data, {"a.nii": "", "closed/b.nii": ""})
    (data / "dangling.nii.gz").symlink_to(tmp_path / "gone.nii.gz")
    (data / "patient7").symlink_to(tmp_path / "unmounted")
    (data / "self.nii").symlink_to("self.nii")
    (data / "empty.nii.gz").touch()
    os.mkfifo(data / "fifo.nii")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(data / "s.nii"))
    (data / "folder.nii").mkdir()
    (data / ".hidden").symlink_to("nowhere")
    scandir = os.scandir

    def guarded(folder: Path) -> Iterator["os.DirEntry[str]"]:
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    problems = {job.scan.relative_to(data).as_posix(): job.problem for job in plan([data])}
    assert problems.pop("a.nii") is None
    for name, word in {
        "closed": "Permission denied",
        "dangling.nii.gz": "gone.nii.gz, which is not there",
        "patient7": "unmounted, which is not there",
        "self.nii": "cannot be read: Too many levels",
        "empty.nii.gz": "empty file",
        "fifo.nii": "a named pipe",
        "s.nii": "a socket",
    }.items():
        assert word in str(problems.pop(name))
    assert not problems


def test_scans_in_the_output_folder_are_named_as_left_out(tmp_path: Path) -> None:
    make(tmp_path, {"a.nii": "", "out/b.nii": "", "prob/c.nii": ""})
    planned = plan([tmp_path], tmp_path / "out", probability=tmp_path / "prob")
    assert [job.scan.name for job in planned] == ["a.nii"]
    assert [(one.path.name, one.why) for one in planned.left_out] == [
        ("out", "the output folder"),
        ("prob", "the output folder"),
    ]
    named = plan([tmp_path, tmp_path / "out"], tmp_path / "out")
    assert sorted(job.scan.name for job in named) == ["a.nii", "b.nii", "c.nii"]


def test_a_scan_is_done_once_however_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, {"a/x.nii": "", "b/y.nii": ""})
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "b/x.nii").symlink_to(tmp_path / "a/x.nii")
    monkeypatch.chdir(tmp_path)
    x = Path("a/x.nii")
    names: list[Path | str] = [x, "./a/../a/x.nii", tmp_path / x, "link/x.nii", "a", tmp_path / "a"]
    assert [job.scan for job in plan(names)] == [x]
    assert [job.scan for job in plan(["link", "a"])] == [Path("link/x.nii")]
    # Another name of the file has a mask of its own, unless that would be the same mask.
    assert len(plan(["a/x.nii", "b/x.nii"])) == 2
    assert len(plan(["a/x.nii", "b/x.nii"], Path("out"))) == 1
    assert len(plan(["missing.nii", "missing.nii"])) == 1


def test_outputs_of_formats_that_are_not_written_are_refused(tmp_path: Path) -> None:
    make(tmp_path, {"a.nii": ""})
    for ending in ("mgz", "mha", "nrrd", "dcm", "zip", "png", "nii.bz2", "seg.nrrd", "DCM", "hdr"):
        for which in ("output", "probability")[ending.lower() == "dcm" :]:  # of a series, a SEG
            with pytest.raises(ValueError, match=r"expected a folder, or a name ending in \.nii"):
                other = tmp_path / f"mask.{ending}"
                outputs = (other, None) if which == "output" else (None, other)
                plan([tmp_path / "a.nii"], outputs[0], probability=outputs[1])
    (tmp_path / "run.zip").mkdir()
    for name in ("run.zip", "out.v2", "2026.11.25", "masks.nii.d"):
        (job,) = plan([tmp_path / "a.nii"], tmp_path / name)
        assert job.mask == tmp_path / name / "a_mask.nii.gz"


def test_thousands_of_left_out_files_are_a_few_lines(tmp_path: Path) -> None:
    make(tmp_path, {f"labelsTr/{n}.nii": "" for n in range(500)} | {"a.nii": "", "b.mha": ""})
    lines = list(log_lines(find_scans(tmp_path).left_out))
    assert len(lines) == 2
    assert "and 498 more: masks, by the folder's name (labelsTr)" in lines[1]


def test_training_data_behind_links(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path / "disk", {"volume-1.nii": "", "segmentation-1.nii": ""})
    (tmp_path / "data").mkdir()
    (tmp_path / "data/batch").symlink_to(tmp_path / "disk")
    (tmp_path / "data/loop").symlink_to(tmp_path / "data")
    (tmp_path / "data/volume-2.nii").symlink_to("gone")
    with caplog.at_level(logging.INFO, "lits_train"):
        assert list(find_files(tmp_path / "data")) == ["1"]
    assert "volume-2.nii is left out: a link to gone, which is not there" in caplog.text


def test_the_walker_starts_without_numpy(tmp_path: Path) -> None:
    make(tmp_path, {"a.nii": "", "a_mask.nii": ""})
    code = (
        "import sys; from lits_runtime.batch.jobs import plan; assert len(plan(['.'])) == 1; "
        "print({'numpy', 'nibabel'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout == "set()\n"


def test_a_tree_deeper_than_names_may_be_long_fails_where_it_ends(tmp_path: Path) -> None:
    make(tmp_path, {"a.nii": ""})
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(40):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    first, *rest = plan([tmp_path])
    assert first.problem is None
    assert ["File name too long" in str(job.problem) for job in rest] == [True]


def test_files_beside_scans_cannot_hang_or_end_the_search(tmp_path: Path) -> None:
    names = {f"imagesTr/{case}_{n:04}.nii": "" for case in "ab" for n in range(2)}
    make(tmp_path, names)
    os.mkfifo(tmp_path / "dataset.json")
    (tmp_path / "labelsTr").write_text("no folder")
    for number, text in enumerate(
        (
            '{"record_version": 1, "files": ["a_0000.nii"]}',
            '{"record_version": 1, "files": {"a_0000.nii": 1',
            '{"record_version": ' + "[" * 9999,
            '{"record_version": ' + "9" * 9999 + "}",
            "[]",
            "",
        )
    ):
        (tmp_path / f"imagesTr/{number}.json").write_text(text)
    os.mkfifo(tmp_path / "imagesTr/a_0000.json")
    (tmp_path / "imagesTr/b_0000.json").mkdir()
    assert len(find_scans(tmp_path).files) == 2


def test_devices_are_not_opened() -> None:
    for name in ("/dev/null", "/dev/zero", "/dev/tty"):
        (job,) = plan([name], Path("/tmp/mask.nii"))
        assert "a device, expected a regular file" in str(job.problem)
