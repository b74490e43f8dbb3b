"""The series found, as rows for a table and for JSON."""

from typing import Any

from lits_runtime.messages import printable
from lits_runtime.volumes.dicom.choice import is_axial, kernel_of, label_of, phase_of
from lits_runtime.volumes.dicom.find import FoundSeries, Refused
from lits_runtime.volumes.dicom.series import Series

_COLUMNS = ("series", "slices", "step_mm", "plane", "phase", "kernel", "description", "problem")


def rows(found: FoundSeries) -> list[dict[str, Any]]:
    """One row for each series, those that are refused last; for `--list-series --json`.

    It is what a person asked to see, so that UID and description stand in it.
    """
    return [*map(_row, found.series), *map(_refused_row, found.refused)]


def table(found: FoundSeries) -> str:
    """The rows as a table in plain text."""
    listed = [[_cell(row[column]) for column in _COLUMNS] for row in rows(found)]
    lines = [list(_COLUMNS), *listed]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _row(series: Series) -> dict[str, Any]:
    return {
        "series": label_of(series),
        "uid": series.uid,
        "name": series.name,
        "description": series.description,
        "slices": len(series.slices),
        "shape": list(series.geometry.shape),
        "spacing_mm": [round(size, 4) for size in series.geometry.spacing_mm],
        "step_mm": round(series.step_mm, 4),
        "plane": "axial" if is_axial(series) else "other",
        "phase": phase_of(series) or None,
        "kernel": kernel_of(series) or None,
        "notes": list(series.notes),
        "problem": None,
    }


def _refused_row(refused: Refused) -> dict[str, Any]:
    empty = dict.fromkeys(("description", "step_mm", "plane", "phase", "kernel"))
    return empty | {
        "series": "-" if refused.number is None else str(refused.number),
        "uid": refused.uid,
        "name": refused.name,
        "slices": refused.images,
        "problem": refused.why,
    }


def _cell(value: Any) -> str:
    return "-" if value is None or value == "" else printable(str(value))
