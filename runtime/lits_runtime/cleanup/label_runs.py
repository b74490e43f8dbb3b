"""Labels as runs: voxels of one label, one after the other in a row, and which of them touch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lits_runtime.labels import BACKGROUND


@dataclass(frozen=True)
class Contacts:
    """What touches face to face, and how much."""

    pairs: NDArray[np.int64]
    """(2, n) indices of runs, or numbers of parts."""
    areas: NDArray[np.float64]
    """(n,) of the faces that two of them share."""

    @classmethod
    def joined(cls, several: Sequence["Contacts"]) -> "Contacts":
        """Those of several, one after the other."""
        pairs = np.concatenate([one.pairs for one in several], axis=1)
        return cls(pairs, np.concatenate([one.areas for one in several]))

    def where(self, which: NDArray[np.bool_]) -> "Contacts":
        """Some of them."""
        return Contacts(self.pairs[:, which], self.areas[which])

    def of_parts(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> "Contacts":
        """Between the parts to which runs belong, each pair once."""
        coded = first[self.pairs[0]] << 32 | second[self.pairs[1]]
        coded, which = np.unique(coded, return_inverse=True)
        areas = area_of_each(which, self.areas, len(coded))
        return Contacts(np.stack([coded >> 32, coded & 0xFFFFFFFF]), areas)


@dataclass(frozen=True)
class Runs:
    """The runs of a slab (n, height, width), in array order, but for the background's."""

    starts: NDArray[np.int64]
    """(runs,) flat indices of the first voxels."""
    stops: NDArray[np.int64]
    """One past the last voxels, which are in the same rows."""
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def of(cls, slab: NDArray[np.uint8]) -> "Runs":
        """The runs of labels (n, height, width)."""
        flat = slab.ravel()
        begins = np.empty(flat.size, bool)
        np.not_equal(flat[1:], flat[:-1], out=begins[1:])
        begins[:: slab.shape[2]] = True
        starts = np.flatnonzero(begins)
        stops, labels = np.append(starts[1:], flat.size), flat[starts]
        inside = labels != BACKGROUND
        return cls(starts[inside], stops[inside], labels[inside])

    def drawn(self, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
        """The slab of this shape that they are the runs of."""
        slab = np.zeros(shape, np.uint8)
        if len(self):
            edges = np.stack([self.starts, self.stops], 1).ravel()
            between = np.stack([self.labels, np.zeros_like(self.labels)], 1).ravel()[:-1]
            slab.ravel()[edges[0] : edges[-1]] = np.repeat(between, np.diff(edges))
        return slab

    def cut(self, start: int, stop: int) -> tuple["Runs", slice]:
        """Those from one flat index to another, where rows begin, and which they are."""
        which = slice(*np.searchsorted(self.starts, (start, stop)).tolist())
        starts, stops = self.starts[which] - start, self.stops[which] - start
        return Runs(starts, stops, self.labels[which]), which

    def touching(self, height: int, width: int, face_areas: tuple[float, float, float]) -> Contacts:
        """Runs of one slab that have voxels face to face, each pair once.

        Args:
            height: of a slice.
            width: of a slice.
            face_areas: of a voxel's faces to the next slice, row and column.
        """
        of_slice, of_row, of_column = face_areas
        plane, within = height * width, self.starts[1:] % width > 0
        in_row = np.flatnonzero((self.stops[:-1] == self.starts[1:]) & within)
        above = np.flatnonzero(self.starts % plane < plane - width)
        starts, stops = self.starts[above] + width, self.stops[above] + width
        in_rows = overlapping(starts, stops, self, of_row)
        return Contacts.joined(
            [
                Contacts(np.stack([in_row, in_row + 1]), np.full(len(in_row), of_column)),
                Contacts(np.stack([above[in_rows.pairs[0]], in_rows.pairs[1]]), in_rows.areas),
                overlapping(self.starts + plane, self.stops + plane, self, of_slice),
            ]
        )

    def faces(
        self,
        first: int,
        shape: tuple[int, int, int],
        face_areas: tuple[float, float, float],
    ) -> NDArray[np.float64]:
        """(runs,) area of the faces of each run within the scan, as if no other touched it.

        Args:
            first: slice of the scan with which the slab begins.
            shape: of the scan, (slices, height, width).
            face_areas: as in `touching`.
        """
        slices, height, width = shape
        of_slice, of_row, of_column = face_areas
        lines, columns = np.divmod(self.starts, width)
        at, rows = np.divmod(lines, height)
        voxels, ends = self.stops - self.starts, self.stops % width
        per_voxel = of_slice * _neighbours(at + first, slices) + of_row * _neighbours(rows, height)
        tips = 2 - (columns == 0).astype(np.int64) - (ends == 0)
        areas: NDArray[np.float64] = voxels * per_voxel + tips * of_column
        return areas


def _neighbours(at: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """How many of the two neighbours along an axis of this length exist."""
    found: NDArray[np.int64] = 2 - (at == 0).astype(np.int64) - (at == count - 1)
    return found


def overlapping(
    starts: NDArray[np.int64], stops: NDArray[np.int64], runs: Runs, face_area: float
) -> Contacts:
    """Stretches, and the runs of which they hold voxels; both are in order."""
    low = np.searchsorted(runs.stops, starts, "right")
    counts = np.searchsorted(runs.starts, stops, "left") - low
    begins = np.cumsum(counts) - counts
    stretch = np.repeat(np.arange(len(starts)), counts)
    run = np.arange(len(stretch)) + np.repeat(low - begins, counts)
    shared = np.minimum(stops[stretch], runs.stops[run])
    shared -= np.maximum(starts[stretch], runs.starts[run])
    return Contacts(np.stack([stretch, run]), shared * face_area)


def area_of_each(
    numbers: NDArray[np.int64], areas: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """(count,) the sums of areas of one number."""
    return np.bincount(numbers, areas, count).astype(np.float64, copy=False)
