"""What lits-eval prints and writes."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import click

from lits_runtime.files.atomic import atomic_path
from lits_runtime.volumes.label_volume import LabelVolume
from lits_tools.report.comparison_tables import (
    cases_grid,
    comparison_grids,
    comparison_json,
    write_comparison_csv,
)
from lits_tools.report.grid import on_terminal, write_tables
from lits_tools.report.tables import as_json, grids, write_csv
from lits_tools.scores.comparison import Comparison
from lits_tools.scores.evaluate import Evaluation
from lits_tools.scores.pairs import Pair

logger = logging.getLogger(__name__)


class Gallery:
    """Pictures of the worst slice of each case, drawn while its labels are in memory."""

    def __init__(self, scans: bool) -> None:
        self.scans = scans
        self.pictures: dict[str, bytes] = {}

    def __call__(self, pair: Pair, pred: LabelVolume, gt: LabelVolume) -> None:
        """Draw one case, over its scan if a model segmented it."""
        from lits_tools.report.figures import worst_slice

        scan = pair.predicted if self.scans else None
        self.pictures[pair.case_id] = worst_slice(pred, gt, pair.case_id, scan)


def show(result: Evaluation | Comparison, as_json_text: bool) -> None:
    """Print the tables, or JSON."""
    if as_json_text:
        click.echo(json.dumps(_json(result), indent=1, allow_nan=False))
    elif logger.isEnabledFor(logging.INFO):
        from rich.console import Console

        if isinstance(result, Comparison):
            shown = [cases_grid(result), *comparison_grids(result)]
        else:
            shown = grids(result)
        # A pipe has no width of its own, and the usual 80 columns would wrap the tables.
        console = Console(width=None if sys.stdout.isatty() else 160)
        console.print(*map(on_terminal, shown), sep="\n")


def write(result: Evaluation | Comparison, output: Path, gallery: Gallery | None) -> None:
    """Write one file, in the form of its ending."""
    if output.suffix == ".csv":
        if isinstance(result, Comparison):
            write_comparison_csv(result, output)
        else:
            write_csv(result, output)
    elif output.suffix == ".json":
        with atomic_path(output) as temporary:
            text = json.dumps(_json(result), indent=1, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")
    elif output.suffix in (".md", ".tex"):
        write_tables(_printed(result, output.suffix), output)
    elif output.suffix == ".html":
        _write_page(result, output, gallery)
    else:
        _write_figure(result, output)
    logger.info("%s", output)


def _json(result: Evaluation | Comparison) -> dict[str, Any]:
    return comparison_json(result) if isinstance(result, Comparison) else as_json(result)


def _printed(result: Evaluation | Comparison, ending: str) -> list[Any]:
    """The tables of a document; the cases, which can be hundreds, go to Markdown alone."""
    if isinstance(result, Comparison):
        tables = comparison_grids(result)
        return tables if ending == ".tex" else [*tables, cases_grid(result)]
    return grids(result)[1:] if ending == ".tex" else grids(result)


def _write_page(result: Evaluation | Comparison, output: Path, gallery: Gallery | None) -> None:
    from lits_tools.report.comparison_page import write_comparison_html
    from lits_tools.report.page import write_html

    if isinstance(result, Comparison):
        write_comparison_html(result, output)
    else:
        write_html(result, output, gallery.pictures if gallery else None)


def _write_figure(result: Evaluation | Comparison, output: Path) -> None:
    from lits_tools.report.comparison_figures import comparison_sheet
    from lits_tools.report.figures import score_sheet
    from lits_tools.report.panels import write_figure

    sheet = comparison_sheet(result) if isinstance(result, Comparison) else score_sheet(result)
    write_figure(sheet, output)
