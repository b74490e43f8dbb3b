"""A data set of axial slices at working size, each with its neighbours."""

from collections.abc import Sequence
from typing import Protocol, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from lits_runtime.errors import DatasetError
from lits_runtime.volumes.scan import Scan
from lits_train.data.cases import Case, open_pair
from lits_train.network.preprocessing import label_shares, resized_slab, working_spacing_mm
from lits_train.prepared.slices import PreparedCase, PreparedSlices
from lits_train.settings.recipe import Recipe


class Sample(TypedDict):
    """One slice with its context slices; a batch has the same keys with a leading axis n."""

    hu: Tensor
    """float32 (1 + 2 * around, size, size), Hounsfield units at working size; `around` is
    context_slices, in training times neighbour_reach until `augment`."""
    range_hu: Tensor
    """float32 (1 + 2 * around, 2): minimum and maximum HU before resizing."""
    labels: Tensor
    """uint8 (1 + 2 * around, size, size), LiTS labels."""
    shares: Tensor
    """uint8 (2, size, size): fractions of each pixel that are liver and lesion, in 255ths."""
    spacing_mm: Tensor
    """float32 (3,): of slices, rows and columns at working size."""
    adjacent: Tensor
    """bool (): the context slices are neighbours; otherwise all of them are the slice itself."""
    liver_only: Tensor
    """bool (): lesions are not marked."""
    case: Tensor
    """int64 (): index of the case in the data set."""
    slice: Tensor
    """int64 (): canonical number within the case."""


class SliceSource(Protocol):
    """The slices of one case."""

    def read(self, number: int, context_slices: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`hu`, `range_hu`, `labels` and `shares` of a `Sample`; end slices are repeated."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Of slices, rows and columns at working size."""


class FileSlices:
    """Slices read from a pair of files one by one, and resized."""

    def __init__(self, case: Case, size: int) -> None:
        self.size = size
        self._volume, self._mask = open_pair(case)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Of slices, rows and columns at working size."""
        return working_spacing_mm(self._volume.geometry, self.size)

    def read(self, number: int, context_slices: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`hu`, `range_hu`, `labels` and `shares` of a `Sample`."""
        slab_hu, labels = (
            _read_slab(scan, number, context_slices) for scan in (self._volume, self._mask)
        )
        middle = torch.from_numpy(labels[context_slices : context_slices + 1].astype(np.uint8))
        shares = label_shares(middle, (self.size, self.size))[0]
        return *resized_slab(slab_hu, labels, self.size), shares


def _read_slab(scan: Scan, number: int, context_slices: int) -> NDArray[np.float32]:
    return scan.read_slab(number, number + 1, context_slices)


class SliceDataset(Dataset[Sample]):
    """Axial slices of all cases, prepared or not; an item reads only its own slices.

    Files are opened on first use, so that every loading process has its own.
    """

    def __init__(self, cases: Sequence[Case], recipe: Recipe, reach: int = 1) -> None:
        """Take cases that `check_case` has accepted.

        Args:
            cases: prepared or not.
            recipe: its size and context.
            reach: multiplies the context slices that come with every slice.

        Raises:
            DatasetError: a case is prepared at another size than the recipe's.
        """
        for case in cases:
            if isinstance(case, PreparedCase) and case.size != recipe.size:
                raise DatasetError(
                    f"case {case.case_id} is prepared at {case.size} x {case.size}, the recipe "
                    f"works at {recipe.size}: prepare with lits-data prepare --size {recipe.size}, "
                    f"or train with --size {case.size}"
                )
        self.cases = list(cases)
        self.recipe, self.around = recipe, recipe.context_slices * reach
        self.index = [(c, s) for c, case in enumerate(self.cases) for s in range(case.slices)]
        self._sources: dict[int, SliceSource] = {}

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int) -> Sample:
        case_index, number = self.index[item]
        source = self._source(case_index)
        hu, slice_range_hu, labels, shares = source.read(number, self.around)
        return Sample(
            hu=hu,
            range_hu=slice_range_hu,
            labels=labels,
            shares=shares,
            spacing_mm=torch.tensor(source.spacing_mm),
            adjacent=torch.tensor(getattr(self.cases[case_index], "adjacent", True)),
            liver_only=torch.tensor(self.cases[case_index].liver_only),
            case=torch.tensor(case_index),
            slice=torch.tensor(number),
        )

    def _source(self, case_index: int) -> SliceSource:
        if case_index not in self._sources:
            case = self.cases[case_index]
            if isinstance(case, PreparedCase):
                self._sources[case_index] = PreparedSlices(case)
            else:
                self._sources[case_index] = FileSlices(case, self.recipe.size)
        return self._sources[case_index]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_sources": {}}
