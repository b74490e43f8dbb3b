"""A table of text, for the terminal, as Markdown, and as LaTeX."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from lits_runtime.files.atomic import atomic_path
from lits_tools.scores.statistic import Estimate

MINUS = "\N{MINUS SIGN}"
_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: "\\" + sign for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    MINUS: "$-$",
}
_MARKDOWN = re.compile(r"([\\`*_\[\]<|])")


@dataclass(frozen=True)
class Grid:
    """A table of text, its title above and a note below."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def figure(value: float) -> str:
    """A score as text: three decimals, or a dash if it is undefined.

    >>> figure(0.4902), figure(float("nan")), figure(12)
    ('0.490', '-', '12')
    """
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "inf"
    text = str(value) if isinstance(value, int) else f"{value:.3f}"
    return text.replace("-", MINUS)


def figure_with_interval(estimate: Estimate) -> str:
    """A pooled score with its 95 % interval, and the number of infinite cases."""
    text = with_interval(estimate.value, estimate.low, estimate.high)
    if estimate.infinite:
        text += f"; infinite in {estimate.infinite} of {estimate.cases}"
    return text


def with_interval(value: float, low: float, high: float) -> str:
    """A value with its interval, if there is one.

    >>> with_interval(0.5, 0.25, 0.75), with_interval(0.5, math.nan, math.nan)
    ('0.500 (0.250 to 0.750)', '0.500')
    """
    return figure(value) + ("" if math.isnan(low) else f" ({figure(low)} to {figure(high)})")


def p_value(p: float) -> str:
    """A p value as journals print it.

    >>> p_value(0.0004), p_value(0.0321), p_value(float("nan"))
    ('<0.001', '0.032', '-')
    """
    if math.isnan(p):
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def on_terminal(grid: Grid) -> Group:
    """The table as rich prints it."""
    table = Table(title=Text(grid.title), title_justify="left", title_style="bold")
    for place, heading in enumerate(grid.headings):
        table.add_column(Text(heading), justify="right" if place else "left")
    for row in grid.rows:
        table.add_row(*map(Text, row))
    return Group(table, Text(grid.note)) if grid.note else Group(table)


def as_markdown(grid: Grid) -> str:
    r"""The table as Markdown, in the form that GitHub reads.

    >>> print(as_markdown(Grid("Dice", ("", "a_b"), (("case 1", "0.5"),))), end="")
    **Dice**
    <BLANKLINE>
    |  | a\_b |
    | :-- | --: |
    | case 1 | 0.5 |
    """
    lines = [_markdown_row(row) for row in (grid.headings, *grid.rows)]
    lines.insert(1, f"| :-- |{' --: |' * (len(grid.headings) - 1)}")
    note = f"\n{_MARKDOWN.sub(_escape, grid.note)}\n" if grid.note else ""
    return f"**{_MARKDOWN.sub(_escape, grid.title)}**\n\n" + "\n".join(lines) + f"\n{note}"


def _escape(match: "re.Match[str]") -> str:
    return "\\" + match[1]


def _markdown_row(row: Sequence[str]) -> str:
    return f"| {' | '.join(_MARKDOWN.sub(_escape, cell) for cell in row)} |"


def as_latex(grid: Grid, label: str) -> str:
    """The table as LaTeX with the rules of booktabs; `label` is for references."""
    rows = [" & ".join(_latex(cell) for cell in row) + r" \\" for row in grid.rows]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex(grid.title)}}}",
        rf"\label{{{label}}}",
        r"\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"\begin{{tabular}}{{@{{}}l{'r' * (len(grid.headings) - 1)}@{{}}}}",
        r"\toprule",
        " & ".join(_latex(cell) for cell in grid.headings) + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if grid.note:
        lines += ["", r"\smallskip", rf"\begin{{minipage}}{{\linewidth}}{_latex(grid.note)}"]
        lines += [r"\end{minipage}"]
    return "\n".join([*lines, r"\end{table}", ""])


def _latex(text: str) -> str:
    if text == "-":
        return "--"
    return "".join(_LATEX.get(sign, sign) for sign in text)


def write_tables(grids: Sequence[Grid], path: Path) -> None:
    """Write tables as Markdown or LaTeX, by the ending .md or .tex."""
    if path.suffix == ".md":
        text = "\n".join(as_markdown(grid) for grid in grids)
    else:
        needs = "% Needs \\usepackage{booktabs}.\n"
        text = needs + "\n".join(as_latex(g, f"tab:scores-{n}") for n, g in enumerate(grids, 1))
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
