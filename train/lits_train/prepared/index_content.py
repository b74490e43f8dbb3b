"""What the index of a prepared folder says, read and checked before anything relies on it.

PREPARED/index.json         what is here; a case is whole if, and only if, it is listed
PREPARED/hu-ID.npy          int16 (slices, size, size), Hounsfield units, canonical orientation
PREPARED/labels-ID.npy      uint8 (slices, size, size), LiTS labels, of the nearest voxel
PREPARED/shares-ID.npy      uint8 (2 * slices, size, size), of each slice what part of a pixel is
                            liver, then what part is lesion, in 255ths
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lits_runtime.errors import DatasetError
from lits_runtime.files.regular_file import open_regular
from lits_runtime.files.stable_file import FileState
from lits_runtime.messages import brief
from lits_train.given_files import read_json
from lits_train.limits import is_kind, shown

INDEX_NAME = "index.json"
FORMAT_VERSION = 2
MOST_INDEX_BYTES = 2**28
MOST_SIZE, MOST_SLICES = 2**16, 2**20
"""Of an index; a recipe takes less."""


@dataclass(frozen=True)
class Entry:
    """What the index says of a case; see `PreparedCase` and `Case` for what the values mean."""

    slices: int
    spacing_mm: tuple[float, float, float]
    liver_only: bool
    adjacent: bool
    label_counts: list[list[int]]
    """Of each slice before it was resized."""
    range_hu: list[list[float]]
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By kind of file: "name", "bytes", "sha256"; and what was stated of the case."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class IndexContent:
    """An index as it was read: of these types, and with counts that fit each other."""

    size: int
    cases: dict[str, Entry]
    pending: set[str]
    skipped: dict[str, str]


def read_index(folder: Path) -> IndexContent:
    """The content of a folder's index.

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
    if not isinstance(skipped, dict) or not all(isinstance(said, str) for said in skipped.values()):
        raise ValueError(f"skipped {shown(skipped)}")
    if not isinstance(cases, dict):
        raise ValueError(f"cases {shown(cases)}")
    entries = {case_id: _entry(case_id, entry) for case_id, entry in cases.items()}
    return IndexContent(size, entries, set(pending), dict(skipped))


def _entry(case_id: str, content: dict[str, Any]) -> Entry:
    """Checked, since a number too many would be another slice of another case."""
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


def check_array(path: Path, shape: tuple[int, int, int], dtype: type[np.generic]) -> FileState:
    """The state of an array's file, which is whole and of this shape.

    Raises:
        DatasetError: it is not.
    """
    try:
        with open_regular(path) as file:
            state = FileState.of(file)
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("no .npy file of version 1.0")
            found = np.lib.format.read_array_header_1_0(file)
            planes_from = file.tell()
    except (OSError, ValueError, EOFError, RecursionError, MemoryError, SyntaxError) as error:
        raise DatasetError(
            f"{path}: missing or damaged, prepare it again: {brief(error)}"
        ) from error
    if found != (shape, False, np.dtype(dtype)):
        raise DatasetError(
            f"{path}: {found[2]} {shown(found[0])}, expected {np.dtype(dtype)} {shape}; prepare it "
            "again"
        )
    needed = planes_from + math.prod(shape) * np.dtype(dtype).itemsize
    if state.size != needed:
        raise DatasetError(
            f"{path}: missing or damaged, prepare it again: {state.size} bytes, expected {needed}"
        )
    return state


def array_paths(folder: Path, case_id: str) -> tuple[Path, Path, Path]:
    """Where the HU, the labels and the shares of a case are."""
    hu, labels, shares = (folder / f"{kind}-{case_id}.npy" for kind in ("hu", "labels", "shares"))
    return hu, labels, shares


def check_case_id(case_id: str) -> None:
    """Raise DatasetError unless a case's files can be named after it."""
    if not case_id or not case_id.isprintable() or set(case_id) & set("/\\"):
        raise DatasetError(
            f"case ID {brief(case_id)!r}: expected letters that a file name may have"
        )
