"""The volumes that are validated: pairs of files at full resolution, or prepared arrays."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lits_runtime.errors import LitsError
from lits_runtime.messages import brief
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.label_volume import to_labels
from lits_train.data.cases import Case, check_case, open_pair
from lits_train.prepared.slices import PreparedCase, PreparedSlices

logger = logging.getLogger(__name__)

SLAB = 8
"""Slices at a time."""


class CaseVolume(Protocol):
    """Hounsfield units and labels of a case, slab by slab in canonical orientation."""

    full_resolution: bool

    @property
    def geometry(self) -> Geometry:
        """Its grid."""

    def slabs(self, context_slices: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """First slice, and HU (n + 2 * context_slices, height, width)."""

    def labels(self) -> Iterator[NDArray[np.uint8]]:
        """Labels (n, height, width) of the slabs, in the order of `slabs`."""


class PairVolume:
    """A case as its files hold it."""

    full_resolution = True

    def __init__(self, case: Case) -> None:
        """Check the case.

        Raises:
            DatasetError, VolumeError: it is not usable.
        """
        self._case = check_case(case)
        self.geometry = open_pair(self._case)[0].geometry

    def slabs(self, context_slices: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """See `CaseVolume`."""
        volume, _ = open_pair(self._case)
        for slab in volume.slabs(SLAB, context_slices):
            yield slab.start, volume.slab_hu(slab, context_slices)

    def labels(self) -> Iterator[NDArray[np.uint8]]:
        """See `CaseVolume`."""
        _, mask = open_pair(self._case)
        for slab in mask.slabs(SLAB):
            yield to_labels(mask.slab_hu(slab), "segmentation")


class WorkingVolume:
    """A prepared case at working size."""

    full_resolution = False

    def __init__(self, case: PreparedCase) -> None:
        self._case = case
        shape = (case.size, case.size, case.slices)
        self.geometry = Geometry(shape, np.diag([*case.spacing_mm[::-1], 1.0]))

    def slabs(self, context_slices: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """See `CaseVolume`."""
        source, last = PreparedSlices(self._case), self._case.slices - 1
        for start, stop in self._ranges():
            wanted = range(start - context_slices, stop + context_slices)
            planes = [source.read(min(max(number, 0), last), 0)[0][0].numpy() for number in wanted]
            yield start, np.stack(planes)

    def labels(self) -> Iterator[NDArray[np.uint8]]:
        """See `CaseVolume`."""
        source = PreparedSlices(self._case)
        for start, stop in self._ranges():
            yield np.stack([source.read(number, 0)[2][0].numpy() for number in range(start, stop)])

    def _ranges(self) -> Iterator[tuple[int, int]]:
        for start in range(0, self._case.slices, SLAB):
            yield start, min(start + SLAB, self._case.slices)


def open_volume(case: Case) -> CaseVolume | None:
    """The volume of a case at full resolution; of a prepared case without its files, as prepared.

    None for single slices, which are no volume.

    Raises:
        DatasetError, VolumeError: the case is not usable.
    """
    if not isinstance(case, PreparedCase):
        return PairVolume(case)
    if not case.adjacent:
        return None
    if case.source is None:
        return WorkingVolume(case)
    try:
        return PairVolume(replace(case.source, liver_only=case.liver_only))
    except (LitsError, OSError) as error:
        logger.warning(
            "case %s is validated at working size, because its files are not usable: %s",
            *(case.case_id, brief(error)),
        )
    return WorkingVolume(case)
