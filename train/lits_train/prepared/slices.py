"""Prepared cases, and their slices at working size read from arrays."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lits_runtime.errors import DatasetError, VolumeError
from lits_runtime.files.stable_file import FileState, StableFile
from lits_runtime.messages import brief
from lits_train.data.cases import Case, find_cases
from lits_train.prepared.arrays import array_paths, check_array
from lits_train.prepared.index_content import INDEX_NAME, Entry, read_index

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedCase(Case):
    """A case whose `volume` and `segmentation` are arrays at working size."""

    shares: Path = Path()
    """Array of the fractions of each pixel that are liver and lesion."""
    size: int = 0
    """Slices are size x size."""
    spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of slices, rows and columns at working size."""
    shares_state: FileState | None = field(default=None, compare=False, repr=False)
    """Of the shares' file when the case was opened."""
    adjacent: bool = True
    """Slices are neighbours; otherwise each is a picture of its own, and its own context."""
    source: Case | None = field(default=None, compare=False)
    """The pair of files that it was prepared from; None if that is not known."""
    range_hu: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((0, 2), np.float32), compare=False, repr=False
    )
    """(slices, 2): minimum and maximum HU of each slice before resizing."""


class PreparedSlices:
    """Slices of a prepared case, read from its arrays.

    They are not memory-mapped: accessing a mapped file after it was truncated kills the process.
    """

    def __init__(self, case: PreparedCase) -> None:
        self.case = case
        states = case.states or (None, None)
        self._hu = StableFile(case.volume, states[0])
        self._labels = StableFile(case.segmentation, states[1])
        self._shares = StableFile(case.shares, case.shares_state)
        self._range_hu = torch.from_numpy(case.range_hu)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Of slices, rows and columns at working size."""
        return self.case.spacing_mm

    def read(self, number: int, context_slices: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`hu`, `range_hu`, `labels` and `shares` of a `Sample`; end slices are repeated."""
        around = context_slices if self.case.adjacent else 0
        low, high = max(number - around, 0), min(number + around + 1, self.case.slices)
        hu = torch.from_numpy(self._planes(self._hu, low, high, np.int16).astype(np.float32))
        labels = torch.from_numpy(self._planes(self._labels, low, high, np.uint8))
        range_hu = self._range_hu[low:high]
        if high - low <= 2 * context_slices:
            wanted = range(number - context_slices, number + context_slices + 1)
            steps = [min(max(near, low), high - 1) - low for near in wanted]
            hu, labels, range_hu = hu[steps], labels[steps], range_hu[steps]
        shares = self._planes(self._shares, 2 * number, 2 * number + 2, np.uint8)
        return hu, range_hu, labels, torch.from_numpy(shares)

    def _planes(
        self, array: StableFile, low: int, high: int, dtype: type[np.generic]
    ) -> NDArray[Any]:
        size, count = self.case.size, self.case.slices * (2 if array is self._shares else 1)
        planes = np.empty((high - low, size, size), dtype)
        with array.opened(buffering=0) as file:
            assert array.state is not None  # set once the file is open
            whole = count * size * size * planes.itemsize
            file.seek(array.state.size - whole + low * size * size * planes.itemsize)
            read = file.readinto(planes.data.cast("B"))  # type: ignore[attr-defined]
            if read != planes.nbytes:
                raise VolumeError(f"{array.path}: {read} bytes where {planes.nbytes} should be")
        return planes


def open_cases(folder: Path) -> list[Case]:
    """The cases of a folder, prepared or as pairs of files.

    Raises:
        DatasetError: there are none, or the preparation is incomplete.
    """
    if not (folder / INDEX_NAME).exists():
        return find_cases(folder)
    content = read_index(folder)
    if content.pending:
        raise DatasetError(
            f"{folder}: the preparation did not finish, {len(content.pending)} cases are "
            "missing; run the same lits-data prepare again to resume it"
        )
    for case_id, reason in content.skipped.items():
        logger.warning("case %s was not prepared: %s", case_id, brief(reason))
    if not content.cases:
        raise DatasetError(f"{folder}: prepared, but without a usable case")
    return [
        _prepared_case(folder, case_id, entry, content.size)
        for case_id, entry in content.cases.items()
    ]


def _prepared_case(folder: Path, case_id: str, entry: Entry, size: int) -> PreparedCase:
    shape = (entry.slices, size, size)
    hu, labels, shares = array_paths(folder, case_id)
    states = check_array(hu, shape, np.int16), check_array(labels, shape, np.uint8)
    shares_state = check_array(shares, (2 * entry.slices, size, size), np.uint8)
    return PreparedCase(
        case_id,
        hu,
        labels,
        entry.liver_only,
        notes=tuple(entry.notes),
        label_counts=np.array(entry.label_counts, np.int64),
        states=states,
        shares=shares,
        shares_state=shares_state,
        size=size,
        spacing_mm=entry.spacing_mm,
        adjacent=entry.adjacent,
        source=_source(case_id, entry),
        range_hu=np.array(entry.range_hu, np.float32),
    )


def _source(case_id: str, entry: Entry) -> Case | None:
    """The files that the index names, whether or not they are still there."""
    try:
        volume, mask, statement = (
            entry.inputs[kind] for kind in ("volume", "segmentation", "statement")
        )
        spacing = statement["spacing_mm"]
        return Case(
            case_id,
            Path(volume["path"]),
            Path(mask["path"]),
            entry.liver_only,
            tuple(spacing) if spacing else None,
        )
    except (KeyError, TypeError):  # prepared from arrays, or by an older version
        return None
