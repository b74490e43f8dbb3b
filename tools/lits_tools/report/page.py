"""An evaluation as a self-contained page: sortable tables, figures, worst slices."""

import base64
import html
import importlib.resources
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from lits_runtime.files.atomic import atomic_path
from lits_tools.report.figures import score_figures
from lits_tools.report.grid import Grid, figure
from lits_tools.report.panels import figures_html
from lits_tools.report.tables import burden_grid, lesion_grid, structure_grid
from lits_tools.scores.evaluate import Evaluation

CASE_COLUMNS = {
    "liver_dice": "liver Dice",
    "liver_assd_mm": "liver ASSD mm",
    "liver_hd95_mm": "liver HD95 mm",
    "lesion_dice": "lesion Dice",
    "lesion_voe": "lesion VOE",
    "lesion_rvd": "lesion RVD",
    "lesion_assd_mm": "lesion ASSD mm",
    "lesion_hd95_mm": "lesion HD95 mm",
    "lesion_mssd_mm": "lesion MSSD mm",
    "lesion_surface_dice_1mm": "lesion surface Dice 1 mm",
    "lesion_surface_dice_3mm": "lesion surface Dice 3 mm",
    "lesion_volume_gt_ml": "lesion ml, reference",
    "lesion_volume_pred_ml": "lesion ml, predicted",
    "lesion_count_gt": "lesions, reference",
    "lesion_count_pred": "lesions, predicted",
    "lesion_recall_iou0": "recall IoU > 0",
    "lesion_precision_iou0": "precision IoU > 0",
    "lesion_recall_iou50": "recall IoU > 0.5",
    "lesion_precision_iou50": "precision IoU > 0.5",
    "burden_error": "burden error",
}


def report_page(evaluation: Evaluation, pictures: Mapping[str, bytes] | None = None) -> str:
    """The page as HTML text.

    Args:
        evaluation: what to show.
        pictures: a PNG of each case's worst slice, by case.
    """
    parts = {
        "SUBTITLE": html.escape(_subtitle(evaluation)),
        "FAILED": failed_list(evaluation.failed),
        "STRUCTURES": table(structure_grid(evaluation)),
        "LESIONS": table(lesion_grid(evaluation)),
        "BURDEN": table(burden_grid(evaluation)),
        "FIGURES": figures_html(score_figures(evaluation)),
        "CASES": _cases(evaluation),
        "PICTURES": _pictures(pictures or {}),
    }
    page = importlib.resources.files("lits_tools.report").joinpath("report.html").read_text("utf-8")
    for name, part in parts.items():
        page = page.replace(f"__{name}__", part)
    return page


def write_html(
    evaluation: Evaluation, path: Path, pictures: Mapping[str, bytes] | None = None
) -> None:
    """Write `report_page` to a file."""
    with atomic_path(path) as temporary:
        temporary.write_text(report_page(evaluation, pictures), encoding="utf-8")


def _subtitle(evaluation: Evaluation) -> str:
    number = len(evaluation.cases)
    text = f"{number} case{'s' * (number != 1)}; in brackets: 95 % bootstrap confidence intervals"
    if evaluation.model_sha256:
        text += f"; model {evaluation.model_sha256}"
    return text


def failed_list(failed: Mapping[str, str]) -> str:
    """Cases that could not be scored, and why."""
    if not failed:
        return ""
    rows = (f"<li>{html.escape(f'{c}: {why}')}</li>" for c, why in failed.items())
    return f"<h2>Cases that could not be scored</h2><ul>{''.join(rows)}</ul>"


def table(grid: Grid) -> str:
    """A table as HTML."""
    head = "".join(f"<th>{html.escape(text)}</th>" for text in grid.headings)
    rows = "".join(f"<tr>{_cells(row)}</tr>" for row in grid.rows)
    note = f'<p class="note">{html.escape(grid.note)}</p>' if grid.note else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{note}"


def _cells(row: Iterable[str]) -> str:
    return "".join(f"<td>{html.escape(text)}</td>" for text in row)


def _cases(evaluation: Evaluation) -> str:
    head = "".join(f"<th>{html.escape(t)}</th>" for t in ("case", *CASE_COLUMNS.values()))
    rows = []
    for case in evaluation.cases:
        values = case.values()
        name = html.escape(case.case_id, quote=True)
        cells = [f'<td data-value="{name}">{name}</td>']
        for key in CASE_COLUMNS:
            value = values[key]
            key_value = "" if math.isnan(value) else str(value).replace("inf", "Infinity")
            cells.append(f'<td data-value="{key_value}">{figure(value)}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f'<table id="cases"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _pictures(pictures: Mapping[str, bytes]) -> str:
    if not pictures:
        return ""
    figures = "".join(
        f'<figure><img alt="" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        f"<figcaption>case {html.escape(case)}</figcaption></figure>"
        for case, png in pictures.items()
    )
    note = (
        "Orange: false positive. Blue: false negative. Light: agreement. Line: liver of the "
        "reference."
    )
    return f'<h2>Worst slices</h2><p class="note">{note}</p><div class="pictures">{figures}</div>'
