"""The rule for outputs over a batch: collisions, corrected masks, reports, other processes."""

import csv
import errno
import json
import os
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lits_runtime import OutputBusyError, OutputError, Segmenter
from lits_runtime.batch import run_batch, segment_scan
from lits_runtime.batch.job import Job
from lits_runtime.batch.job_files import OutputPlan
from lits_runtime.batch.one_job import OneJob
from lits_runtime.batch.results_file import ReportFile, write_report
from lits_runtime.files.atomic import atomic_path
from lits_runtime.files.locks import locked
from lits_runtime.files.output_rule import Inputs, lock_paths
from lits_runtime.messages import csv_cell
from lits_runtime.records.record_file import our_files, record_path
from support.batches import FOREIGN, contents, invoke, litter, results, settings, statuses
from support.files.scans import load_nifti, write_scan


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_scan(tmp_path / "scan.nii.gz")


def test_only_the_jobs_that_collide_fail(tiny_model_path: Path, tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.nii", "b.nii.gz", "Caps.nii.gz", "caps.nii", "d.nii"):
        write_scan(tmp_path / "in" / name)
    result = invoke(tiny_model_path, tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert result.exit_code == 1
    told = {Path(line["scan"]).name: line for line in map(json.loads, result.stdout.splitlines())}
    done = sorted(name for name, line in told.items() if line["status"] == "done")
    assert done == ["b.nii.gz", "d.nii"]
    assert "would come from both" in told["a.nii"]["error"]
    assert sorted(contents(tmp_path / "out")) == [
        ".Caps.failed.json", ".a.failed.json",
        ".caps.failed.json", "b_mask.json", "b_mask.nii.gz", "d_mask.json",
        "d_mask.nii.gz",
    ]  # fmt: skip


def test_a_corrected_mask_is_kept_and_the_others_go_on(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    scans = [write_scan(tmp_path / f"{seed}.nii.gz", seed) for seed in range(3)]
    arguments = (*scans, "-o", tmp_path / "out", "--json")
    assert statuses(invoke(tiny_model_path, *arguments)) == ["done"] * 3
    mask = tmp_path / "out/1_mask.nii.gz"
    image = load_nifti(mask)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), mask)
    corrected = results(tmp_path)
    result = invoke(tiny_model_path, *arguments)
    assert statuses(result) == ["skipped", "failed", "skipped"]
    assert "was changed after we wrote it, and is kept" in result.stderr
    assert results(tmp_path) == corrected
    again = invoke(tiny_model_path, *arguments, "--mask", "liver")
    assert statuses(again) == ["done", "failed", "done"]
    assert mask.read_bytes() == corrected["out/1_mask.nii.gz"]
    assert statuses(invoke(tiny_model_path, *arguments, "--force")) == ["done"] * 3


def test_a_mask_that_is_corrected_while_it_is_made_again_is_kept(
    scan: Path, tiny_model_path: Path
) -> None:
    mask = scan.with_name("mask.nii.gz")
    segment_scan(Job(scan, mask), settings(tiny_model_path))
    record = record_path(mask).read_bytes()

    def correct(job: Job, done: int, of: int) -> None:
        mask.write_bytes(FOREIGN)

    (outcome,) = run_batch(
        [Job(scan, mask)], settings(tiny_model_path, mask_kind="liver"), progress=correct
    )
    assert isinstance(outcome.error, OutputError)
    assert mask.read_bytes() == FOREIGN
    assert record_path(mask).read_bytes() == record
    assert litter(scan.parent) == []


def test_masks_of_two_formats_do_not_share_a_record(scan: Path, tiny_model_path: Path) -> None:
    folder = scan.parent
    assert invoke(tiny_model_path, scan, "-o", folder / "m.nii.gz").exit_code == 0
    before = contents(folder)
    result = invoke(tiny_model_path, scan, "-o", folder / "m.nii")
    assert result.exit_code == 2
    assert "m.json exists" in result.stderr
    assert contents(folder) == before


def test_a_probability_of_the_mask_s_name_in_another_folder_is_committed(
    scan: Path, tiny_model_path: Path
) -> None:
    folder = scan.parent
    arguments = (scan, "-o", folder / "a/m_lesion.nii.gz", "--json")
    probability = ("--probability", folder / "b/m.nii.gz")
    for status in ("done", "skipped"):
        assert statuses(invoke(tiny_model_path, *arguments, *probability)) == [status]
    assert our_files(folder / "a") == {
        folder / "a/m_lesion.nii.gz", folder / "b/m_lesion.nii.gz", folder / "b/m_liver.nii.gz",
    }  # fmt: skip


@pytest.mark.parametrize("ending", [".json", ".csv"])
def test_a_report_of_ours_is_replaced_and_another_kept(
    ending: str, scan: Path, tiny_model_path: Path
) -> None:
    report = scan.with_name(f"report{ending}")
    arguments = (scan, "-o", scan.with_name("mask.nii.gz"), "--report", report)
    for _ in range(3):
        assert invoke(tiny_model_path, *arguments).exit_code == 0
    ours = report.read_bytes()
    report.write_bytes(ours.replace(b"skipped", b"checked"))  # by a person
    before = contents(scan.parent)
    result = invoke(tiny_model_path, *arguments)
    assert result.exit_code == 2
    assert "was changed after we wrote it" in result.stderr
    assert contents(scan.parent) == before
    assert invoke(tiny_model_path, *arguments, "--force").exit_code == 0


def test_a_report_that_exists_or_has_a_result_s_name_stops_the_run_at_once(
    scan: Path, tiny_model_path: Path
) -> None:
    folder = scan.parent
    (folder / "mine.csv").write_bytes(FOREIGN)
    (folder / "file").write_bytes(FOREIGN)
    before = contents(folder)
    for report, message in (
        ("mask.json", "has this name"),
        ("mine.csv", "exists"),
        ("file/report.csv", "not a folder"),
    ):
        out = ["-o", folder / "mask.nii.gz", "--report", folder / report]
        result = invoke(tiny_model_path, scan, *out)
        assert (result.exit_code, message in result.stderr) == (2, True), result.output
        assert contents(folder) == before


def test_a_report_of_another_run_that_ended_meanwhile_is_kept(
    tmp_path: Path,
) -> None:
    path = tmp_path / "report.csv"
    report = ReportFile(path)
    write_report([], path)
    with pytest.raises(OutputError, match="written by another"):
        report.write([])
    write_report([], path)  # a run after the other


def test_one_output_of_two_processes_is_waited_for(scan: Path, tiny_model_path: Path) -> None:
    mask = scan.with_name("mask.nii.gz")
    (lock,) = lock_paths([record_path(mask)])
    with locked(lock, lambda: None):
        (outcome,) = run_batch([Job(scan, mask)], settings(tiny_model_path, lock_wait_s=0.1))
        assert isinstance(outcome.error, OutputBusyError)
        assert "another process is writing" in str(outcome.error)
        (outcome,) = run_batch([Job(scan, mask)], settings(tiny_model_path), cancel=lambda: True)
        assert outcome.status == "cancelled"
    assert not mask.exists()
    assert litter(scan.parent) == []


def test_cells_are_no_formulas(tmp_path: Path) -> None:
    names = (
        "=1+1.nii",
        "+cmd.nii",
        "-2.nii",
        "@sum.nii",
        "\tx.nii",
        "\rx.nii",
        " =2.nii",
        "\uff1d3.nii",
    )
    told = {"mask": "@m", "status": "failed", "error": "=HYPERLINK()\x1b[2J", "record": None}
    write_report([{"scan": name, **told} for name in names], tmp_path / "report.csv")
    text = (tmp_path / "report.csv").read_text()
    assert "\x1b" not in text
    for row in list(csv.reader(text.splitlines()))[1:]:
        assert all(not cell.lstrip().startswith(("=", "+", "-", "@", "\t")) for cell in row if cell)
        assert row[0][0] == row[1][0] == row[3][0] == "'"
    assert csv_cell(-1.5) == -1.5
    assert csv_cell("plain") == "plain"


def test_names_that_macos_takes_for_one_collide(tiny_model_path: Path, tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9.nii", "cafe\u0301.nii"
    for name in (composed, decomposed):
        write_scan(tmp_path / "in" / name)
    result = invoke(tiny_model_path, tmp_path / "in", "-o", tmp_path / "out", "--json")
    assert statuses(result) == ["failed"] * 2


def test_a_report_that_is_a_scan_by_a_hard_link_is_refused(
    scan: Path, tiny_model_path: Path
) -> None:
    os.link(scan, scan.with_name("report.csv"))
    before = contents(scan.parent)
    report = ("--report", scan.with_name("report.csv"), "--force")
    result = invoke(tiny_model_path, scan, "-o", scan.with_name("m.nii"), *report)
    assert (result.exit_code, "overwrite the scan" in result.stderr) == (2, True)
    assert contents(scan.parent) == before


def test_a_moved_output_folder_is_ours_still(scan: Path, tiny_model_path: Path) -> None:
    folder = scan.parent
    assert invoke(tiny_model_path, scan, "-o", folder / "out/m.nii.gz").exit_code == 0
    (folder / "out").rename(folder / "moved")
    arguments = (scan, "-o", folder / "moved/m.nii.gz", "--json")
    assert statuses(invoke(tiny_model_path, *arguments)) == ["skipped"]
    assert statuses(invoke(tiny_model_path, *arguments, "--mask", "liver")) == ["done"]


@pytest.mark.parametrize("locks", ["none", "no module"])
def test_where_there_are_no_locks_jobs_run_and_nothing_unproved_is_removed(
    locks: str, scan: Path, tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    if locks == "none":
        monkeypatch.setattr("fcntl.flock", refuse)
    else:
        monkeypatch.setitem(sys.modules, "fcntl", None)
    with atomic_path(scan.with_name("other")) as temporary:
        temporary.write_text("being written")
        segment_scan(Job(scan, scan.with_name("m.nii.gz")), settings(tiny_model_path))
        (outcome,) = run_batch([Job(scan, scan.with_name("m.nii.gz"))], settings(tiny_model_path))
        assert outcome.status == "skipped"
        assert temporary.exists()
    assert sorted(contents(scan.parent)) == ["m.json", "m.nii.gz", "other", "scan.nii.gz"]


def test_what_is_found_while_another_process_names_its_results_is_looked_at_again(
    scan: Path, tiny_model_path: Path
) -> None:
    """The record of one moment does not explain the mask of the next, until both are in place."""
    mask = scan.with_name("mask.nii.gz")
    job, wishes = Job(scan, mask), settings(tiny_model_path)
    record = segment_scan(job, wishes)
    whole = mask.read_bytes()
    engine = Segmenter.open(tiny_model_path, provider="cpu", threads=1).engine
    plan = OutputPlan([job], ("liver", "lesion"), Inputs())
    mask.write_bytes(FOREIGN)
    early, late = (OneJob.open(job, wishes, engine, plan) for _ in range(2))
    with pytest.raises(OutputError, match="was changed after we wrote it"):
        early.finish()
    mask.write_bytes(whole)
    assert late.finish() == ("skipped", record)
    mask.write_bytes(FOREIGN)
    redone = OneJob.open(job, wishes, engine, plan)
    mask.unlink()
    assert redone.finish()[0] == "done"
    assert mask.read_bytes() == whole
