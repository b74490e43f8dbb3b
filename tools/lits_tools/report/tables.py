"""The tables of an evaluation, and its scores as CSV and JSON."""

import csv
import math
from pathlib import Path
from typing import Any

from lits_runtime.files.atomic import atomic_path
from lits_runtime.messages import csv_cell
from lits_runtime.system.versions import version
from lits_tools.report.grid import Grid, figure, figure_with_interval
from lits_tools.scores.evaluate import Evaluation
from lits_tools.scores.lesion_match import SIZES
from lits_tools.scores.statistic import CONFIDENCE, INFINITE_RULE

FORMAT_VERSION = 2

STRUCTURE_ROWS = {
    "dice": "Dice per case",
    "dice_global": "global Dice",
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


def grids(evaluation: Evaluation) -> list[Grid]:
    """The tables: cases, structures, lesion detection, tumour burden."""
    return [grid(evaluation) for grid in (case_grid, structure_grid, lesion_grid, burden_grid)]


def case_grid(evaluation: Evaluation) -> Grid:
    """The main scores of each case."""
    rows = []
    for case in evaluation.cases:
        values = case.values()
        rows.append((case.case_id, *(figure(values[name]) for name in CASE_COLUMNS)))
    return Grid("Cases", ("case", *CASE_COLUMNS.values()), tuple(rows))


def structure_grid(evaluation: Evaluation) -> Grid:
    """Pooled overlap and distances of the liver, the lesions, and the detected lesions."""
    number = len(evaluation.cases)
    rows = []
    for key, heading in STRUCTURE_ROWS.items():
        names = (f"{structure}_{key}" for structure in ("liver", "lesion", "detected"))
        pooled = [evaluation.pooled.get(name) for name in names]
        rows.append((heading, *(figure_with_interval(p) if p else "" for p in pooled)))
    title = f"Pooled over {number} case{'s' * (number != 1)} (95 % intervals over cases)"
    headings = ("", "liver", "lesions", "detected lesions")
    return Grid(title, headings, tuple(rows), INFINITE_RULE)


def lesion_grid(evaluation: Evaluation) -> Grid:
    """Precision, recall and F1 of all lesions and by size, and the organisers' own figures."""
    rows = []
    for iou, above in IOU_ROWS.items():
        for kind, title in {"precision": "precision", "recall": "recall", "f1": "F1"}.items():
            found = [evaluation.pooled[f"lesion_{kind}_{iou}{suffix}"] for suffix in SIZE_COLUMNS]
            challenge = evaluation.pooled.get(f"challenge_{kind}_{iou}")
            by_size = [figure(estimate.value) for estimate in found[1:]]
            last = figure(challenge.value) if challenge else ""
            rows.append((f"{title}, {above}", figure_with_interval(found[0]), *by_size, last))
    headings = ("", *SIZE_COLUMNS.values(), "as in LiTS 2017")
    return Grid("Lesion detection", headings, tuple(rows))


def burden_grid(evaluation: Evaluation) -> Grid:
    """The error of the tumour burden."""
    names = {"error": "mean error", "rmse": "RMSE", "max_error": "maximum"}
    found = [figure_with_interval(evaluation.pooled[f"burden_{key}"]) for key in names]
    return Grid("Tumour burden, predicted - reference", tuple(names.values()), (tuple(found),))


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON values: null for an undefined score, "inf" for an infinite one."""
    return {
        "format_version": FORMAT_VERSION,
        "lits_toolkit": version("lits-toolkit"),
        "model_sha256": evaluation.model_sha256 or None,
        "confidence": CONFIDENCE,
        "pooled": {
            name: {key: json_number(value) for key, value in vars(estimate).items()}
            for name, estimate in evaluation.pooled.items()
        },
        "cases": {
            case.case_id: {key: json_number(value) for key, value in case.values().items()}
            for case in evaluation.cases
        },
        "failed": evaluation.failed,
    }


def write_csv(evaluation: Evaluation, path: Path) -> None:
    """Write one row per case, then the pooled scores and their intervals.

    The first column, `row`, is "case", "pooled", "ci_low" or "ci_high". Undefined scores are left
    empty.
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


def json_number(value: float) -> float | str | None:
    """A number as JSON takes it: null if undefined, "inf" if infinite."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else "inf"
