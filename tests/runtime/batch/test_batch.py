"""Batches: nothing lost, nothing done twice, nothing half written."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from lits_runtime.batch import Settings, run_batch, segment_scan
from lits_runtime.batch.job import Job
from lits_runtime.batch.jobs import plan, read_list, shard
from lits_runtime.cli.infer import main
from lits_runtime.model.checked_file import check
from lits_runtime.segment.options import Options
from support.batches import invoke, litter, statuses
from support.files.scans import LPS_AFFINE, load_nifti, random_hu, write_scan
from support.networks.tiny_models import tiny_model

KILLS = int(os.environ.get("LITS_TEST_KILLS", "4"))
"""How many moments of a batch are tried with SIGKILL; the full run takes 100."""


def expected_mask(seed: int, shape: tuple[int, int, int] = (12, 11, 6)) -> Any:
    volume = random_hu(shape, seed)
    return (volume >= 50).astype(int) + (volume >= 100)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Four scans in a tree, with files beside them that are none."""
    folder = tmp_path / "archive"
    for seed, name in enumerate(("a.nii.gz", "b.nii", "deep/c.nii.gz", "deep/er/a.nii.gz")):
        write_scan(folder / name, seed)
    (folder / "notes.txt").write_text("no scan")
    write_scan(folder / "segmentation-3.nii.gz")
    write_scan(folder / ".hidden/d.nii.gz")
    return folder


def test_the_tree_is_mirrored_and_a_rerun_does_nothing(
    archive: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = invoke(tiny_model_path, archive, "-o", out, "--json")
    assert first.exit_code == 0, first.output
    assert statuses(first) == ["done"] * 4
    names = ["a_mask", "b_mask", "deep/c_mask", "deep/er/a_mask"]
    files = sorted(str(file.relative_to(out)) for file in out.rglob("*") if file.is_file())
    assert files == sorted(f"{name}{end}" for name in names for end in (".nii.gz", ".json"))
    for seed, name in enumerate(names):
        mask = np.asanyarray(load_nifti(out / f"{name}.nii.gz").dataobj)
        np.testing.assert_array_equal(mask, expected_mask(seed))
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in out.rglob("*.*")}
    again = invoke(tiny_model_path, archive, "-o", out, "--json")
    assert statuses(again) == ["skipped"] * 4
    assert before == {
        file: (file.stat().st_mtime_ns, file.read_bytes()) for file in out.rglob("*.*")
    }


def test_masks_beside_the_scans_are_no_scans_of_the_next_run(
    archive: Path, tiny_model_path: Path
) -> None:
    assert statuses(invoke(tiny_model_path, archive, "--json")) == ["done"] * 4
    assert statuses(invoke(tiny_model_path, archive, "--json")) == ["skipped"] * 4


def test_only_what_changed_is_done_again(tiny_model_path: Path, tmp_path: Path) -> None:
    scans = [write_scan(tmp_path / f"{seed}.nii.gz", seed) for seed in range(5)]
    out = tmp_path / "out"
    arguments = (*scans, "-o", out, "--json")
    assert statuses(invoke(tiny_model_path, *arguments)) == ["done"] * 5
    write_scan(scans[0], 99)
    (out / "1_mask.nii.gz").unlink()
    record = json.loads((out / "2_mask.json").read_text())
    (out / "2_mask.json").write_text(json.dumps(record | {"model": {"sha256": "0" * 64}}))
    record = json.loads((out / "3_mask.json").read_text())
    (out / "3_mask.json").write_text(json.dumps(record | {"state": "running"}))
    assert statuses(invoke(tiny_model_path, *arguments)) == ["done"] * 4 + ["skipped"]
    assert statuses(invoke(tiny_model_path, *arguments)) == ["skipped"] * 5
    assert statuses(invoke(tiny_model_path, *arguments, "--mask", "liver")) == ["done"] * 5
    assert (
        statuses(invoke(tiny_model_path, *arguments, "--mask", "liver", "--force")) == ["done"] * 5
    )
    other = tmp_path / "other.onnx"
    other.write_bytes(tiny_model({"recipe": "another"}))
    assert statuses(invoke(other, *arguments, "--mask", "liver")) == ["done"] * 5


