"""An evaluation as a table on the terminal, CSV or JSON."""

import csv
import json
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

from lits_runtime.files.atomic import atomic_path
from lits_runtime.messages import csv_cell
from lits_tools.scores.evaluate import Evaluation
from lits_tools.scores.lesion_match import SIZES
from lits_tools.scores.pooling import CONFIDENCE, Estimate

FORMAT_VERSION = 1

STRUCTURE_ROWS = {
    "dice": "Dice per case",
    "dice_global": "Dice global",
    "voe": "VOE",
    "rvd": "RVD",
    "assd_mm": "ASSD mm",
    "rmsd_mm": "RMSD mm",
    "mssd_mm": "MSSD mm",
    "hd95_mm": "HD95 mm",
    "surface_dice_1mm": "surface Dice 1 mm",
    "surface_dice_3mm": "surface Dice 3 mm",
}
SIZE_COLUMNS = {
    "": "all lesions",
    **{f"_{name}": f"{name.replace('_', ' ').removesuffix('mm')} mm" for name in SIZES},
}
IOU_ROWS = {"iou0": "IoU > 0", "iou50": "IoU > 0.5"}
CASE_COLUMNS = {
    "liver_dice": "liver Dice",
    "lesion_dice": "lesion Dice",
    "lesion_assd_mm": "lesion ASSD mm",
    "lesion_hd95_mm": "lesion HD95 mm",
    "lesion_count_gt": "lesions",
    "lesion_recall_iou0": "recall IoU > 0",
    "lesion_precision_iou0": "precision IoU > 0",
    "burden_error": "burden error",
}


def figure(value: float) -> str:
    """A score in print: three decimals, a dash where it is not defined.

    >>> figure(0.4902), figure(float("nan")), figure(12)
    ('0.490', '-', '12')
    """
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "inf"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def figure_with_interval(estimate: Estimate) -> str:
    """A pooled score with its 95 % interval, and what it is without infinite cases."""
    text = figure(estimate.value)
    if not math.isnan(estimate.low):
        text += f" ({figure(estimate.low)} to {figure(estimate.high)})"
    if estimate.infinite:
        finite = estimate.cases - estimate.infinite
        text += f"; {figure(estimate.finite_value)} in the {finite} of {estimate.cases} finite"
    return text


@dataclass(frozen=True)
class Grid:
    """A table as text, for the terminal or a page."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(evaluation: Evaluation) -> list[Table]:
    """What the terminal shows: cases, structures, lesions found, tumour burden."""
    grids = (case_grid, structure_grid, lesion_grid, burden_grid)
    return [_rich(grid(evaluation)) for grid in grids]


def case_grid(evaluation: Evaluation) -> Grid:
    """The most telling scores of each case."""
    rows = []
    for case in evaluation.cases:
        values = case.values()
        rows.append((case.case_id, *(figure(values[name]) for name in CASE_COLUMNS)))
    return Grid("Cases", ("case", *CASE_COLUMNS.values()), tuple(rows))


def structure_grid(evaluation: Evaluation) -> Grid:
    """Overlap and distances of liver, lesions, and detected lesions, pooled."""
    number = len(evaluation.cases)
    rows = []
    for key, heading in STRUCTURE_ROWS.items():
        names = (f"{structure}_{key}" for structure in ("liver", "lesion", "detected"))
        pooled = [evaluation.pooled.get(name) for name in names]
        rows.append((heading, *(figure_with_interval(p) if p else "" for p in pooled)))
    title = f"Pooled over {number} case{'s' * (number != 1)} (95 % intervals over cases)"
    return Grid(title, ("", "liver", "lesions", "detected lesions"), tuple(rows))


def lesion_grid(evaluation: Evaluation) -> Grid:
    """Precision, recall and F1 of all lesions and by size, and the organisers' own count."""
    rows = []
    for iou, above in IOU_ROWS.items():
        for kind, title in {"precision": "precision", "recall": "recall", "f1": "F1"}.items():
            found = [evaluation.pooled[f"lesion_{kind}_{iou}{suffix}"] for suffix in SIZE_COLUMNS]
            challenge = evaluation.pooled.get(f"challenge_{kind}_{iou}")
            by_size = [figure(estimate.value) for estimate in found[1:]]
            last = figure(challenge.value) if challenge else ""
            rows.append((f"{title}, {above}", figure_with_interval(found[0]), *by_size, last))
    headings = ("", *SIZE_COLUMNS.values(), "as LiTS 2017 counts")
    return Grid("Lesions found", headings, tuple(rows))


def burden_grid(evaluation: Evaluation) -> Grid:
    """Error of the tumour burden."""
    names = {"error": "mean error", "rmse": "RMSE", "max_error": "maximum"}
    found = [figure_with_interval(evaluation.pooled[f"burden_{key}"]) for key in names]
    return Grid("Tumour burden, predicted - reference", tuple(names.values()), (tuple(found),))


def _rich(grid: Grid) -> Table:
    table = Table(title=grid.title, title_justify="left", title_style="bold")
    for place, heading in enumerate(grid.headings):
        table.add_column(heading, justify="right" if place else "left")
    for row in grid.rows:
        table.add_row(*row)
    return table


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON values: null where a score is not defined, "inf" where infinite."""
    return {
        "format_version": FORMAT_VERSION,
        "lits_toolkit": version("lits-toolkit"),
        "model_sha256": evaluation.model_sha256 or None,
        "confidence": CONFIDENCE,
        "pooled": {
            name: {key: _json_number(value) for key, value in vars(estimate).items()}
            for name, estimate in evaluation.pooled.items()
        },
        "cases": {
            case.case_id: {key: _json_number(value) for key, value in case.values().items()}
            for case in evaluation.cases
        },
        "failed": evaluation.failed,
    }


def write_json(evaluation: Evaluation, path: Path) -> None:
    """Write all scores as JSON; see `as_json`."""
    with atomic_path(path) as temporary:
        text = json.dumps(as_json(evaluation), indent=1, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def write_csv(evaluation: Evaluation, path: Path) -> None:
    """Write one row per case, then the pooled scores and their intervals.

    The first column, `row`, tells them apart: "case", "pooled", "ci_low" and "ci_high". Scores
    that are not defined are left empty.
    """
    cases = [case.values() for case in evaluation.cases]
    names = list(dict.fromkeys([*cases[0], *evaluation.pooled]))
    rows: list[tuple[str, str, dict[str, float]]] = [
        ("case", case.case_id, values) for case, values in zip(evaluation.cases, cases, strict=True)
    ]
    for row, key in (("pooled", "value"), ("ci_low", "low"), ("ci_high", "high")):
        rows.append((row, "", {n: getattr(e, key) for n, e in evaluation.pooled.items()}))
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "case", *names])
        for row, case_id, values in rows:
            written = (values.get(name, math.nan) for name in names)
            writer.writerow(
                [row, csv_cell(case_id), *("" if math.isnan(v) else v for v in written)]
            )


def _json_number(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else "inf"
