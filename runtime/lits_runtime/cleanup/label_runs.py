"""Labels as runs: voxels of one label, one after the other in a row, and which of them touch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lits_runtime.labels import BACKGROUND

Pairs = NDArray[np.int64]
"""(2, n) indices, or numbers, of what touches."""


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

    def touching(self, height: int, width: int) -> Pairs:
        """Indices of runs of one slab that have voxels face to face, each pair once."""
        plane, within = height * width, self.starts[1:] % width > 0
        in_row = np.flatnonzero((self.stops[:-1] == self.starts[1:]) & within)
        above = np.flatnonzero(self.starts % plane < plane - width)
        below = overlapping(self.starts[above] + width, self.stops[above] + width, self)
        return np.concatenate(
            [
                np.stack([in_row, in_row + 1]),
                np.stack([above[below[0]], below[1]]),
                overlapping(self.starts + plane, self.stops + plane, self),
            ],
            axis=1,
        )


def overlapping(starts: NDArray[np.int64], stops: NDArray[np.int64], runs: Runs) -> Pairs:
    """Indices of stretches, and of the runs of which they hold voxels; both are in order."""
    low = np.searchsorted(runs.stops, starts, "right")
    counts = np.searchsorted(runs.starts, stops, "left") - low
    begins = np.cumsum(counts) - counts
    stretch = np.repeat(np.arange(len(starts)), counts)
    return np.stack([stretch, np.arange(len(stretch)) + np.repeat(low - begins, counts)])
