"""lits-eval with several predictions: its files, and wrong arguments."""

import csv
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lits_tools.cli.eval import main
from support.files.scored_folders import write_scored_folders


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scored_folders(tmp_path_factory.mktemp("eval"))


@pytest.fixture(scope="module")
def compared(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """All outputs of a comparison of masks a voxel off with the references themselves."""
    root = tmp_path_factory.mktemp("compared")
    endings = ("csv", "json", "html", "md", "tex", "svg", "pdf", "png")
    outputs = [x for ending in endings for x in ("-o", root / f"c.{ending}")]
    names = ("--name", "a_voxel off", "--name", "50% & more")
    found = run(folder / "masks", folder / "lits", folder / "lits", *names, *outputs)
    assert found.exit_code == 0, found.output
    assert "50% & more \N{MINUS SIGN} a_voxel off" in found.stdout
    texts = {e: (root / f"c.{e}").read_text("utf-8") for e in endings if e not in ("pdf", "png")}
    starts = {e: (root / f"c.{e}").read_bytes()[:4].decode("latin1") for e in ("pdf", "png")}
    return {**texts, **starts}


@pytest.mark.slow
def test_comparison_as_data(compared: dict[str, str]) -> None:
    scores = json.loads(compared["json"])
    (difference,) = scores["scores"]["lesion_dice"]["minus_first"]
    assert 0 <= difference["low"] < difference["value"] <= difference["high"]
    assert (scores["resamples"], scores["seed"]) == (10_000, 0)
    rows = list(csv.DictReader(compared["csv"].splitlines()))
    assert [(row["case"], row["prediction"]) for row in rows[2:4]] == [
        ("10", "a_voxel off"),
        ("2", "50% & more"),
    ]


@pytest.mark.slow
def test_comparison_as_tables_for_print(compared: dict[str, str]) -> None:
    assert r"50\% \& more $-$ a\_voxel off" in compared["tex"]
    for part in (r"\toprule", r"\bottomrule", "10000 resamples, seed 0"):
        assert part in compared["tex"], part
    rows = [line for line in compared["tex"].splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in rows} == {5}
    assert "A distance is infinite where one of two masks is empty" in compared["md"]
    assert "| liver Dice | 3 |" in compared["md"]


@pytest.mark.slow
def test_comparison_as_figures(compared: dict[str, str]) -> None:
    assert compared["svg"].startswith("<?xml")
    assert "50% &amp; more" in compared["svg"]
    assert (compared["pdf"], compared["png"]) == ("%PDF", "\x89PNG")
    assert compared["html"].count("<svg") == 4
    assert not re.search(r'(src|href)="(?!data:|#)', compared["html"])
    assert "__" not in compared["html"], "a placeholder stayed"


def test_usage_errors_of_a_comparison(folder: Path, tmp_path: Path) -> None:
    masks, lits = folder / "masks", folder / "lits"
    (tmp_path / "m.onnx").write_bytes(b"")
    for arguments, message in (
        ((masks, lits, lits, "--name", "A"), "1 names for 2 predictions"),
        ((masks, masks, lits), "two predictions are named"),
        ((lits, lits, lits, "-m", tmp_path / "m.onnx"), "--model takes one PREDICTED"),
    ):
        found = run(*arguments)
        assert found.exit_code == 2
        assert message in found.stderr
