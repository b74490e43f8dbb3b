"""lits-archive: a plan, what it costs, how far a run is, and its report."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
from click.testing import CliRunner, Result

from lits_runtime.batch.failures import record_death, record_failure
from lits_runtime.batch.jobs import plan as plan_of
from lits_runtime.batch.lists.manifest import read_manifest
from lits_tools.cli.archive import main
from support.batches import invoke
from support.dicom import ct
from support.files.scans import write_scan


def archive(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for seed in range(9):
        write_scan(folder / f"deep/{seed}.nii.gz", seed)
    write_scan(folder / "large.nii.gz", 9, (60, 60, 40))
    (folder / "text.nii").write_text("no scan at all")
    return folder


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_plan_is_a_manifest_that_lits_infer_takes(
    ending: str, folder: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / f"manifest{ending}"
    options = ("-m", tiny_model_path, "--provider", "cpu", "--sample", 4, "--json")
    workers = ("--for-workers", 10, "--price-per-hour", 2)
    result = archive("plan", folder, "-o", manifest, *options, *workers)
    assert result.exit_code == 0, result.output
    rows = read_manifest(manifest)
    assert [row.id for row in rows] == [*(f"deep/{n}" for n in range(9)), "large", "text"]
    assert [Path(row.uri) for row in rows[:2]] == [
        folder / "deep/0.nii.gz",
        folder / "deep/1.nii.gz",
    ]
    told = json.loads(result.stdout)["estimate"]
    assert told["scans"] == 11
    assert told["sampled"] == 4
    assert told["hours"] == pytest.approx(11 * told["seconds_a_scan"] / 10 / 3600)
    assert told["cost"] == pytest.approx(told["hours"] * 20)
    assert told["read_gb"] > told["written_gb"] > 0
    out = tmp_path / "out"
    run = invoke(tiny_model_path, "--list", manifest, "-o", out, "--json")
    assert run.exit_code == 1
    assert (out / "deep/8_mask.nii.gz").exists()
    again = archive("plan", folder, "-o", manifest, "--sample", 0)
    assert again.exit_code == 2
    assert "--force" in again.output


def test_status_counts_what_the_records_say(
    folder: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    manifest, out = tmp_path / "manifest.csv", tmp_path / "out"
    archive("plan", folder, "-o", manifest, "--sample", 0)
    invoke(tiny_model_path, *(folder / f"deep/{n}.nii.gz" for n in range(3)), "-o", out / "deep")
    jobs = plan_of([folder], out)
    record_failure(jobs[-1], ValueError("not a scan"))
    for _ in range(2):
        record_death(jobs[-2], "WorkerDied")
    told = json.loads(archive("status", out, "--list", manifest, "--json").stdout)
    counts = {name: told[name] for name in ("done", "failed", "quarantined", "left")}
    assert counts == {"done": 3, "failed": 1, "quarantined": 1, "left": 6}
    for number, second in enumerate((0, 10, 30)):
        path = out / f"deep/{number}_mask.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"finished": f"2026-01-01T00:00:{second:02}+00:00"}))
    told = json.loads(archive("status", out, "--list", manifest, "--json").stdout)
    assert told["per_hour"] == pytest.approx(2 / 30 * 3600)
    assert told["hours_left"] == pytest.approx(6 / 240)
    line = archive("status", out).stdout
    assert line.startswith(
        "3 done, 1 failed, 1 quarantined; 240 scans an hour; last one 2026-01-01"
    )
    assert archive("status", tmp_path / "none").exit_code == 1


@pytest.mark.parametrize("named", ["an archive", "a row of a manifest"])
def test_a_series_is_counted_once_whether_it_failed_or_not(
    named: str, tiny_model_path: Path, tmp_path: Path
) -> None:
    """What it is called when it is read must not matter to what is recorded when it is not."""
    out, manifest = tmp_path / "out", tmp_path / "manifest.csv"
    slices = ct.slices_of(ct.body_hu())
    ct.save([*slices[:9], *slices[10:]], tmp_path / "series")
    zipped = shutil.make_archive(str(tmp_path / "scan"), "zip", tmp_path / "series")
    other = write_scan(tmp_path / "other.nii.gz")

    def counts(*more: str) -> tuple[int, int]:
        names: tuple[object, ...] = (zipped, other)
        if named != "an archive":
            manifest.write_text(f"uri,id\n{tmp_path / 'series'},site/1\n{other},site/2\n")
            names = ("--list", manifest)
        invoke(tiny_model_path, *names, "-o", out, *more)
        told = json.loads(archive("status", out, "--json").stdout)
        return told["done"], told["failed"]

    assert counts() == (1, 1)
    assert counts("--fill-missing") == (2, 0)
    if named != "an archive":  # whose results are called after the series in it
        assert counts() == (1, 1), "the last run failed"
        assert counts("--fill-missing") == (2, 0)


def test_the_report_is_one_table_and_one_page(
    folder: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    manifest, out, to = tmp_path / "manifest.csv", tmp_path / "out", tmp_path / "report"
    archive("plan", folder, "-o", manifest, "--sample", 0)
    invoke(tiny_model_path, "--list", manifest, "-o", out)
    result = archive("report", out, "-o", to, "--list", manifest)
    assert result.exit_code == 0, result.output
    rows: list[dict[str, Any]] = parquet.read_table(to / "archive.parquet").to_pylist()
    assert [row["id"] for row in rows] == [*(f"deep/{n}" for n in range(9)), "large", "text"]
    by_id = {row["id"]: row for row in rows}
    record = json.loads((out / "deep/3_mask.json").read_text())
    row = by_id["deep/3"]
    assert row["liver_ml"] == record["volumes_ml"]["liver"]
    assert row["burden_percent"] == record["tumour_burden_percent"]
    assert [one["volume_ml"] for one in row["lesions"]] == [
        one["volume_ml"] for one in record["lesions"]
    ]
    assert row["scan_mb"] == np.float64((folder / "deep/3.nii.gz").stat().st_size / 1e6)
    assert (row["slices"], row["slice_mm"]) == (6, record["spacing_mm"][2])
    assert (by_id["text"]["state"], by_id["text"]["error_kind"]) == ("failed", "VolumeError")
    page = (to / "archive.html").read_text()
    assert "11 scans: 10 done, 1 failed, 0 quarantined" in page
    assert "VolumeError: not a readable NIfTI volume: it is text" in page
    assert page.count("<svg") == 6
    assert re.search(r"<figcaption>large<br>[^<]*ml", page)
    assert "data:image/png;base64," in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert archive("report", out, "-o", to).exit_code == 2
    assert archive("report", folder, "-o", tmp_path / "x").exit_code == 2
