"""cases.json, which states beside the data what masks and headers cannot tell."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lits_runtime.errors import DatasetError
from lits_runtime.messages import brief
from lits_train.data.case_files import case_order
from lits_train.given_files import read_json
from lits_train.limits import shown

CASES_NAME = "cases.json"
"""Beside the data: {"liver_only": ["28"], "spacing_mm": {"29": [0.78, 0.78, 1.6]}}. Both keys are
optional: the cases whose lesions are not marked, and voxel sizes in mm along the stored axes where
headers are wrong."""

_MOST_JSON_BYTES = 2**24
_SPACING_MM = (0.01, 100.0)


@dataclass(frozen=True)
class Statements:
    """What `cases.json` states about the cases beside it."""

    liver_only: frozenset[str] = frozenset()
    spacing_mm: dict[str, tuple[float, float, float]] = field(default_factory=dict)


def read_statements(folder: Path, case_ids: Sequence[str]) -> Statements:
    """Read the `cases.json` of a folder; without one, nothing is stated.

    Raises:
        DatasetError: it is not as described at `CASES_NAME`, or names a case that is not there.
    """
    path = folder / CASES_NAME
    if not path.exists():
        return Statements()
    content = read_json(path, _MOST_JSON_BYTES, DatasetError)
    try:
        if not isinstance(content, dict) or set(content) - {"liver_only", "spacing_mm"}:
            raise ValueError("another key")
        liver_only = _case_ids(content.get("liver_only", []))
        spacing_mm = content.get("spacing_mm", {})
        if not isinstance(spacing_mm, dict):
            raise ValueError(f"spacing_mm {shown(spacing_mm)}")
        stated = {case_id: _spacing(sizes) for case_id, sizes in spacing_mm.items()}
    except ValueError as error:
        raise DatasetError(
            f'{path}: expected {{"liver_only": [case IDs], "spacing_mm": {{case ID: [i, j, k]}}}}, '
            f"both optional: {error}"
        ) from error
    if unknown := sorted((liver_only | set(stated)) - set(case_ids), key=case_order):
        named = brief(", ".join(unknown[:20]))
        raise DatasetError(f"{path}: names cases that are not here: {named}")
    return Statements(liver_only, stated)


def _case_ids(given: object) -> frozenset[str]:
    if not isinstance(given, list) or not all(type(one) in (str, int) for one in given):
        raise ValueError(f"liver_only {shown(given)}")
    return frozenset(map(str, given))


def _spacing(sizes: object) -> tuple[float, float, float]:
    least, most = _SPACING_MM
    i, j, k = sizes if isinstance(sizes, list) and len(sizes) == 3 else (0, 0, 0)
    if not all(type(size) in (int, float) and least <= size <= most for size in (i, j, k)):
        raise ValueError(f"spacing_mm {shown(sizes)}, expected three numbers of {least} to {most}")
    return float(i), float(j), float(k)
