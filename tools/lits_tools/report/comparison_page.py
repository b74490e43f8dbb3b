"""A comparison as a self-contained page."""

import html
import importlib.resources
from pathlib import Path

from lits_runtime.files.atomic import atomic_path
from lits_tools.report.comparison_figures import comparison_figures
from lits_tools.report.comparison_tables import cases_grid, comparison_grids
from lits_tools.report.page import failed_list, table
from lits_tools.report.panels import figures_html
from lits_tools.scores.comparison import Comparison


def comparison_page(comparison: Comparison) -> str:
    """The page as HTML text."""
    scores, sizes = comparison_grids(comparison)
    parts = {
        "SUBTITLE": html.escape(", ".join(comparison.names)),
        "FAILED": failed_list(comparison.failed),
        "SCORES_TITLE": html.escape(scores.title),
        "SCORES": table(scores),
        "SIZES_TITLE": html.escape(sizes.title),
        "SIZES": table(sizes),
        "FIGURES": figures_html(comparison_figures(comparison)),
        "CASES": table(cases_grid(comparison)),
    }
    page = importlib.resources.files("lits_tools.report").joinpath("comparison.html")
    text = page.read_text("utf-8")
    for name, part in parts.items():
        text = text.replace(f"__{name}__", part)
    return text


def write_comparison_html(comparison: Comparison, path: Path) -> None:
    """Write `comparison_page` to a file."""
    with atomic_path(path) as temporary:
        temporary.write_text(comparison_page(comparison), encoding="utf-8")
