"""Manifests: what goes in comes out, and wrong rows are named."""

from pathlib import Path

import pytest

from lits_runtime import OptionsError
from lits_runtime.batch.jobs import plan
from lits_runtime.batch.lists.manifest import as_manifest, read_manifest
from lits_runtime.batch.lists.row import Row
from support.files.scans import write_scan


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_rows_come_back(ending: str, tmp_path: Path) -> None:
    rows = [
        Row("s3://bucket/a.nii.gz", "site/a"),
        Row("scans/b, with a comma.nii"),
        Row("s3://bucket/study/", "c", {"formats": ["seg"], "fill_missing": True}),
    ]
    path = tmp_path / f"manifest{ending}"
    path.write_bytes(as_manifest(rows, ending))
    assert read_manifest(path) == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("url\na.nii\n", "no column uri"),
        ("uri\n\n,\n", "row 1: an empty uri"),
        ("uri,id\na.nii,../b\n", "expected a name that stays below the output"),
        ("uri,id\na.nii,/b\n", "expected a name that stays below the output"),
        ("uri,id\na.nii,b\nc.nii,b\n", "row 2: the id b is there twice"),
        ('uri,options\na.nii,"{""threshold"": 1}"\n', "options: expected a JSON object"),
    ],
)
def test_a_wrong_row_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    with pytest.raises(OptionsError, match=message):
        read_manifest(path)


def test_an_id_names_the_results_of_one_scan(tmp_path: Path) -> None:
    one, folder = write_scan(tmp_path / "a.nii.gz"), tmp_path / "two"
    for name in "bc":
        write_scan(folder / f"{name}.nii.gz")
    rows = [Row(str(one), "site/first"), Row(str(folder), "second"), Row(str(folder))]
    jobs = plan(rows, Path("out"))
    assert [job.mask.as_posix() for job in jobs if job.problem is None] == [
        "out/site/first_mask.nii.gz", "out/b_mask.nii.gz", "out/c_mask.nii.gz",
    ]  # fmt: skip
    (problem,) = [job.problem for job in jobs if job.problem is not None]
    assert problem == "2 scans, where the manifest gives one name; list each"
