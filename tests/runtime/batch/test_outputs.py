"""One rule for outputs: what is not ours is never lost, by whatever way in."""

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from lits_runtime import ModelError, OutputError, Scan, Segmenter, VolumeError
from lits_runtime.batch import run_batch, segment_scan
from lits_runtime.batch.job import Job
from lits_runtime.batch.job_files import JobFiles
from lits_runtime.model.checked_file import read_content
from lits_runtime.phantom.ct import make_phantom, write_phantom
from lits_runtime.records.record_file import read_record
from lits_train.cli.data import main as data_main
from support.batches import FOREIGN, contents, invoke, litter, settings, statuses
from support.files.scans import LPS_AFFINE, load_nifti, random_hu, write_scan
from support.networks.tiny_models import tiny_model


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.open(tiny_model(), provider="cpu", threads=1)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_scan(tmp_path / "scan.nii.gz")


def by_command(model: Path, job: Job, force: bool) -> None:
    extra = ["--probability", job.probability] if job.probability else []
    result = invoke(model, job.scan, "-o", job.mask, *extra, *(["--force"] if force else []))
    assert "Traceback" not in result.output
    if result.exit_code:
        assert result.exit_code == 2, result.output
        raise OutputError(result.stderr)


def by_batch(model: Path, job: Job, force: bool) -> None:
    (outcome,) = run_batch([job], settings(model, force=force))
    if outcome.error is not None:
        raise outcome.error


def by_job(model: Path, job: Job, force: bool) -> None:
    segment_scan(job, settings(model, force=force))


def by_file(model: Path, job: Job, force: bool) -> None:
    Segmenter.open(model, provider="cpu", threads=1).segment_file(
        job.scan, job.mask, probability=job.probability, force=force
    )


def by_save(model: Path, job: Job, force: bool) -> None:
    segmenter = Segmenter.open(model, provider="cpu", threads=1)
    segmenter.segment(job.scan).save(job.mask, force=force)


WAYS = [by_command, by_batch, by_job, by_file, by_save]
Way = Callable[[Path, Job, bool], None]


def linked(scan: Path) -> Path:
    os.link(scan, scan.with_name("hard.nii.gz"))
    return scan.with_name("hard.nii.gz")


def symbolic(scan: Path) -> Path:
    scan.with_name("soft.nii.gz").symlink_to(scan)
    return scan.with_name("soft.nii.gz")


def through_a_folder(scan: Path) -> Path:
    scan.with_name("there").symlink_to(scan.parent)
    return scan.with_name("there") / scan.name


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name_of", [Path, linked, symbolic, through_a_folder])
@pytest.mark.parametrize("way", WAYS)
def test_a_scan_is_never_written_over(
    way: Way, name_of: Callable[[Path], Path], force: bool, scan: Path, tiny_model_path: Path
) -> None:
    target = name_of(scan)
    before = contents(scan.parent)
    with pytest.raises(OutputError, match="overwrite the scan"):
        way(tiny_model_path, Job(scan, target), force)
    assert contents(scan.parent) == before


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("way", WAYS[:-1])
def test_names_are_checked_with_the_class_put_in(
    way: Way, force: bool, tmp_path: Path, tiny_model_path: Path
) -> None:
    scan = write_scan(tmp_path / "p_lesion.nii.gz")
    before = contents(tmp_path)
    for job, message in (
        (Job(scan, tmp_path / "m.nii.gz", tmp_path / "p.nii.gz"), "overwrite the scan"),
        (Job(scan, tmp_path / "q_liver.nii.gz", tmp_path / "q.nii.gz"), "are the same file"),
        (Job(scan, tmp_path / "Q_LIVER.nii.gz", tmp_path / "q.nii.gz"), "are the same file"),
    ):
        with pytest.raises(OutputError, match=message):
            way(tiny_model_path, job, force)
        assert contents(tmp_path) == before


@pytest.mark.parametrize("way", WAYS)
def test_an_existing_file_needs_force(way: Way, scan: Path, tiny_model_path: Path) -> None:
    mask = scan.with_name("mask.nii.gz")
    mask.write_bytes(FOREIGN)
    with pytest.raises(OutputError, match="--force"):
        way(tiny_model_path, Job(scan, mask), False)
    assert mask.read_bytes() == FOREIGN
    way(tiny_model_path, Job(scan, mask), True)
    assert load_nifti(mask).shape == (12, 11, 6)


