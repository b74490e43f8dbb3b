"""The content of a prepared folder's index, checked when it is read.

PREPARED/index.json         the cases; a case is complete if, and only if, it is listed
PREPARED/hu-ID.npy          int16 (slices, size, size), Hounsfield units, canonical orientation
PREPARED/labels-ID.npy      uint8 (slices, size, size), LiTS labels of the nearest voxels
PREPARED/shares-ID.npy      uint8 (2 * slices, size, size), for each slice the fractions of pixels
                            that are liver, then those that are lesion, in 255ths
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lits_runtime.errors import DatasetError
from lits_runtime.messages import brief
from lits_train.given_files import read_json
from lits_train.limits import is_kind, shown
from lits_train.prepared.arrays import check_case_id

INDEX_NAME = "index.json"
FORMAT_VERSION = 2
MOST_INDEX_BYTES = 2**28
MOST_SIZE, MOST_SLICES = 2**16, 2**20
"""Limits of an index, above those of a recipe."""


@dataclass(frozen=True)
class Entry:
    """A case in the index; see `PreparedCase` and `Case` for the meaning of the values."""

    slices: int
    spacing_mm: tuple[float, float, float]
    liver_only: bool
    adjacent: bool
    label_counts: list[list[int]]
    """Of each slice before resizing."""
    range_hu: list[list[float]]
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By kind of file: "name", "path", "bytes", "sha256"; and what `cases.json` stated."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class IndexContent:
    """A valid index: of these types, and with consistent counts."""

    size: int
    cases: dict[str, Entry]
    pending: set[str]
    skipped: dict[str, str]


def read_index(folder: Path) -> IndexContent:
    """Read and check the index of a folder.

    Raises:
        DatasetError: it is not an index, or of another format.
    """
    path = folder / INDEX_NAME
    try:
        content = read_json(path, MOST_INDEX_BYTES, DatasetError)
        version = content["format_version"]
        if version != FORMAT_VERSION:
            raise DatasetError(
                f"{path}: format {shown(version)}, this version reads {FORMAT_VERSION}: run "
                "lits-data prepare again"
            )
        return _index_content(content)
    except DatasetError:
        raise
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise DatasetError(f"{path}: not the index of prepared data: {brief(error)}") from error


def _index_content(content: dict[str, Any]) -> IndexContent:
    size, cases, pending, skipped = (
        content[key] for key in ("size", "cases", "pending", "skipped")
    )
    if type(size) is not int or not 1 <= size <= MOST_SIZE:
        raise ValueError(f"size {shown(size)}")
    if not isinstance(pending, list) or not all(isinstance(case_id, str) for case_id in pending):
        raise ValueError(f"pending {shown(pending)}")
    if not isinstance(skipped, dict) or not all(
        isinstance(reason, str) for reason in skipped.values()
    ):
        raise ValueError(f"skipped {shown(skipped)}")
    if not isinstance(cases, dict):
        raise ValueError(f"cases {shown(cases)}")
    entries = {case_id: _entry(case_id, entry) for case_id, entry in cases.items()}
    return IndexContent(size, entries, set(pending), dict(skipped))


def _entry(case_id: str, content: dict[str, Any]) -> Entry:
    """Every value is checked: one count too many would shift all slices after it."""
    check_case_id(case_id)
    content = dict(content)
    spacing = tuple(content.pop("spacing_mm"))
    entry = Entry(spacing_mm=spacing, **content)
    counts, ranges = np.asarray(entry.label_counts), np.asarray(entry.range_hu)
    right = {
        "slices": type(entry.slices) is int and 1 <= entry.slices <= MOST_SLICES,
        "spacing_mm": is_kind(spacing, tuple[float, float, float])
        and all(0 < size < 1e4 for size in spacing),
        "liver_only": type(entry.liver_only) is bool,
        "adjacent": type(entry.adjacent) is bool,
        "label_counts": counts.shape == (entry.slices, 3)
        and counts.dtype.kind == "i"
        and bool((counts >= 0).all()),
        "range_hu": ranges.shape == (entry.slices, 2)
        and ranges.dtype.kind in "if"
        and bool(np.isfinite(ranges).all()),
        "inputs": isinstance(entry.inputs, dict),
        "notes": isinstance(entry.notes, list) and all(type(note) is str for note in entry.notes),
    }
    if wrong := [name for name, fine in right.items() if not fine]:
        raise ValueError(f"case {brief(case_id)}: {wrong[0]} {shown(getattr(entry, wrong[0]))}")
    return entry
