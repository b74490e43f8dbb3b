"""lits-infer with names of all kinds: wrong ones fail alone, outputs may go anywhere."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from lits_runtime.batch.jobs import plan
from lits_runtime.cli.infer import main
from support.batches import invoke, statuses
from support.files.record_folders import RECORD, make
from support.files.scans import write_scan


def test_the_output_folder_may_be_anywhere(
    tiny_model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    scans = [write_scan(data / name) for name in ("a.nii.gz", "sub/b.nii")]
    monkeypatch.chdir(data)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (data / "link").symlink_to(elsewhere)
    for source, output in (
        (".", "."),
        (data, "."),
        (".", data),
        ("../data", data / "sub/.."),
        (data, "out"),
        (".", data / "out"),
        (".", "link"),
        (data, elsewhere),
        (data, tmp_path),
        ("sub/..", "out.v2"),
    ):
        for status in ("done", "skipped"):
            result = invoke(tiny_model_path, source, "-o", output, "--json")
            assert result.exit_code == 0, result.output
            found = [
                Path(json.loads(line)["scan"]).resolve() for line in result.stdout.splitlines()
            ]
            assert found == scans
            assert status == "done" or set(statuses(result)) == {"skipped"}
        assert (Path(output) / "sub/b_mask.nii.gz").is_file()


def test_no_output_of_ours_is_a_scan_of_the_next_run(tiny_model_path: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    scan = write_scan(data / "s.nii.gz")
    for _ in range(2):
        result = invoke(tiny_model_path, data, "-o", out, "--probability", data, "--json")
        assert len(statuses(result)) == 1
    assert statuses(invoke(tiny_model_path, data, "--json")) == ["done"]
    scan.unlink()
    gone = invoke(tiny_model_path, data, "--json")
    assert statuses(gone) == ["failed"]
    assert "no scan in this folder" in gone.stderr
    assert not list(data.glob("*_mask_mask*"))


def wrong_names(folder: Path) -> dict[str, str]:
    """Names that are no scan, and a word of what is said of each."""
    write_scan(folder / "masked.nii.gz")
    (folder / "nothing here").mkdir()
    (folder / "empty.nii").touch()
    (folder / "broken.nii").symlink_to(folder / "gone.nii")
    (folder / "round.nii").symlink_to("round.nii")
    (folder / "lfs.nii.gz").write_text("version https://git-lfs.github.com/spec/v1\n")
    os.mkfifo(folder / "fifo.nii.gz")
    os.mkfifo(folder / "fifo")
    return {
        "missing.nii": "no such file",
        "masked.nii.gz/x.nii": "Not a directory",
        "nothing here": "no scan in this folder",
        "empty.nii": "empty file",
        "broken.nii": "which is not there",
        "round.nii": "Too many levels",
        "lfs.nii.gz": "git lfs pull",
        "fifo.nii.gz": "a named pipe",
        "fifo": "a named pipe",
        "x" * 300 + ".nii": "File name too long",
        "y" * 245 + ".nii": "its mask cannot be written",
        "a\x1b[2J.nii": "no such file",
    }


def test_masks_of_ours_that_a_shell_names_too_are_left_out(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    scan, mask = write_scan(tmp_path / "a.nii.gz"), tmp_path / "named.nii.gz"
    mask.write_text("x")
    mask.with_name("named.json").write_text(RECORD)
    planned = plan([mask, scan])
    assert [(job.scan, job.problem) for job in planned] == [(scan, None)]
    assert [(one.path, "lits-infer" in one.why) for one in planned.left_out] == [(mask, True)]
    (alone,) = plan([mask])
    assert "name the scan" in str(alone.problem)


@pytest.mark.parametrize("listed", [False, True])
def test_what_goes_wrong_with_a_name_is_its_own_failure(
    listed: bool, tiny_model_path: Path, tmp_path: Path
) -> None:
    names = wrong_names(tmp_path)
    write_scan(tmp_path / ("y" * 245 + ".nii"))
    good = [write_scan(tmp_path / f"good-{n}.nii.gz", n) for n in range(2)]
    paths = [str(good[0]), *(str(tmp_path / name) for name in names), str(good[1])]
    text = "\n".join([*paths, "a\0b.nii"])
    named = ["--list", "-"] if listed else [*paths, ""]
    arguments = [*named, "-m", str(tiny_model_path), "--provider", "cpu", "--json"]
    result = CliRunner().invoke(main, arguments, input=text)
    assert result.exit_code == 1, result.output
    assert statuses(result) == ["done", *["failed"] * len(names), "done", "failed"]
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    words = [*names.values(), "null" if listed else "an empty name"]
    assert len(errors) == len(words)
    for error, word in zip(errors, words, strict=True):
        assert word in error
    assert f"2 done, 0 done before, {len(words)} failed" in result.stderr
    assert result.stderr.replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["missing.nii", "nothing here", "fifo"])
def test_a_single_wrong_name_is_one_line(name: str, tiny_model_path: Path, tmp_path: Path) -> None:
    word = wrong_names(tmp_path)[name]
    result = invoke(tiny_model_path, tmp_path / name)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert word in result.stderr


def test_upper_case_endings_are_read_and_written(tiny_model_path: Path, tmp_path: Path) -> None:
    import gzip

    plain = write_scan(tmp_path / "plain.nii").read_bytes()
    scan = tmp_path / "SCAN.NII.GZ"
    scan.write_bytes(gzip.compress(plain))
    probability = tmp_path / "P.Nii.Gz"
    for status in ("done", "skipped"):
        result = invoke(
            *(tiny_model_path, scan, "-o", tmp_path / "X.NII.GZ", "--json"),
            *("--probability", probability),
        )
        assert statuses(result) == [status], result.output
    assert len(gzip.decompress((tmp_path / "X.NII.GZ").read_bytes())) == 352 + 12 * 11 * 6
    names = {"X.NII.GZ", "X.json", "P_liver.Nii.Gz", "P_lesion.Nii.Gz"}
    assert {path.name for path in tmp_path.iterdir()} == names | {scan.name, "plain.nii"}
    assert [job.scan.name for job in plan([tmp_path])] == ["SCAN.NII.GZ", "plain.nii"]


def test_left_out_files_are_named_on_stderr_unless_quiet(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    write_scan(tmp_path / "a.nii")
    make(tmp_path, {"labelsTr/\x1b[2J.nii": "", "b.mha": ""})
    result = invoke(tiny_model_path, tmp_path)
    assert result.exit_code == 0, result.output
    assert "labelsTr/\\x1b[2J.nii: masks, by the folder's name" in result.stderr
    assert "b.mha: MetaImage, not NIfTI" in result.stderr
    assert invoke(tiny_model_path, tmp_path, "--quiet").stderr == ""


def test_lists_as_other_systems_write_them(tiny_model_path: Path, tmp_path: Path) -> None:
    scans = [write_scan(tmp_path / name) for name in ("a.nii", "b .nii")]
    listing = tmp_path / "list.txt"
    odd = os.fsencode(tmp_path) + b"/\xff\xfe.nii"
    lines = [b"\xef\xbb\xbf" + bytes(scans[0]), b"# \xe9", odd, bytes(scans[1])]
    listing.write_bytes(b"\r\n".join(lines))
    result = invoke(tiny_model_path, "--list", listing, "--json")
    assert statuses(result) == ["done", "failed", "done"], result.output
    assert "\\udcff\\udcfe.nii: no such file" in result.stderr


def test_names_that_are_no_text_are_segmented(tiny_model_path: Path, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "a.nii")
    scan.rename(os.fsdecode(bytes(tmp_path) + b"/\xff.nii"))
    result = invoke(tiny_model_path, tmp_path, "--json")
    assert statuses(result) == ["done"], result.output
