"""A coarse copy of a scan and its labels, small enough to keep, by which both are judged."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lits_runtime.volumes.geometry import Geometry

MOST_SLICES, MOST_PIXELS = 128, 64
"""Every nth slice, row and column: at most 1.5 MB, however large the scan."""
LEAST_VOXELS = 2000
"""Percentages of fewer samples mean nothing."""


class Overview:
    """Every nth voxel of a volume in canonical orientation, collected slab by slab."""

    def __init__(self, geometry: Geometry) -> None:
        shape = geometry.canonical_shape
        self._steps = tuple(
            -(-size // most)
            for size, most in zip(shape, (MOST_SLICES, MOST_PIXELS, MOST_PIXELS), strict=True)
        )
        self._first = tuple((step - 1) // 2 for step in self._steps)
        kept = [
            len(range(first, size, step))
            for size, first, step in zip(shape, self._first, self._steps, strict=True)
        ]
        self.hu = np.zeros(kept, np.int16)
        """(slices, height, width), clipped to int16."""
        self.labels = np.zeros(kept, np.uint8)
        """(slices, height, width)."""

    def sample(self, start: int, slab_hu: NDArray[np.float32]) -> NDArray[np.int16]:
        """The values of a slab (n, height, width) from canonical slice `start` on that `put` keeps.

        Any thread may call this.
        """
        part = self._picked(start, slab_hu)
        rounded: NDArray[np.int16] = np.rint(part.clip(-32768, 32767)).astype(np.int16)
        return rounded

    def put_hu(self, start: int, sampled_hu: NDArray[np.int16]) -> None:
        """Keep what `sample` gave of the slab from canonical slice `start` on."""
        self._put(self.hu, start, sampled_hu)

    def put_labels(self, start: int, labels: NDArray[np.uint8]) -> None:
        """Keep some of the labels (n, height, width) of a slab."""
        self._put(self.labels, start, self._picked(start, labels))

    def _put(self, kept: NDArray[Any], start: int, picked: NDArray[Any]) -> None:
        first = -(-(start - self._first[0]) // self._steps[0])
        kept[first : first + len(picked)] = picked

    def _picked(self, start: int, slab: NDArray[Any]) -> NDArray[Any]:
        slices, rows, columns = self._steps
        offset = (self._first[0] - start) % slices
        return slab[offset::slices, self._first[1] :: rows, self._first[2] :: columns]
