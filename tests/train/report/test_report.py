"""Reports of runs: what is read from metrics, what the page and the command say."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from lits_runtime import TrainingError
from lits_train.cli.train import main
from lits_train.report.metrics import read_metrics
from lits_train.settings.run import CURVES_NAME, METRICS_NAME, REPORT_NAME


def line(epoch: int, **values: Any) -> str:
    return json.dumps(
        {"epoch": epoch, "step": 10 * epoch, "loss": 1 / epoch, "seconds": 60} | values
    )


def run_of(folder: Path, *lines: str, end: str = "\n") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / METRICS_NAME).write_text("\n".join(lines) + end)
    return folder


def validated(liver: float | None, lesion: float | None) -> dict[str, Any]:
    return {"validation_dice": {"liver": liver, "lesion": lesion}, "learning_rate": 0.001}


@pytest.fixture
def resumed_run(tmp_path: Path) -> Path:
    """Four epochs, resumed twice; the third was not validated, the fourth logged twice."""
    return run_of(
        tmp_path / "a<b>",
        line(1, **validated(0.8, None)),
        line(2, **validated(0.9, 0.4), resumed=True),
        line(3),
        line(4, **validated(0.1, 0.1)),
        line(4, **validated(0.9, 0.3), resumed=True, full_validation={"dice": {"liver": 0.91}}),
        '{"epoch": 5, "lo',
        end="",
    )


def test_metrics_of_a_run_in_several_parts(resumed_run: Path) -> None:
    run = read_metrics(resumed_run)
    assert [epoch.number for epoch in run.epochs] == [1, 2, 3, 4]
    assert run.resumed == [2, 4]
    assert run.classes == ["liver", "lesion"]
    assert run.hours == pytest.approx(4 / 60)
    best = run.best
    assert best is not None
    # Epoch 1 is scored by the liver alone, as lits-train does: 0.8 is more than (0.9 + 0.4) / 2.
    assert (best.number, best.score) == (1, 0.8)
    assert math.isnan(best.dice["lesion"])
    assert run.epochs[3].dice["lesion"] == 0.3
    assert run.epochs[3].full_dice == {"liver": 0.91}


def test_the_command_writes_one_page_and_a_picture(resumed_run: Path) -> None:
    for _ in range(2):  # again, in place of its own
        result = CliRunner().invoke(main, ["report", str(resumed_run)])
        assert result.exit_code == 0, result.stderr
    assert result.stdout.split("\n")[:2] == [
        str(resumed_run / REPORT_NAME),
        str(resumed_run / CURVES_NAME),
    ]
    page = (resumed_run / REPORT_NAME).read_text("utf-8")
    assert not re.search(r"""(src|href)=["'](?!#)""", page)
    assert "a&lt;b&gt;" in page and "a<b>" not in page
    assert "<td>resumed in epoch</td><td>2, 4</td>" in page
    assert "<td>4 (resumed)</td><td>0.2500</td><td>0.900</td><td>0.300</td>" in page
    assert page.count('class="best"') == 1
    assert "not seen" in page
    with Image.open(resumed_run / CURVES_NAME) as picture:
        assert picture.size[0] > 800


def test_the_same_run_gives_the_same_page(resumed_run: Path) -> None:
    pages = []
    for _ in range(2):
        CliRunner().invoke(main, ["report", str(resumed_run)])
        pages.append((resumed_run / REPORT_NAME).read_bytes())
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no epoch was completed yet"),
        ('{"epoch": 1, "lo', "no epoch was completed yet"),
        ("[]\n", "is not a line of metrics"),
        ('{"epoch": "1"}\n', "is not a line of metrics"),
        ('{"epoch": 1, "loss": NaN}\n', "is not a line of metrics"),
    ],
)
def test_what_is_no_run_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / METRICS_NAME).write_text(content)
    with pytest.raises(TrainingError, match=message):
        read_metrics(tmp_path)


def test_without_metrics_the_command_says_what_it_expects(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "expected a run with a completed epoch" in result.stderr


def test_a_folder_of_data_named_report_is_given_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("report").mkdir()
    result = CliRunner().invoke(main, ["report"], prog_name="lits-train")
    assert (result.exit_code, "give ./report" in result.stderr) == (2, True), result.stderr
    result = CliRunner().invoke(main, ["./report", "-o", "run", "--weights", "none"])
    assert (result.exit_code, "no pair" in result.stderr) == (1, True), result.stderr
