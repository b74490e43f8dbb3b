"""Writing prepared data: arrays of slices at working size, and the index that commits them."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lits_runtime.errors import DatasetError
from lits_runtime.files.atomic import atomic_path
from lits_train.data.case_files import case_order
from lits_train.prepared.index_content import (
    FORMAT_VERSION,
    INDEX_NAME,
    Entry,
    array_paths,
    check_case_id,
    read_index,
)
from lits_train.settings.recipe import LESION_UNKNOWN

__all__ = [
    "INDEX_NAME",
    "Entry",
    "PreparedIndex",
    "array_file",
    "array_paths",
    "rounded_hu",
    "write_case",
]

_INT16 = np.iinfo(np.int16)


class PreparedIndex:
    """The index of a prepared folder; every change is on disk, whole, when the call returns."""

    def __init__(self, folder: Path, size: int, *, anew: bool = False) -> None:
        """Read the index of a folder, or begin one.

        Raises:
            DatasetError: the folder is prepared at another size, or its index is not readable.
        """
        self.folder, self.size = folder, size
        self.cases: dict[str, Entry] = {}
        self.pending: set[str] = set()
        """Cases that a preparation has yet to do."""
        self.skipped: dict[str, str] = {}
        """Why cases could not be prepared."""
        if anew or not (folder / INDEX_NAME).exists():
            return
        content = read_index(folder)
        if content.size != size:
            raise DatasetError(
                f"{folder}: prepared at {content.size} x {content.size}, asked for "
                f"{size} x {size}: choose another folder, or prepare it anew with --force"
            )
        self.cases, self.pending = content.cases, content.pending
        self.skipped = content.skipped

    def expect(self, pending: set[str]) -> None:
        """Say which cases will be written; until then what is there of them does not count."""
        self.pending = set(pending)
        for case_id in pending:
            self.cases.pop(case_id, None)
            self.skipped.pop(case_id, None)
        self.write()

    def commit(self, case_id: str, entry: Entry) -> None:
        """List a case whose arrays are in place."""
        self.cases[case_id] = entry
        self.pending.discard(case_id)
        self.write()

    def skip(self, case_id: str, reason: str) -> None:
        """Note that a case is not usable."""
        self.skipped[case_id] = reason
        self.pending.discard(case_id)
        self.write()

    def write(self) -> None:
        """Replace the file."""
        content = {
            "format_version": FORMAT_VERSION,
            "size": self.size,
            "pending": sorted(self.pending, key=case_order),
            "skipped": self.skipped,
            "cases": {
                key: dataclasses.asdict(self.cases[key])
                for key in sorted(self.cases, key=case_order)
            },
        }
        with atomic_path(self.folder / INDEX_NAME) as temporary:
            temporary.write_text(json.dumps(content) + "\n")


@contextmanager
def array_file(
    path: Path, shape: tuple[int, int, int], dtype: type[np.generic]
) -> Iterator[Callable[[int, NDArray[Any]], None]]:
    """A .npy file that appears when the block succeeds.

    Yields a function that writes slices (n, height, width) from a number on, in any order. They are
    written, not memory-mapped: a full disk is then an `OSError`, and not the end of the process.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        start, plane = file.tell(), shape[1] * shape[2] * np.dtype(dtype).itemsize

        def write(first: int, slices: NDArray[Any]) -> None:
            file.seek(start + first * plane)
            file.write(np.ascontiguousarray(slices, dtype).data)

        yield write


def rounded_hu(hu: NDArray[np.floating]) -> NDArray[np.int16]:
    """HU to int16, to the nearest and within its range."""
    rounded: NDArray[np.int16] = np.rint(hu).clip(_INT16.min, _INT16.max).astype(np.int16)
    return rounded


def write_case(
    folder: Path,
    case_id: str,
    hu: ArrayLike,
    labels: ArrayLike,
    *,
    shares: ArrayLike | None = None,
    spacing_mm: tuple[float, float, float],
    liver_only: bool = False,
    adjacent: bool = True,
    inputs: Mapping[str, dict[str, Any]] | None = None,
) -> None:
    """Add a case to a prepared folder, or replace it, from arrays at working size.

    Args:
        folder: made if it is missing; its other cases stay.
        case_id: of letters that a file name may have.
        hu: (slices, size, size), Hounsfield units, canonical: slices to superior, rows to
            posterior, columns to the patient's left.
        labels: (slices, size, size), 0 background, 1 liver, 2 lesion, 3 liver that may be lesion.
        shares: uint8 (slices, 2, size, size), from `label_shares`; None: whole pixels, by `labels`.
        spacing_mm: of slices, rows and columns.
        liver_only: lesions lie unmarked inside the liver.
        adjacent: slices lie on each other; else each is a picture of its own.
        inputs: what it was made from, for the index.

    Raises:
        DatasetError: shapes, values or the ID are not as said, or the folder has another size.
    """
    hu_array, label_array = np.asarray(hu), np.asarray(labels)
    share_array = _whole_shares(label_array) if shares is None else np.asarray(shares)
    _check(case_id, hu_array, label_array, share_array)
    shape = hu_array.shape
    index = PreparedIndex(folder, shape[1])
    index.expect(index.pending | {case_id})
    rounded = rounded_hu(hu_array)
    hu_path, labels_path, shares_path = array_paths(folder, case_id)
    of_shares = (2 * shape[0], *shape[1:])
    with (
        array_file(hu_path, shape, np.int16) as write_hu,
        array_file(labels_path, shape, np.uint8) as write_labels,
        array_file(shares_path, of_shares, np.uint8) as write_shares,
    ):
        write_hu(0, rounded)
        write_labels(0, label_array)
        write_shares(0, share_array)
    of_label = [(0,), (1, LESION_UNKNOWN), (2,)]
    counts = [np.isin(label_array, values).sum(axis=(1, 2)) for values in of_label]
    ranges = np.stack([rounded.min(axis=(1, 2)), rounded.max(axis=(1, 2))], axis=1)
    entry = Entry(
        slices=shape[0],
        spacing_mm=spacing_mm,
        liver_only=liver_only,
        adjacent=adjacent,
        label_counts=np.stack(counts, axis=1).tolist(),
        range_hu=ranges.astype(float).tolist(),
        inputs=dict(inputs or {}),
    )
    index.commit(case_id, entry)


def _whole_shares(labels: NDArray[Any]) -> NDArray[np.uint8]:
    shares: NDArray[np.uint8] = 255 * np.stack([labels > 0, labels == 2], axis=1).astype(np.uint8)
    return shares


def _check(case_id: str, hu: NDArray[Any], labels: NDArray[Any], shares: NDArray[Any]) -> None:
    shape = hu.shape
    if len(shape) != 3 or shape[1] != shape[2] or labels.shape != shape or not shape[0]:
        raise DatasetError(
            f"case {case_id}: HU {shape} and labels {labels.shape}, expected both "
            "(slices, size, size)"
        )
    if not np.isfinite(hu).all() or not np.isin(labels, (0, 1, 2, LESION_UNKNOWN)).all():
        raise DatasetError(f"case {case_id}: HU that are not finite, or labels outside 0..3")
    if shares.dtype != np.uint8 or shares.shape != (shape[0], 2, *shape[1:]):
        raise DatasetError(
            f"case {case_id}: shares {shares.dtype} {shares.shape}, expected uint8 "
            "(slices, 2, size, size)"
        )
    check_case_id(case_id)
