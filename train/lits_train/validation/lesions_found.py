"""Which lesions are found, by volume: lesions connected and compared slab by slab."""

from collections.abc import Sequence
from typing import TypeAlias

import cc3d
import numpy as np
from numpy.typing import NDArray

from lits_runtime.measure.lesion_parts import connected

SIZES_ML = ((0.0, 0.3), (0.3, 1.0), (1.0, 5.0), (5.0, np.inf))
"""Ranges of lesion volume, the upper bound excluded."""
Places: TypeAlias = NDArray[np.int64]
_WIDEST = 2**16
"""Columns of a plane, at most."""
FOUND_FROM = 0.1
"""A lesion is found, and a predicted one correct, if more than a tenth of it overlaps the other
mask. Most of a small lesion may be missed; Dice says that."""


class LesionOverlaps:
    """Lesions of one mask, and how much of each another mask covers.

    Lesions are connected face to face. Slabs come in order, from either end of the volume.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sums = [np.zeros((2, 0))]
        """(2, n) voxels of each part, and those that the other mask covers."""
        self._pairs = [np.zeros((2, 0), np.int64)]
        """(2, n) parts that touch."""
        self._faces: dict[int, tuple[Places, Places]] = {}
        """Of the last slab's first and last slice: places in the plane, and parts there."""

    def add(
        self,
        start: int,
        mask: NDArray[np.bool_],
        other: NDArray[np.bool_],
        corner: tuple[int, int] = (0, 0),
    ) -> None:
        """Add the slices from `start` on, (n, height, width), cut out at a row and column."""
        slices, rows, columns = np.nonzero(mask)
        parts = self._numbered(mask, other) if len(slices) else slices
        places = (rows + corner[0]) * _WIDEST + columns + corner[1]
        faces = {}
        for index, beside in ((0, start - 1), (len(mask) - 1, start + len(mask))):
            here = slices == index
            faces[start + index] = places[here], parts[here]
            if beside in self._faces:
                there, their_parts = self._faces[beside]
                _, mine, theirs = np.intersect1d(
                    places[here], there, assume_unique=True, return_indices=True
                )
                self._pairs.append(np.stack([parts[here][mine], their_parts[theirs]]))
        self._faces = faces

    def _numbered(self, mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> Places:
        """The part of each voxel of the mask, from 0 on over all slabs."""
        numbered = cc3d.connected_components(
            np.ascontiguousarray(mask), connectivity=6, out_dtype=np.uint32
        )
        parts = numbered[mask].astype(np.int64) - 1
        self._sums.append(np.stack([np.bincount(parts), np.bincount(parts, other[mask])]))
        before, self._count = self._count, self._count + self._sums[-1].shape[1]
        return parts + before

    def counts(self, voxel_ml: float) -> list[tuple[int, int]]:
        """For each of `SIZES_ML`: lesions that are covered, and all lesions."""
        numbers, count = connected(self._count, np.concatenate(self._pairs, axis=1))
        sums = np.concatenate(self._sums, axis=1)
        voxels, covered = (np.bincount(numbers, row, count) for row in sums)
        ml, hit = voxels * voxel_ml, covered > FOUND_FROM * voxels
        within = [(low <= ml) & (ml < high) for low, high in SIZES_ML]
        return [(int(np.count_nonzero(hit & here)), int(here.sum())) for here in within]


def added_up(counts: Sequence[Sequence[Sequence[int]]]) -> list[tuple[int, int]]:
    """The counts of several masks.

    >>> added_up([[(1, 2), (0, 0), (0, 0), (3, 3)], [(1, 1), (0, 1), (0, 0), (0, 0)]])
    [(2, 3), (0, 1), (0, 0), (3, 3)]
    """
    return [
        (sum(one[size][0] for one in counts), sum(one[size][1] for one in counts))
        for size in range(len(SIZES_ML))
    ]
