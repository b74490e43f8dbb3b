"""Sums over parts of lesions, from which the figures of whole lesions are computed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lits_runtime.measure.diameter import Points, row_ends, row_stretches

VOXELS, COLUMNS, ROWS, SLICES, HU, PROBABILITY = range(6)
"""Columns of `LesionParts.sums`."""
_FAR = np.iinfo(np.int64).max


@dataclass(frozen=True)
class LesionParts:
    """Lesions, or parts of lesions that have yet to be joined; one row each."""

    sums: NDArray[np.float64]
    """(n, 6): voxels, and the sums of their columns, rows, slices, HU and probabilities."""
    squares: NDArray[np.float64]
    """(n,): sum of squared deviations from the part's mean HU."""
    first: NDArray[np.int64]
    """(n,): first canonical slice."""
    last: NDArray[np.int64]
    peak: NDArray[np.float64]
    """(n,): largest probability."""
    diameter_mm: NDArray[np.float64]
    """(n,): the longest measured so far, or 0."""
    anchor: NDArray[np.int64]
    """(n,): flat canonical index of the first voxel."""

    def __len__(self) -> int:
        return len(self.sums)

    def __getitem__(self, which: NDArray[np.generic]) -> "LesionParts":
        return LesionParts(*(column[which] for column in vars(self).values()))

    @classmethod
    def joined(cls, several: Sequence["LesionParts"]) -> "LesionParts":
        """The rows of several, concatenated."""
        columns = (vars(parts).values() for parts in several)
        return cls(*(np.concatenate(column) for column in zip(*columns, strict=True)))

    def merged(self, groups: NDArray[np.integer], count: int) -> "LesionParts":
        """The rows of each group merged into one; groups are numbered from 0 to `count` - 1.

        Squared deviations are merged as in Chan, Golub and LeVeque, Updating formulae and a
        pairwise algorithm for computing sample variances, 1979: no digits are lost where the mean
        is large.
        """
        sums = summed(groups, self.sums, count)
        mean, means = self.sums[:, HU] / self.sums[:, VOXELS], sums[:, HU] / sums[:, VOXELS]
        squares = self.squares + self.sums[:, VOXELS] * (mean - means[groups]) ** 2
        last, peak, longest = np.zeros(count, np.int64), np.zeros(count), np.zeros(count)
        np.maximum.at(last, groups, self.last)
        np.maximum.at(peak, groups, self.peak)
        np.maximum.at(longest, groups, self.diameter_mm)
        first, anchor = np.full(count, _FAR), np.full(count, _FAR)
        np.minimum.at(first, groups, self.first)
        np.minimum.at(anchor, groups, self.anchor)
        added = summed(groups, squares[:, None], count)[:, 0]
        return LesionParts(sums, added, first, last, peak, longest, anchor)

    def with_diameter(self, diameter_mm: NDArray[np.float64]) -> "LesionParts":
        """The same parts with other diameters."""
        return replace(self, diameter_mm=diameter_mm)

    def largest_first(self) -> NDArray[np.intp]:
        """Indices that sort the rows; equal ones stay in canonical order."""
        return np.lexsort((self.anchor, -self.sums[:, VOXELS]))


NOTHING = LesionParts(
    np.empty((0, 6)),
    np.empty(0),
    np.empty(0, np.int64),
    np.empty(0, np.int64),
    np.empty(0),
    np.empty(0),
    np.empty(0, np.int64),
)


def measured_parts(
    numbers: NDArray[np.integer],
    hu: NDArray[np.float32],
    probability: NDArray[np.float32] | None,
    origin: tuple[int, int, int],
    shape: tuple[int, int, int],
) -> tuple[LesionParts, Points]:
    """The lesion parts of a slab, and the end points of their rows.

    Args:
        numbers: (n, height, width) of the parts, from 1; 0 outside. At least one voxel is inside.
        hu: one value for each voxel inside, in array order.
        probability: the same, of the lesion class.
        origin: canonical slice, row and column of the slab's first voxel.
        shape: canonical shape of the volume.
    """
    count, flat = int(numbers.max()), np.flatnonzero(numbers)
    starts, lengths = row_stretches(flat, numbers.shape[2])
    ids = np.ravel(numbers)[flat[starts]].astype(np.int64) - 1
    places = np.unravel_index(flat[starts], numbers.shape)
    slices, rows, columns = (place + low for place, low in zip(places, origin, strict=True))
    values, peak, sums = hu.astype(np.float64), np.zeros(count), np.zeros((len(starts), 6))
    sums[:, VOXELS], sums[:, HU] = lengths, np.add.reduceat(values, starts)
    sums[:, COLUMNS] = lengths * (columns + (lengths - 1) / 2)
    sums[:, ROWS], sums[:, SLICES] = lengths * rows, lengths * slices
    if probability is not None:
        sums[:, PROBABILITY] = np.add.reduceat(probability, starts, dtype=np.float64)
        np.maximum.at(peak, ids, np.maximum.reduceat(probability, starts))
    sums = summed(ids, sums, count)
    values -= np.repeat((sums[:, HU] / sums[:, VOXELS])[ids], lengths)
    squares = summed(ids, np.add.reduceat(values**2, starts)[:, None], count)[:, 0]
    first, last = np.full(count, _FAR), np.zeros(count, np.int64)
    np.minimum.at(first, ids, slices)
    np.maximum.at(last, ids, slices)
    anchor = np.full(count, _FAR)
    np.minimum.at(anchor, ids, np.ravel_multi_index((slices, rows, columns), shape))
    parts = LesionParts(sums, squares, first, last, peak, np.zeros(count), anchor)
    return parts, row_ends(ids, slices, rows, columns, lengths)


def summed(
    groups: NDArray[np.integer], rows: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """Rows (n, columns) summed by group: (count, columns)."""
    return np.stack([np.bincount(groups, column, count) for column in rows.T], 1)


def connected(count: int, pairs: NDArray[np.integer]) -> tuple[NDArray[np.int64], int]:
    """Connected components of a graph: the number of each node (count,), and how many there are.

    Args:
        count: nodes, from 0.
        pairs: (2, n) nodes that are connected.
    """
    roots = np.arange(count)
    while True:
        ends = np.sort(roots[pairs], axis=0)
        pairs = ends[:, ends[0] < ends[1]]
        if not pairs.shape[1]:
            break
        np.minimum.at(roots, pairs[1], pairs[0])
        while not np.array_equal(above := roots[roots], roots):
            roots = above
    is_root = roots == np.arange(count)
    numbers = np.cumsum(is_root) - 1
    return numbers[roots], int(is_root.sum())
