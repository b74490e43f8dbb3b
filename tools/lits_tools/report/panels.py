"""Panels of figures for print and pages: their frames, names of cases, and files."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lits_runtime.files.atomic import atomic_path

Draw = Callable[[Axes], None]

_PANEL_INCH = (5.4, 3.6)
_MOST_NAMES = 30
"""Cases whose names fit below a panel."""
_PRINT_DPI = 300


def one_panel(draw: Draw) -> Figure:
    """A figure of one panel."""
    figure = Figure(_PANEL_INCH, layout="constrained")
    _drawn(figure.subplots(), draw)
    return figure


def four_panels(drawings: Sequence[Draw]) -> Figure:
    """A figure of up to four panels, lettered for print."""
    width, height = _PANEL_INCH
    figure = Figure((2 * width, 2 * height), layout="constrained")
    for letter, axes, draw in zip("abcd", figure.subplots(2, 2).flat, drawings, strict=False):
        _drawn(axes, draw)
        axes.set_title(letter, loc="left", fontsize=12, fontweight="bold")
    return figure


def _drawn(axes: Axes, draw: Draw) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    draw(axes)


def name_cases(axes: Axes, names: Sequence[str], order: str) -> None:
    """Name the cases below a panel, or say in which order they are if there are too many."""
    axes.set_xlim(-0.7, len(names) - 0.3)
    if len(names) <= _MOST_NAMES:
        axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 8 else 0, fontsize=8)
    else:
        axes.set_xlabel(f"cases in order of {order}")


def figures_html(figures: Sequence[Figure]) -> str:
    """Figures as SVG elements of one page."""
    return "\n".join(_svg(figure, f"lits-eval-{i}") for i, figure in enumerate(figures))


def _svg(figure: Figure, salt: str) -> str:
    stream = io.StringIO()
    # The salt makes the identifiers unique on a page of several figures, and reproducible.
    with matplotlib.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    _, tag, content = stream.getvalue().partition("<svg")
    return tag + content


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as .svg, .pdf or .png; the same figure gives the same bytes."""
    kind = path.suffix[1:]
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    # Type 42 keeps text as text in a PDF, which journals ask for.
    with (
        matplotlib.rc_context(
            {"svg.hashsalt": "lits-eval", "svg.fonttype": "none", "pdf.fonttype": 42}
        ),
        atomic_path(path) as temporary,
    ):
        figure.savefig(temporary, format=kind, dpi=_PRINT_DPI, metadata=undated)