def test_the_record_names_what_the_mask_was_made_from(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    import hashlib

    scan = write_scan(tmp_path / "scan.nii.gz")
    record = segment_scan(
        Job(scan, tmp_path / "mask.nii.gz"), Settings(tiny_model_path, provider="cpu")
    )
    assert record == json.loads((tmp_path / "mask.json").read_text())
    assert list(record)[:3] == ["record_version", "state", "warnings"]
    assert record["scan"]["sha256"] == hashlib.sha256(scan.read_bytes()).hexdigest()
    assert record["model"]["sha256"] == hashlib.sha256(tiny_model_path.read_bytes()).hexdigest()
    assert record["provider"] == "cpu"
    assert record["seconds"] > 0
    voxels = (random_hu((12, 11, 6)) >= 100).sum()
    voxel_ml = abs(np.linalg.det(LPS_AFFINE[:3, :3])) / 1000
    assert record["volumes_ml"]["lesion"] == pytest.approx(voxels * voxel_ml)
    assert sum(lesion["volume_ml"] for lesion in record["lesions"]) == pytest.approx(
        voxels * voxel_ml
    )
    assert record["tumour_burden_percent"] == pytest.approx(
        100 * record["volumes_ml"]["lesion"] / record["volumes_ml"]["liver"]
    )


def test_a_bad_scan_is_reported_and_the_others_go_on(
    archive: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    good = (archive / "a.nii.gz").read_bytes()
    (archive / "bad.nii.gz").write_bytes(good[: len(good) // 2])
    (archive / "worse\x1b[2J.nii").write_text("text")
    out = tmp_path / "out"
    result = invoke(tiny_model_path, archive, "-o", out, "--json")
    assert result.exit_code == 1
    assert sorted(statuses(result)) == ["done"] * 4 + ["failed"] * 2
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert "4 done, 0 done before, 2 failed" in result.stderr
    assert "\x1b" not in result.output
    assert "worse\\x1b[2J.nii" in result.stderr
    assert not list(out.rglob("bad*"))
    assert litter(out) == []


def test_a_mask_of_another_is_not_overwritten(tiny_model_path: Path, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz")
    precious = tmp_path / "scan_mask.nii.gz"
    precious.write_text("precious")
    settings = Settings(tiny_model_path, provider="cpu")
    (outcome,) = run_batch([Job(scan, precious)], settings)
    assert outcome.status == "failed"
    assert "--force" in str(outcome.error)
    assert precious.read_text() == "precious"


def test_a_failed_redo_leaves_the_older_result_committed(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz")
    assert statuses(invoke(tiny_model_path, scan, "--json")) == ["done"]
    before = {file: file.read_bytes() for file in tmp_path.glob("scan_mask.*")}
    sound = scan.read_bytes()
    scan.write_bytes(sound[:-9])
    assert invoke(tiny_model_path, scan).exit_code == 1
    assert before == {file: file.read_bytes() for file in tmp_path.glob("scan_mask.*")}
    scan.write_bytes(sound)
    assert statuses(invoke(tiny_model_path, scan, "--json")) == ["skipped"]


def test_shards_share_the_work(archive: Path, tiny_model_path: Path, tmp_path: Path) -> None:
    done = []
    for part in ("1/3", "2/3", "3/3"):
        result = invoke(tiny_model_path, archive, "-o", tmp_path / "out", "--shard", part, "--json")
        done += [json.loads(line)["scan"] for line in result.stdout.splitlines()]
    assert len(done) == len(set(done)) == 4
    jobs = [Job(Path(f"{n}.nii"), Path(f"out/{n}_mask.nii.gz")) for n in range(300)]
    parts = [shard(jobs, f"{number}/3") for number in (1, 2, 3)]
    assert [len(part) for part in parts] == [102, 99, 99]  # for ever: arrays are resumed
    assert [job.scan.name for job in parts[0]][:3] == ["2.nii", "4.nii", "6.nii"]
    assert [job for job in parts[1] if job in jobs[7:]] == shard(jobs[7:], "2/3")
    for wrong in ("0/3", "4/3", "x", "1", "1/0"):
        with pytest.raises(ValueError, match="expected I/N"):
            shard([], wrong)


def test_scans_from_a_list_and_by_pattern(
    archive: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    text = f"# two scans\n{archive / 'a.nii.gz'}\n\n{archive / 'b.nii'}\n"
    arguments = ["--list", "-", "-o", str(tmp_path / "x"), "-m", str(tiny_model_path), "--json"]
    result = CliRunner().invoke(main, arguments, input=text)
    assert statuses(result) == ["done"] * 2
    assert read_list(text.splitlines()) == [archive / "a.nii.gz", archive / "b.nii"]
    by_pattern = plan([archive], pattern="a.*")
    assert [job.scan.name for job in by_pattern] == ["a.nii.gz", "a.nii.gz"]


def test_plans_that_name_no_places_are_refused(archive: Path, tmp_path: Path) -> None:
    for scans, output, message in (
        ([archive], tmp_path / "one.nii.gz", "one file for several"),
        ([archive], archive / "notes.txt", "expected a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            plan(scans, output)


def test_reports_hold_all_scans(archive: Path, tiny_model_path: Path, tmp_path: Path) -> None:
    import csv

    table, listing = tmp_path / "report.csv", tmp_path / "report.json"
    out = tmp_path / "out"
    empty = np.full((5, 4, 3), -1000, np.int16)
    nib.save(nib.Nifti1Image(empty, LPS_AFFINE), archive / "z.nii.gz")
    assert invoke(tiny_model_path, archive, "-o", out, "--report", table).exit_code == 0
    assert invoke(tiny_model_path, archive, "-o", out, "--report", listing).exit_code == 0
    outcomes = json.loads(listing.read_text())
    assert [outcome["status"] for outcome in outcomes] == ["skipped"] * 5
    with table.open() as file:
        rows = list(csv.DictReader(file))
    lesions = [len(outcome["record"]["lesions"]) for outcome in outcomes]
    assert len(rows) == sum(lesions) + lesions.count(0)
    assert lesions.count(0) == 1
    assert {row["scan"] for row in rows} == {outcome["scan"] for outcome in outcomes}
    first = outcomes[0]["record"]["lesions"][0]
    assert float(rows[0]["volume_ml"]) == first["volume_ml"]
    assert float(rows[0]["centroid_z_mm"]) == first["centroid_mm"][2]
    assert rows[-1]["volume_ml"] == ""


def child(model: Path, *arguments: object, **options: Any) -> "subprocess.Popen[str]":
    code = "from lits_runtime.cli.infer import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments), "-m", str(model)]
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    return subprocess.Popen(
        [*command, "--provider", "cpu", "--threads", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


@pytest.fixture(scope="module")
def twenty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twenty")
    for seed in range(20):
        write_scan(folder / f"{seed:02}.nii.gz", seed, (96, 96, 40))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_batch_in_order(
    number: signal.Signals, status: int, twenty: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = child(tiny_model_path, twenty, "-o", out, "--json")
    assert process.stdout is not None
    process.stdout.readline()  # the first scan is done
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert "left" in errors.splitlines()[-1]
    assert litter(out) == []
    for record in out.glob("*.json"):
        assert json.loads(record.read_text())["state"] == "done"
    assert len(list(out.glob("*.json"))) == len(list(out.glob("*.nii.gz"))) < 20


@pytest.mark.slow
def test_killed_at_any_moment_reruns_complete_the_batch(
    twenty: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    began = time.monotonic()
    process = child(tiny_model_path, twenty, "-o", undisturbed)
    process.communicate(timeout=120)
    whole_s = time.monotonic() - began
    assert process.returncode == 0
    rng = random.Random(4)
    for _ in range(KILLS):
        process = child(tiny_model_path, twenty, "-o", out)
        time.sleep(rng.uniform(0, whole_s))
        process.kill()
        process.communicate()
        if rng.random() < 0.3 and out.exists():  # let later kills hit early scans too
            for record in sorted(out.glob("*.json"))[: rng.randrange(20)]:
                record.with_suffix(".nii.gz").unlink(missing_ok=True)
                record.unlink()
    process = child(tiny_model_path, twenty, "-o", out)
    process.communicate(timeout=120)
    assert process.returncode == 0
    masks = sorted(file.name for file in out.glob("*.nii.gz"))
    assert masks == [f"{seed:02}_mask.nii.gz" for seed in range(20)]
    assert litter(out) == []
    for seed, name in enumerate(masks):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()
        mask = np.asanyarray(load_nifti(out / name).dataobj)
        np.testing.assert_array_equal(mask, expected_mask(seed, (96, 96, 40)))


def test_no_room_for_a_mask_is_a_clear_error_and_the_others_go_on(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    """With a limit on file sizes, which acts like a disk that is full for large files only."""
    scans = tmp_path / "scans"
    write_scan(scans / "a.nii.gz", 0, (256, 256, 20))
    write_scan(scans / "b.nii.gz", 1, (6, 6, 4))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))

    process = child(tiny_model_path, scans, "-o", tmp_path / "out", preexec_fn=limit)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "File too large" in errors
    assert "Traceback" not in errors
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        ".a.failed.json",
        "b_mask.json",
        "b_mask.nii.gz",
    ]


def test_a_folder_that_cannot_be_written_is_a_clear_error(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    scans = [write_scan(tmp_path / f"scans/{name}/s.nii.gz") for name in ("a", "b")]
    out = tmp_path / "out"
    out.mkdir()
    (out / "a").write_text("a file where a folder must be")
    result = invoke(tiny_model_path, scans[0].parent.parent, "-o", out, "--json")
    assert result.exit_code == 1
    assert statuses(result) == ["failed", "done"]
    assert "Traceback" not in result.output


def test_wishes_that_the_model_cannot_fulfil_are_usage_errors(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz")
    for arguments, status, message in (
        (["--threshold", "spleen=0.5"], 2, "no class spleen"),
        (["--threshold", "lesion"], 2, "CLASS=PROBABILITY"),
        (["--threshold", "lesion=2"], 2, "threshold 2.0"),
        (["--tta"], 1, "trained without transforms"),
        (["--report", "x.txt"], 2, ".json or .csv"),
    ):
        result = invoke(tiny_model_path, scan, *arguments)
        assert result.exit_code == status, (arguments, result.output)
        assert message in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["scan.nii.gz"]


def test_options_are_plain_values() -> None:
    options = Options(thresholds={"lesion": 0.4}, min_lesion_ml=0.5)
    applied = options.applied(check(tiny_model()).metadata).to_json()
    assert json.loads(json.dumps(applied)) == applied
    assert (applied["thresholds"], applied["min_lesion_ml"]) == ({"lesion": 0.4}, 0.5)