@pytest.mark.parametrize("way", WAYS[:3])
@pytest.mark.parametrize("name", ["mask.json", "p_lesion.nii.gz"])
def test_so_do_side_cars_and_probabilities(
    name: str, way: Way, scan: Path, tiny_model_path: Path
) -> None:
    job = Job(scan, scan.with_name("mask.nii.gz"), scan.with_name("p.nii.gz"))
    scan.with_name(name).write_bytes(FOREIGN)
    before = contents(scan.parent)
    with pytest.raises(OutputError, match="--force"):
        way(tiny_model_path, job, False)
    assert contents(scan.parent) == before
    way(tiny_model_path, job, True)
    assert read_record(scan.with_name("mask.json")) is not None
    way(tiny_model_path, job, False)


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        (kind, way)
        for kind in ("folder", "pipe", "socket", "dangling")
        for way in WAYS
        if (kind, way) != ("folder", by_command)  # to which a folder is where its masks go
    ],
)
def test_what_is_no_file_is_no_target(
    kind: str, way: Way, scan: Path, tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = scan.with_name("m.nii.gz")
    monkeypatch.chdir(scan.parent)  # sockets have short names
    if kind == "folder":
        mask.mkdir()
    elif kind == "pipe":
        os.mkfifo(mask)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(mask.name)
    else:
        mask.symlink_to("nowhere.nii.gz")
    with pytest.raises(OutputError, match=r"folder|pipe|socket|dangling"):
        way(tiny_model_path, Job(scan, mask), kind != "dangling")
    assert os.path.lexists(mask) and not mask.is_file()


def test_the_model_and_a_list_are_no_targets(scan: Path, tiny_model_path: Path) -> None:
    folder = scan.parent
    model = folder / "seg.json"  # where the record of seg.nii.gz would be
    shutil.copy(tiny_model_path, model)
    listed = folder / "list.json"
    listed.write_text(f"{scan}\n")
    for arguments, message in (
        ([scan, "-o", folder / "seg.nii.gz", "-f"], "overwrite the model"),
        (["--list", listed, "--report", listed, "-f"], "that this run reads"),
        ([scan, "-o", folder / "x.nii.gz", "--report", model, "-f"], "overwrite the model"),
    ):
        before = contents(folder)
        result = invoke(model, *arguments)
        assert (result.exit_code, message in result.stderr) == (2, True), result.output
        assert contents(folder) == before


def test_sources_in_memory_remember_their_files(segmenter: Segmenter, tmp_path: Path) -> None:
    stored = random_hu((6, 5, 4))
    plain = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image(stored, LPS_AFFINE), plain)
    pair = tmp_path / "pair.img"
    nib.save(nib.Nifti1Pair(stored, LPS_AFFINE), pair)
    os.link(pair, tmp_path / "pair.nii")
    image = load_nifti(plain)
    before = contents(tmp_path)
    with plain.open("rb") as file:
        sources: list[tuple[Any, Path]] = [
            (image, plain),
            (file, plain),
            (Scan.open(plain), plain),
            ((np.asanyarray(image.dataobj)[:, :, :], LPS_AFFINE), plain),
            (pair.with_suffix(".hdr"), tmp_path / "pair.nii"),
        ]
        for source, target in sources:
            with pytest.raises(OutputError, match="overwrite the scan"):
                segmenter.segment_file(source, target, force=True)
            with pytest.raises(OutputError, match="overwrite the scan"):
                segmenter.segment(source).save(target, force=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "device"])
def test_what_is_no_regular_file_is_refused_at_once(
    kind: str, tmp_path: Path, tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("x.nii")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    for read, error in (
        (Scan.open, VolumeError),
        (read_content, ModelError),
    ):
        with pytest.raises(error, match="expected a regular file"):
            read(path)
    good = write_scan(tmp_path / "good.nii.gz")
    if kind != "folder":
        result = invoke(tiny_model_path, path, good, "-o", tmp_path / "out", "--json")
        assert statuses(result) == ["failed", "done"]


def test_the_files_of_a_job_are_told_by_class(tmp_path: Path) -> None:
    files = JobFiles.of(
        Job(tmp_path / "s.nii", tmp_path / "m.nii.gz", tmp_path / "p.nii"), ("liver", "lesion")
    )
    assert [path.name for path in (*files.results, files.record)] == [
        "m.nii.gz", "p_liver.nii", "p_lesion.nii", "m.json",
    ]  # fmt: skip


def test_phantoms_do_not_replace_scans_of_their_names(tmp_path: Path) -> None:
    phantom = make_phantom(7, matrix=16, slices=2)
    write_phantom(tmp_path, 7, phantom)
    first = contents(tmp_path)
    write_phantom(tmp_path, 7, phantom)  # the same phantom is no loss
    assert contents(tmp_path) == first
    (tmp_path / "volume-7.nii.gz").write_bytes(FOREIGN)
    arguments = ["phantom", str(tmp_path), "--matrix", "16", "--slices", "2", "--seed", "7"]
    result = CliRunner().invoke(data_main, arguments)
    assert (result.exit_code, "--force" in result.stderr) == (2, True)
    assert (tmp_path / "volume-7.nii.gz").read_bytes() == FOREIGN
    assert litter(tmp_path) == []
    assert CliRunner().invoke(data_main, [*arguments, "--force"]).exit_code == 0
    assert contents(tmp_path) == first


def test_one_scan_s_mask_is_no_other_scan(tiny_model_path: Path, tmp_path: Path) -> None:
    a, b = (write_scan(tmp_path / name, seed) for seed, name in enumerate(("a.nii", "b.nii")))
    before = b.read_bytes()
    jobs = [Job(a, b), Job(b, tmp_path / "c.nii"), Job(a, tmp_path / "sub/../b.nii")]
    outcomes = list(run_batch(jobs, settings(tiny_model_path, force=True)))
    assert [outcome.status for outcome in outcomes] == ["failed", "done", "failed"]
    assert b.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "message"), [("x" * 250 + ".nii.gz", "too long"), ("circle/m.nii.gz", "not a folder")]
)
def test_a_name_that_cannot_be_is_said_before_the_work(
    name: str, message: str, scan: Path, tiny_model_path: Path
) -> None:
    scan.with_name("circle").symlink_to("circle")
    told: list[int] = []
    (outcome,) = run_batch(
        [Job(scan, scan.parent / name)],
        settings(tiny_model_path),
        progress=lambda job, done, of: told.append(done),
    )
    assert isinstance(outcome.error, OutputError)
    assert message in str(outcome.error)
    assert told == []
