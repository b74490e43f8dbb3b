"""The tables of a comparison, and its scores as CSV and JSON."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lits_runtime.files.atomic import atomic_path
from lits_runtime.messages import csv_cell
from lits_runtime.system.versions import version
from lits_tools.report.grid import MINUS, Grid, figure, p_value, with_interval
from lits_tools.report.tables import FORMAT_VERSION, json_number
from lits_tools.scores.comparison import FOUND_DICE, Comparison, PairedScore
from lits_tools.scores.lesion_match import SIZES, size_of
from lits_tools.scores.statistic import CONFIDENCE, INFINITE_RULE

_STRUCTURES = {
    "dice": "Dice",
    "dice_global": "global Dice",
    "voe": "VOE",
    "assd_mm": "ASSD, mm",
    "hd95_mm": "HD95, mm",
    "surface_dice_1mm": "surface Dice 1 mm",
}
_DETECTION = {
    "lesion_recall_iou0": "lesion recall, IoU > 0",
    "lesion_precision_iou0": "lesion precision, IoU > 0",
    "lesion_recall_iou50": "lesion recall, IoU > 0.5",
    "lesion_precision_iou50": "lesion precision, IoU > 0.5",
    FOUND_DICE: "Dice of lesions found by all",
}
ROWS = {
    **{
        f"{name}_{key}": f"{name} {title}"
        for name in ("liver", "lesion")
        for key, title in _STRUCTURES.items()
    },
    **_DETECTION,
}
SIZE_TITLES = {
    "under_10mm": "under 10 mm",
    "10_to_20mm": "10 to 20 mm",
    "over_20mm": "over 20 mm",
}
_SIZE_ROWS = {
    "lesion_recall_iou0": "recall, IoU > 0",
    "lesion_recall_iou50": "recall, IoU > 0.5",
    FOUND_DICE: "Dice, found by all",
}
_CASE_SCORES = {"liver_dice": "liver Dice", "lesion_dice": "lesion Dice"}


def comparison_grids(comparison: Comparison) -> list[Grid]:
    """The tables for print: scores over all cases, and lesions by size."""
    number = len(comparison.case_ids)
    cases = f"{number} case{'s' * (number != 1)}"
    headings = _headings(comparison)
    rows = [_row(title, comparison.scores[name]) for name, title in ROWS.items()]
    by_size = [row for size in SIZES for row in _size_rows(comparison, size)]
    method = _method(comparison)
    return [
        Grid(f"Scores over {cases}", ("", *headings), tuple(rows), f"{method} {INFINITE_RULE}"),
        Grid(
            f"Lesions of {cases} by longest axial diameter",
            ("", "lesions", *headings[1:]),
            tuple(by_size),
            f"{method} Found by all: matched with an IoU above 0 by every prediction.",
        ),
    ]


def cases_grid(comparison: Comparison) -> Grid:
    """Dice of each case by prediction, and the differences from the first."""
    first, *others = comparison.names
    headings = [
        f"{title}, {name}"
        for title in _CASE_SCORES.values()
        for name in (
            first,
            *(text for other in others for text in (other, f"{other} {MINUS} {first}")),
        )
    ]
    values = [[case.values() for case in one.cases] for one in comparison.evaluations]
    rows = []
    for case_id, *of_case in zip(comparison.case_ids, *values, strict=True):
        cells = [case_id]
        for key in _CASE_SCORES:
            dice = [one[key] for one in of_case]
            cells.append(figure(dice[0]))
            cells += [figure(v) for other in dice[1:] for v in (other, other - dice[0])]
        rows.append(tuple(cells))
    return Grid("Cases", ("case", *headings), tuple(rows))


def _method(comparison: Comparison) -> str:
    return (
        f"In brackets: {CONFIDENCE:.0%} percentile bootstrap intervals over cases "
        f"({comparison.resamples} resamples, seed {comparison.seed}). p: two-sided Wilcoxon "
        "signed-rank test over cases, not corrected for multiple comparisons."
    ).replace("%", " %")


def _headings(comparison: Comparison) -> list[str]:
    first, *others = comparison.names
    headings = ["cases", *comparison.names]
    for other in others:
        headings += [f"{other} {MINUS} {first}", "p"]
    return headings


def _row(title: str, score: PairedScore) -> tuple[str, ...]:
    first = score.estimates[0]
    used = str(first.cases - first.infinite)
    if first.infinite:
        used += f" + {first.infinite} infinite"
    cells = [title, used, *(figure(estimate.value) for estimate in score.estimates)]
    for one in score.differences:
        cells += [with_interval(one.value, one.low, one.high), p_value(one.p_value)]
    return tuple(cells)


def _size_rows(comparison: Comparison, size: str) -> Iterator[tuple[str, ...]]:
    lesions = [one for one in comparison.lesions if size_of(one.diameter_mm) == size]
    found = [one for one in lesions if min(one.dice) > 0]
    for name, title in _SIZE_ROWS.items():
        number = str(len(found if name == FOUND_DICE else lesions))
        row = _row(f"{SIZE_TITLES[size]}: {title}", comparison.scores[f"{name}_{size}"])
        yield row[0], number, *row[2:]


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON values: null for an undefined score, "inf" for an infinite one."""
    return {
        "format_version": FORMAT_VERSION,
        "lits_toolkit": version("lits-toolkit"),
        "predictions": list(comparison.names),
        "confidence": CONFIDENCE,
        "resamples": comparison.resamples,
        "seed": comparison.seed,
        "test": "two-sided Wilcoxon signed-rank over cases, not corrected",
        "scores": {
            name: {
                "predictions": [_numbers(one) for one in score.estimates],
                "minus_first": [_numbers(one) for one in score.differences],
            }
            for name, score in comparison.scores.items()
        },
        "cases": {
            case_id: [_numbers(case.values()) for case in cases]
            for case_id, *cases in zip(
                comparison.case_ids, *(one.cases for one in comparison.evaluations), strict=True
            )
        },
        "lesions": [vars(lesion) for lesion in comparison.lesions],
        "failed": comparison.failed,
    }


def _numbers(values: Any) -> dict[str, float | str | None]:
    named = values if isinstance(values, dict) else vars(values)
    return {name: json_number(value) for name, value in named.items()}


def write_comparison_csv(comparison: Comparison, path: Path) -> None:
    """Write one row per case and prediction, in the long form that statistics packages read.

    The columns are `case`, `prediction` and the scores; undefined scores are left empty.
    """
    names = list(comparison.evaluations[0].cases[0].values())
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "prediction", *names])
        for prediction, evaluation in zip(comparison.names, comparison.evaluations, strict=True):
            for case in evaluation.cases:
                values = ("" if math.isnan(v) else v for v in case.values().values())
                writer.writerow([csv_cell(case.case_id), csv_cell(prediction), *values])
