"""Case reports as a table for a terminal, with problems and warnings below it."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from lits_runtime.messages import printable
from lits_train.data.examine import CaseReport

_COLUMNS = ("case", "shape", "mm", "axes", "HU", "labels", "liver ml", "lesions", "lesion ml", "")


def report_table(reports: Sequence[CaseReport]) -> Table:
    """One row per case; the last column marks those with problems or warnings."""
    table = Table(
        box=box.SIMPLE_HEAD,
        caption="shape, mm and axes as stored; lesions: 6-connected components of label 2; "
        "?: not marked",
        caption_justify="left",
    )
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in ("axes", "labels") else "right")
    for report in reports:
        mark = Text("unusable", "red") if report.problems else Text("!" * bool(report.warnings))
        table.add_row(*(Text(cell) for cell in _cells(report)), mark)
    return table


def remarks(reports: Sequence[CaseReport]) -> Iterator[Text]:
    """One line per problem, in red, or warning, in yellow."""
    for report in reports:
        for lines, style in ((report.problems, "red"), (report.warnings, "yellow")):
            for line in lines:
                yield Text(printable(f"case {report.case_id}: {line}"), style)


def _cells(report: CaseReport) -> list[str]:
    unmarked = report.liver_only
    return [
        printable(report.case_id),
        "x".join(map(str, report.shape or ())),
        " ".join(f"{size:.3g}" for size in report.spacing_mm or ()),
        report.orientation or "",
        "..".join(f"{value:.6g}" for value in report.range_hu or ()),
        " ".join(map(str, report.labels or ())),
        _number(report.liver_ml),
        "?" if unmarked else "" if report.lesions is None else str(report.lesions),
        "?" if unmarked else _number(report.lesion_ml),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
