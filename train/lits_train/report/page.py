"""The report of a run: one self-contained page, and its curves as a picture."""

import html
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from lits_runtime.errors import DatasetError, LitsError
from lits_runtime.files.atomic import atomic_path
from lits_train.given_files import read_json
from lits_train.report.curves import learning_curves, png, svg
from lits_train.report.metrics import Epoch, RunMetrics, read_metrics
from lits_train.settings.run import CURVES_NAME, FULL_VALIDATION_NAME, REPORT_NAME

_MOST_JSON_BYTES = 2**26
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 64em; }}
body {{ padding: 0 1em; color: #222; }}
h1 {{ font-size: 1.4em; }} h2 {{ font-size: 1.1em; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .2em .9em .2em 0; text-align: right; font-variant-numeric: tabular-nums; }}
th:first-child, td:first-child {{ text-align: left; }}
tr.best td {{ font-weight: bold; }}
svg {{ max-width: 100%; height: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
{facts}
{curves}
<h2>Epochs</h2>
{epochs}
</body>
</html>
"""


def write_report(folder: Path) -> tuple[Path, Path]:
    """Write page and picture of a run into its folder, in place of older ones.

    Returns:
        Both paths.

    Raises:
        TrainingError: the folder holds no metrics of lits-train.
    """
    run = read_metrics(folder)
    figure = learning_curves(run)
    title = html.escape(f"Training run {run.name}")
    page = _PAGE.format(
        title=title,
        facts=_table((), _facts(run, folder)),
        curves=svg(figure),
        epochs=_epochs(run),
    )
    written = folder / REPORT_NAME, folder / CURVES_NAME
    for path, content in zip(written, (page.encode(), png(figure)), strict=True):
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    return written


def _facts(run: RunMetrics, folder: Path) -> list[Sequence[str]]:
    """What a reader wants to know first, in rows of a name and a value."""
    rows: list[Sequence[str]] = [("epochs", str(run.epochs[-1].number))]
    if run.resumed:
        rows.append(("resumed in epoch", ", ".join(map(str, run.resumed))))
    rows.append(("hours", f"{run.hours:.2f}"))
    if run.best is not None:
        rows.append(("best epoch", str(run.best.number)))
        rows += [(f"validation {line}", value) for line, value in _dice_rows(run.best.dice)]
    rows += [(f"full resolution {line}", value) for line, value in _dice_rows(_full_dice(folder))]
    return rows


def _dice_rows(dice: object) -> list[tuple[str, str]]:
    if not isinstance(dice, dict):
        return []
    return [
        (f"Dice, {name}", _text(value) if isinstance(value, float) else "not seen")
        for name, value in dice.items()
    ]


def _full_dice(folder: Path) -> object:
    """Dice of the best epoch at full resolution, if it was judged."""
    try:
        scores = read_json(folder / FULL_VALIDATION_NAME, _MOST_JSON_BYTES, DatasetError)
    except (OSError, LitsError):
        return None
    return scores.get("dice") if isinstance(scores, dict) else None


def _epochs(run: RunMetrics) -> str:
    names = run.classes
    head = ("epoch", "loss", *(f"Dice, {name}" for name in names), "learning rate", "slices/s", "s")
    rows = [_row(epoch, names) for epoch in run.epochs]
    best = run.best.number if run.best else 0
    return _table(head, rows, {i for i, one in enumerate(run.epochs) if one.number == best})


def _row(epoch: Epoch, names: Sequence[str]) -> list[str]:
    mark = " (resumed)" if epoch.resumed else ""
    dice = [_text(epoch.dice[name]) if name in epoch.dice else "" for name in names]
    rate = "" if math.isnan(epoch.learning_rate) else f"{epoch.learning_rate:.3g}"
    times = (f"{value:.0f}" for value in (epoch.slices_per_s, epoch.seconds))
    return [f"{epoch.number}{mark}", f"{epoch.loss:.4f}", *dice, rate, *times]


def _text(dice: float) -> str:
    return "not seen" if math.isnan(dice) else f"{dice:.3f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], marked: Iterable[int] = ()) -> str:
    lines = ["<table>"]
    if head:
        lines.append(f"<tr>{''.join(f'<th>{html.escape(name)}</th>' for name in head)}</tr>")
    for index, row in enumerate(rows):
        kind = ' class="best"' if index in set(marked) else ""
        lines.append(f"<tr{kind}>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>")
    return "\n".join([*lines, "</table>"])
