"""Prepared cases from arrays at working size, wherever they come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lits_runtime.errors import DatasetError
from lits_runtime.labels import BACKGROUND, LESION, LIVER
from lits_train.prepared.arrays import array_file, array_paths, check_case_id, rounded_hu
from lits_train.prepared.index import PreparedIndex
from lits_train.prepared.index_content import Entry
from lits_train.settings.recipe import LESION_UNKNOWN


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
        folder: created if missing; other cases in it are kept.
        case_id: characters that a file name may have.
        hu: (slices, size, size), Hounsfield units in canonical orientation: slices to superior,
            rows to posterior, columns to the patient's left.
        labels: (slices, size, size), 0 background, 1 liver, 2 lesion, 3 liver that may be lesion.
        shares: uint8 (slices, 2, size, size), from `label_shares`; None: whole pixels of `labels`.
        spacing_mm: of slices, rows and columns.
        liver_only: lesions are not marked.
        adjacent: slices are neighbours; otherwise each is a picture of its own.
        inputs: provenance for the index.

    Raises:
        DatasetError: shapes, values or the ID are invalid, or the folder has another size.
    """
    arrays = _checked(case_id, np.asarray(hu), np.asarray(labels), shares)
    index = PreparedIndex(folder, arrays.hu.shape[1])
    index.expect(index.pending | {case_id})
    arrays.write(folder, case_id)
    facts = {"liver_only": liver_only, "adjacent": adjacent, "inputs": dict(inputs or {})}
    index.commit(case_id, arrays.entry(spacing_mm=spacing_mm, **facts))


@dataclass(frozen=True)
class _Arrays:
    """The arrays of a case."""

    hu: NDArray[np.int16]
    labels: NDArray[Any]
    shares: NDArray[np.uint8]

    def write(self, folder: Path, case_id: str) -> None:
        """Write the three files; they appear together."""
        hu_path, labels_path, shares_path = array_paths(folder, case_id)
        slices, height, width = self.hu.shape
        with (
            array_file(hu_path, (slices, height, width), np.int16) as write_hu,
            array_file(labels_path, (slices, height, width), np.uint8) as write_labels,
            array_file(shares_path, (2 * slices, height, width), np.uint8) as write_shares,
        ):
            write_hu(0, self.hu)
            write_labels(0, self.labels)
            write_shares(0, self.shares)

    def entry(self, **facts: Any) -> Entry:
        """The entry of the index, with facts that the arrays do not hold."""
        values = [(BACKGROUND,), (LIVER, LESION_UNKNOWN), (LESION,)]
        counts = [np.isin(self.labels, label).sum(axis=(1, 2)) for label in values]
        ranges = np.stack([self.hu.min(axis=(1, 2)), self.hu.max(axis=(1, 2))], axis=1)
        return Entry(
            slices=len(self.hu),
            label_counts=np.stack(counts, axis=1).tolist(),
            range_hu=ranges.astype(float).tolist(),
            **facts,
        )


def _checked(
    case_id: str, hu: NDArray[Any], labels: NDArray[Any], given_shares: ArrayLike | None
) -> _Arrays:
    shape = hu.shape
    if len(shape) != 3 or shape[1] != shape[2] or labels.shape != shape or not shape[0]:
        raise DatasetError(
            f"case {case_id}: HU {shape} and labels {labels.shape}, expected both "
            "(slices, size, size)"
        )
    known = (BACKGROUND, LIVER, LESION, LESION_UNKNOWN)
    if not np.isfinite(hu).all() or not np.isin(labels, known).all():
        raise DatasetError(f"case {case_id}: HU that are not finite, or labels outside 0..3")
    shares = _whole_shares(labels) if given_shares is None else np.asarray(given_shares)
    if shares.dtype != np.uint8 or shares.shape != (shape[0], 2, *shape[1:]):
        raise DatasetError(
            f"case {case_id}: shares {shares.dtype} {shares.shape}, expected uint8 "
            "(slices, 2, size, size)"
        )
    check_case_id(case_id)
    return _Arrays(rounded_hu(hu), labels, shares)


def _whole_shares(labels: NDArray[Any]) -> NDArray[np.uint8]:
    shares = np.stack([labels >= LIVER, labels == LESION], axis=1).astype(np.uint8)
    return 255 * shares
