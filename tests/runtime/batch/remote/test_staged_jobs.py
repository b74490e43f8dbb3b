"""Jobs in a store: the bytes of local ones, whatever happens on the way."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lits_runtime.batch.jobs import plan
from lits_runtime.batch.lists.manifest import as_manifest
from lits_runtime.batch.lists.row import Row
from lits_runtime.cli.infer import main as infer
from support.batches import contents, invoke, statuses
from support.files.scans import write_scan
from support.services.object_store import SECRET, Door, object_store

assert infer
SCANS = ("a.nii.gz", "b.nii", "deep/c.nii.gz")


@pytest.fixture(scope="module")
def store() -> Iterator[Door]:
    with object_store("scans", "results") as door:
        yield door


@pytest.fixture
def prefix(store: Door, tmp_path: Path) -> str:
    """Three scans, a mask and a note under a prefix of their own, and in a folder here."""
    store.requests.clear()
    store.cuts, store.denies_put = 0, False
    for seed, name in enumerate(SCANS):
        write_scan(tmp_path / "in" / name, seed)
    write_scan(tmp_path / "in/segmentation-1.nii.gz")
    (tmp_path / "in/notes.txt").write_text("no scan")
    prefix = f"s3://scans/{tmp_path.name}/"
    for name, content in contents(tmp_path / "in").items():
        put(prefix + name, content)
    return prefix


@pytest.fixture
def out(tmp_path: Path) -> str:
    return f"s3://results/{tmp_path.name}"


def put(uri: str, content: bytes) -> None:
    from lits_runtime.stores.objects import write

    write(content, uri)


def objects(prefix: str) -> dict[str, bytes]:
    from lits_runtime.stores.objects import listed, read

    found = {uri.removeprefix(f"{prefix}/"): read(uri, 2**24) for uri in listed(prefix)}
    return {name: content for name, content in found.items() if content is not None}


def without(record: bytes, *names: str) -> dict[str, Any]:
    return {k: v for k, v in json.loads(record).items() if k not in names}


def test_in_and_out_and_a_rerun(
    store: Door, prefix: str, out: str, tiny_model_path: Path, tmp_path: Path
) -> None:
    first = invoke(tiny_model_path, prefix, "-o", out, "--json")
    assert statuses(first) == ["done"] * 3, first.output
    assert [json.loads(line)["scan"] for line in first.stdout.splitlines()] == [
        prefix + name for name in SCANS
    ]
    there = objects(out)
    invoke(tiny_model_path, tmp_path / "in", "-o", tmp_path / "here")
    here = contents(tmp_path / "here")
    assert there.keys() == here.keys()
    for name, content in there.items():
        if name.endswith(".json"):
            times = ("finished", "seconds", "store")
            assert without(content, *times) == without(here[name], *times)
        else:
            assert content == here[name]
    store.requests.clear()
    again = invoke(tiny_model_path, prefix, "-o", out, "--json")
    assert statuses(again) == ["skipped"] * 3, again.output
    assert store.fetched(".nii.gz") + store.fetched(".nii") == 0
    assert objects(out) == there
    put(prefix + "b.nii", contents(tmp_path / "in")["a.nii.gz"][:50])
    changed = invoke(tiny_model_path, prefix, "-o", out, "--json")
    assert statuses(changed) == ["skipped", "failed", "skipped"]
    assert f"{prefix}b.nii: " in changed.stderr
    assert objects(out)["b_mask.nii.gz"] == there["b_mask.nii.gz"]
    assert ".b.failed.json" in objects(out)


def test_a_store_in_and_a_folder_out(
    store: Door, prefix: str, tiny_model_path: Path, tmp_path: Path
) -> None:
    arguments = (f"{prefix}a.nii.gz", "-o", tmp_path / "here", "--json")
    assert statuses(invoke(tiny_model_path, *arguments)) == ["done"]
    store.requests.clear()
    assert statuses(invoke(tiny_model_path, *arguments)) == ["skipped"]
    assert store.fetched("a.nii.gz") == 0
    assert sorted(contents(tmp_path / "here")) == ["a_mask.json", "a_mask.nii.gz"]
    one = invoke(tiny_model_path, f"{prefix}a.nii.gz", "-o", f"{prefix}x.nii.gz", "--json")
    assert statuses(one) == ["done"]
    assert invoke(tiny_model_path, f"{prefix}a.nii.gz").exit_code == 1


def test_a_cut_connection_is_tried_again(
    store: Door, prefix: str, out: str, tiny_model_path: Path, tmp_path: Path
) -> None:
    store.cuts = 2
    result = invoke(tiny_model_path, prefix, "-o", out, "--json")
    assert statuses(result) == ["done"] * 3, result.output
    assert store.cuts == 0
    invoke(tiny_model_path, tmp_path / "in", "-o", tmp_path / "here")
    assert objects(out)["a_mask.nii.gz"] == contents(tmp_path / "here")["a_mask.nii.gz"]


def test_a_denied_put_is_one_line_and_a_rerun_completes(
    store: Door, prefix: str, out: str, tiny_model_path: Path
) -> None:
    store.denies_put = True
    result = invoke(tiny_model_path, f"{prefix}a.nii.gz", "-o", out)
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert line == (
        f"error: {out}/a_mask.json: cannot be written: access denied; credentials are taken from "
        "the environment"
    )
    assert objects(out) == {}
    store.denies_put = False
    assert statuses(invoke(tiny_model_path, f"{prefix}a.nii.gz", "-o", out, "--json")) == ["done"]


def test_a_killed_run_is_completed_and_a_foreign_mask_kept(
    store: Door, prefix: str, out: str, tiny_model_path: Path
) -> None:
    arguments = (f"{prefix}a.nii.gz", "-o", out, "--json")
    invoke(tiny_model_path, *arguments)
    there = objects(out)
    record = json.loads(there["a_mask.json"])
    naming = {"record_version": 1, "state": "naming", "files": record["files"]}
    put(f"{out}/a_mask.json", json.dumps(naming).encode())
    assert statuses(invoke(tiny_model_path, *arguments)) == ["done"]
    assert objects(out)["a_mask.nii.gz"] == there["a_mask.nii.gz"]
    put(f"{out}/a_mask.nii.gz", b"corrected by hand")
    kept = invoke(tiny_model_path, *arguments)
    assert statuses(kept) == ["failed"]
    assert f"{out}/a_mask.nii.gz was changed after we wrote it, and is kept" in kept.output
    assert objects(out)["a_mask.nii.gz"] == b"corrected by hand"
    assert statuses(invoke(tiny_model_path, *arguments, "--force")) == ["done"]
    assert objects(out)["a_mask.nii.gz"] == there["a_mask.nii.gz"]


def test_two_writers_of_one_record_do_not_mix(store: Door, out: str) -> None:
    from lits_runtime import OutputBusyError
    from lits_runtime.stores.objects import put_after

    first = put_after(b"1", f"{out}/a.json", None)
    with pytest.raises(OutputBusyError, match="another process wrote it in the meantime"):
        put_after(b"2", f"{out}/a.json", None)
    put_after(b"3", f"{out}/a.json", first)
    with pytest.raises(OutputBusyError, match="another process wrote it in the meantime"):
        put_after(b"4", f"{out}/a.json", first)


def test_lists_and_manifests_in_a_store(
    store: Door, prefix: str, out: str, tiny_model_path: Path
) -> None:
    rows = [Row(f"{prefix}a.nii.gz", "first/one"), Row(f"{prefix}deep/c.nii.gz", "two")]
    for ending in (".csv", ".parquet"):
        put(f"{prefix}list{ending}", as_manifest(rows, ending))
        arguments = ("--list", f"{prefix}list{ending}", "-o", f"{out}/{ending[1:]}", "--json")
        result = invoke(tiny_model_path, *arguments)
        assert statuses(result) == ["done"] * 2, result.output
        names = [name for name in objects(f"{out}/{ending[1:]}") if name.endswith("gz")]
        assert names == ["first/one_mask.nii.gz", "two_mask.nii.gz"]
    put(f"{prefix}list.txt", f"# one\n{prefix}b.nii\n".encode())
    lines = invoke(tiny_model_path, "--list", f"{prefix}list.txt", "-o", out, "--json")
    assert statuses(lines) == ["done"]


def test_a_series_below_a_prefix(
    store: Door, out: str, tiny_model_path: Path, tmp_path: Path
) -> None:
    from support.dicom.ct import body_hu, save, slices_of

    folder = tmp_path / "DOE^JANE"
    save(slices_of(body_hu()), folder)
    prefix = f"s3://scans/{tmp_path.name}/study/"
    for name, content in contents(folder).items():
        put(f"{prefix}DOE^JANE/{name}", content)
    result = invoke(tiny_model_path, prefix, "-o", out, "--json", "--format", "sr")
    assert statuses(result) == ["done"], result.output
    names = [*objects(out)]
    assert [name.partition("/")[2] for name in names] == ["record.json", "sr.dcm"]
    assert "DOE" not in "".join(names) + objects(out)[names[0]].decode()
    store.requests.clear()
    again = invoke(tiny_model_path, prefix, "-o", out, "--json", "--format", "sr")
    assert statuses(again) == ["skipped"]
    fetched = [path for method, path in store.requests if method == "GET" and "DOE%5EJANE/" in path]
    assert fetched == []


def test_scratch_has_a_limit_and_is_empty_afterwards(
    store: Door, prefix: str, out: str, tiny_model_path: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    import tempfile

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    small = invoke(tiny_model_path, prefix, "-o", out, "--json", "--scratch-gb", "1e-6")
    assert "failed" in statuses(small)
    assert "the limit of local scratch is" in small.output
    enough = invoke(tiny_model_path, prefix, "-o", out, "--json", "--scratch-gb", "5e-6")
    assert set(statuses(enough)) <= {"done", "skipped"}, enough.output
    assert [*scratch.iterdir()] == []


def test_secrets_stay_out_of_logs_and_records(
    store: Door, prefix: str, out: str, tiny_model_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    signed = f"{store.endpoint}/{prefix[5:]}a.nii.gz?X-Amz-Signature=abcdef0123"
    arguments = (signed, "-o", out, "--json", "-vv")
    result = invoke(tiny_model_path, *arguments)
    assert statuses(result) == ["done"], result.output
    missing = invoke(tiny_model_path, signed.replace("a.nii", "z.nii"), "-o", out, "-vv")
    assert missing.exit_code == 1
    logged = [one.getMessage() for one in caplog.records if one.name != "werkzeug"]
    told = f"{result.output} {missing.output} {logged} {objects(out)}"
    assert SECRET not in told
    assert "abcdef0123" not in told
    user = invoke(tiny_model_path, "https://me:hunter2@host/a.nii", "-o", out)
    assert user.exit_code == 1
    assert "credentials come from the environment" in user.output
    assert "hunter2" not in user.output
    other = invoke(tiny_model_path, prefix, "-o", "ftp://host/out")
    assert other.exit_code == 2
    assert "ftp://host/out: another kind of store; expected s3://, gs://" in other.output


def test_names_in_a_store_are_planned_without_reading(prefix: str, out: str) -> None:
    jobs = plan([prefix], out)
    assert [job.target for job in jobs] == [
        f"{out}/{name}" for name in ("a_mask.nii.gz", "b_mask.nii.gz", "deep/c_mask.nii.gz")
    ]
    assert [one.why for one in jobs.left_out] == ["a mask, by the name"]
    assert os.environ["AWS_ENDPOINT_URL"]
