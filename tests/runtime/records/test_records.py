"""Records: bad ones concern their scan alone, and what they name is ours."""

import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lits_runtime import OutputError
from lits_runtime.batch import run_batch, segment_scan
from lits_runtime.batch.job import Job
from lits_runtime.batch.results_file import write_report
from lits_runtime.cli.outcome_log import log_outcome
from lits_runtime.records.record_file import our_files, record_path
from support.batches import invoke, settings, statuses
from support.files.scans import write_scan


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_scan(tmp_path / "scan.nii.gz")


NESTED = "[" * 5000 + "]" * 5000
BAD_RECORDS: dict[str, str | bytes] = {
    "empty object": "{}",
    "list": "[1]",
    "word": '"done"',
    "nested": NESTED,
    "nested in a record": '{"record_version": 1, "state": "done", "files": ' + NESTED + "}",
    "huge number": '{"record_version": ' + "1" * 5000 + "}",
    "not UTF-8": b'{"record_version": 1, "state": "\xff"}',
    "UTF-16": '{"record_version": 1}'.encode("utf-16"),
    "empty": b"",
    "true": '{"record_version": true, "state": "done", "files": {}}',
    "no name of a file": '{"record_version": 1, "state": "done", "files": {"\\u0000/x": 1}}',
}


@pytest.mark.parametrize("kind", [*BAD_RECORDS, "folder", "pipe", "dangling"])
def test_a_bad_record_concerns_its_scan_alone(
    kind: str, tiny_model_path: Path, tmp_path: Path
) -> None:
    scans = [write_scan(tmp_path / f"{seed}.nii.gz", seed) for seed in range(3)]
    record = tmp_path / "out/1_mask.json"
    record.parent.mkdir()
    if kind == "folder":
        record.mkdir()
    elif kind == "pipe":
        os.mkfifo(record)
    elif kind == "dangling":
        record.symlink_to("nowhere")
    else:
        content = BAD_RECORDS[kind]
        record.write_bytes(content if isinstance(content, bytes) else content.encode())
    report = tmp_path / "report.csv"
    result = invoke(
        tiny_model_path, *scans, "-o", record.parent, "--json", "--report", report
    )  # fmt: skip
    assert statuses(result) == ["done", "failed", "done"]
    assert result.exit_code == 1
    assert len(report.read_text().splitlines()) >= 4
    assert our_files(record.parent) == {record.parent / f"{seed}_mask.nii.gz" for seed in (0, 2)}


VALUES: list[Any] = [None, [], {}, "x", float("nan"), 10**400, [None], {"a": [1]}, -1]


def mutations(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The record with each of its parts left out, and replaced by a value of another type."""
    values = itertools.cycle(VALUES)
    lesion = record["lesions"][0]
    for key in record:
        yield {name: value for name, value in record.items() if name != key}
        yield record | {key: next(values)}
        yield record | {key: next(values)}
    for key in lesion:
        yield record | {"lesions": [{name: kept for name, kept in lesion.items() if name != key}]}
        yield record | {"lesions": [lesion | {key: next(values)}]}


@pytest.mark.slow
def test_a_record_of_any_other_shape_is_no_crash(scan: Path, tiny_model_path: Path) -> None:
    mask = scan.with_name("mask.nii.gz")
    job, wishes = Job(scan, mask), settings(tiny_model_path)
    record = segment_scan(job, wishes)
    content = mask.read_bytes()
    for changed in mutations(record):
        record_path(mask).write_text(json.dumps(changed))
        (outcome,) = run_batch([job], wishes)
        assert outcome.status in ("done", "skipped", "failed")
        assert mask.read_bytes() == content
        if outcome.error is not None:
            assert isinstance(outcome.error, OutputError)
            record_path(mask).write_text(json.dumps(record))
        log_outcome(outcome, 2)
        write_report([outcome.to_json()], scan.with_name("report.csv"))


def test_records_of_the_first_edition_are_honoured(scan: Path, tiny_model_path: Path) -> None:
    folder = scan.parent
    arguments = (scan, "-o", folder / "mask.nii.gz", "--probability", folder / "p", "--json")
    assert statuses(invoke(tiny_model_path, *arguments)) == ["done"]
    record = json.loads((folder / "mask.json").read_text())
    record["files"] = {Path(name).name: facts for name, facts in record["files"].items()}
    (folder / "mask.json").write_text(json.dumps(record))
    assert statuses(invoke(tiny_model_path, *arguments)) == ["skipped"]
    (folder / "mask.json").write_text('{"record_version": 1, "state": "running"}')
    (folder / "mask.nii.gz").unlink()
    shutil.rmtree(folder / "p")
    assert statuses(invoke(tiny_model_path, *arguments)) == ["done"]


def test_our_results_are_no_scans_of_a_later_run(tiny_model_path: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    for seed in range(2):
        write_scan(data / f"deep/{seed}.nii.gz", seed)
    arguments = (data, "-o", out, "--probability", data, "--json")
    assert statuses(invoke(tiny_model_path, *arguments)) == ["done"] * 2
    assert statuses(invoke(tiny_model_path, *arguments)) == ["skipped"] * 2
    assert statuses(invoke(tiny_model_path, data, "--json")) == ["done"] * 2
    (data / "deep/0.nii.gz").unlink()
    (data / "deep/0_prob_liver.nii.gz").unlink()
    (data / "deep/0_prob_lesion.nii.gz").unlink()
    assert statuses(invoke(tiny_model_path, data, "--json")) == ["skipped"]
    assert not list(tmp_path.rglob("*_mask_mask*"))


def test_escapes_of_a_forged_record_do_not_reach_the_terminal(
    scan: Path, tiny_model_path: Path
) -> None:
    mask = scan.with_name("mask.nii.gz")
    record = segment_scan(Job(scan, mask), settings(tiny_model_path))
    forged = record | {"warnings": ["\x1b[2J"], "liver_cut": ["\x1b[1m"], "provider": "\x1b[0m"}
    forged["volumes_ml"] = {"\x1b[3m": 1.0}
    record_path(mask).write_text(json.dumps(forged))
    result = invoke(tiny_model_path, scan, "-o", mask)
    assert result.exit_code == 0
    assert "\x1b" not in result.output
    assert "\\x1b[2J" in result.stderr
