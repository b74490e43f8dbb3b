"""Lesions as they pass slice by slice: connected in 3D and measured without the whole volume."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi

import cc3d
import numpy as np
from numpy.typing import NDArray

from lits_runtime.diameter import longest_diameters_mm
from lits_runtime.geometry import Geometry

LESION = 2
MAX_LESIONS = 1000
"""The largest that are kept: a noisy label map has millions of specks, which fit no table."""


@dataclass(frozen=True)
class Lesion:
    """One lesion: voxels of label 2 that touch face to face."""

    volume_ml: float
    longest_axial_diameter_mm: float
    """Between the outer edges of its voxels, in the one axial slice where it is longest."""
    equivalent_sphere_diameter_mm: float
    centroid_mm: tuple[float, float, float]
    """World coordinates, RAS+."""
    slices: tuple[int, int]
    """First and last index along the stored slice axis."""
    mean_hu: float
    sd_hu: float
    """Standard deviation over the lesion's voxels."""
    mean_probability: float | None
    """None where probabilities were not computed."""
    largest_probability: float | None


@dataclass(frozen=True)
class _Parts:
    """Lesions, or regions of one slice that are yet to be joined; one row each."""

    sums: NDArray[np.float64]
    """(n, 7): voxels, columns, rows, slices, HU, HU squared, probability."""
    peaks: NDArray[np.float64]
    """(n, 4): diameter in mm, largest probability, last slice, first slice negated."""
    anchors: NDArray[np.int64]
    """(n, 3): one voxel of it, (slice, row, column)."""

    def __len__(self) -> int:
        return len(self.sums)

    def __getitem__(self, which: NDArray[np.integer]) -> "_Parts":
        return _Parts(self.sums[which], self.peaks[which], self.anchors[which])

    @classmethod
    def joined(cls, several: Sequence["_Parts"]) -> "_Parts":
        """All rows of several."""
        return cls(
            np.concatenate([parts.sums for parts in several]),
            np.concatenate([parts.peaks for parts in several]),
            np.concatenate([parts.anchors for parts in several]),
        )

    def merged(self, groups: NDArray[np.integer], count: int) -> "_Parts":
        """Rows of the same group added up; groups are numbered from 0 to `count`."""
        sums = np.zeros((count, self.sums.shape[1]))
        np.add.at(sums, groups, self.sums)
        peaks = np.full((count, self.peaks.shape[1]), -np.inf)
        np.maximum.at(peaks, groups, self.peaks)
        anchors = np.empty((count, 3), np.int64)
        anchors[groups] = self.anchors  # of any of them
        return _Parts(sums, peaks, anchors)


_NOTHING = _Parts(np.empty((0, 7)), np.empty((0, 4)), np.empty((0, 3), np.int64))


class LesionTracker:
    """Takes axial slices one after the other, up or down, and connects their lesion regions."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self._to_world = geometry.canonical_affine
        self._active = _NOTHING
        """Lesions that the slice before has a share in."""
        self._map = np.zeros((0, 0), np.int64)
        """That slice, cut to its lesions: 1 + the row in `_active`, or 0."""
        self._corner = (0, 0)
        self._finished = _NOTHING
        self._forgotten = 0
        self._with_probability = False

    def add(
        self,
        index: int,
        labels: NDArray[np.uint8],
        slice_hu: NDArray[np.float32],
        probability: NDArray[np.float32] | None = None,
    ) -> None:
        """Take the next slice, canonical number `index`; all arrays are (height, width)."""
        mask = labels == LESION
        rows = np.flatnonzero(mask.any(1))
        if not len(rows):
            self.skip()
            return
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        columns = np.flatnonzero(mask[top:bottom].any(0))
        left, right = int(columns[0]), int(columns[-1]) + 1
        window = (slice(top, bottom), slice(left, right))
        regions: NDArray[np.integer] = cc3d.connected_components(
            np.ascontiguousarray(mask[window]), connectivity=4
        )
        chance = None if probability is None else probability[window]
        self._with_probability |= chance is not None
        fresh = self._measure(regions, slice_hu[window], chance, (index, top, left))
        self._join(fresh, regions, (top, left))

    def skip(self) -> None:
        """Pass over slices without lesions: what follows touches nothing that came before."""
        self._finish(self._active)
        self._active, self._map = _NOTHING, np.zeros((0, 0), np.int64)

    def lesions(self, labels: NDArray[np.uint8] | None = None) -> tuple[tuple[Lesion, ...], int]:
        """The lesions, largest first and at most `MAX_LESIONS`, and how many there are in all.

        Args:
            labels: (slices, height, width) after a clean-up that keeps or drops whole lesions.
        """
        parts = _Parts.joined([self._finished, self._active])
        if labels is not None:
            parts = parts[np.flatnonzero(labels[tuple(parts.anchors.T)] == LESION)]
        count = len(parts) + self._forgotten
        parts = _largest(parts)
        return tuple(self._lesion(*row) for row in zip(parts.sums, parts.peaks, strict=True)), count

    def _measure(
        self,
        regions: NDArray[np.integer],
        slice_hu: NDArray[np.float32],
        probability: NDArray[np.float32] | None,
        origin: tuple[int, int, int],
    ) -> _Parts:
        index, top, left = origin
        count = int(regions.max())
        rows, columns = np.nonzero(regions)
        ids = regions[rows, columns].astype(np.int64) - 1
        hu = slice_hu[rows, columns].astype(np.float64)
        chance = np.zeros(len(ids)) if probability is None else probability[rows, columns]
        columns_rows = (columns + left, rows + top)
        weights = (*columns_rows, np.full(len(ids), index), hu, hu**2, chance)
        sums = [np.bincount(ids, minlength=count)]
        sums += [np.bincount(ids, weight, count) for weight in weights]
        peaks = np.full((count, 4), -np.inf)
        peaks[:, 0] = longest_diameters_mm(ids, rows, columns, self._to_world[:3, :2])
        np.maximum.at(peaks[:, 1], ids, chance)
        peaks[:, 2], peaks[:, 3] = index, -index
        anchors = np.empty((count, 3), np.int64)
        anchors[ids] = np.stack([np.full(len(ids), index), rows + top, columns + left], 1)
        return _Parts(np.stack(sums, 1).astype(np.float64), peaks, anchors)

    def _join(self, fresh: _Parts, regions: NDArray[np.integer], corner: tuple[int, int]) -> None:
        old = len(self._active)
        parent = list(range(old + len(fresh)))
        for a, b in self._touching(regions, corner):
            parent[_root(parent, b + old)] = _root(parent, a)
        roots = np.array([_root(parent, node) for node in parent], np.int64)
        numbers, groups = np.unique(roots, return_inverse=True)
        merged = _Parts.joined([self._active, fresh]).merged(groups, len(numbers))
        alive, of_region = np.unique(groups[old:], return_inverse=True)
        self._finish(merged[np.setdiff1d(np.arange(len(numbers)), alive)])
        self._active = merged[alive]
        self._map = np.concatenate([[0], of_region + 1])[regions]
        self._corner = corner

    def _touching(self, regions: NDArray[np.integer], corner: tuple[int, int]) -> list[list[int]]:
        """Pairs (row in `_active`, region - 1) that lie on each other."""
        (old_top, old_left), (top, left) = self._corner, corner
        first, start = max(old_top, top), max(old_left, left)
        last = min(old_top + self._map.shape[0], top + regions.shape[0])
        end = min(old_left + self._map.shape[1], left + regions.shape[1])
        if last <= first or end <= start:
            return []
        there = self._map[first - old_top : last - old_top, start - old_left : end - old_left]
        here = regions[first - top : last - top, start - left : end - left].astype(np.int64)
        both = (there > 0) & (here > 0)
        width = int(regions.max())
        pairs = np.unique((there[both] - 1) * width + here[both] - 1)
        return np.stack(np.divmod(pairs, width), 1).tolist()  # type: ignore[no-any-return]

    def _finish(self, parts: _Parts) -> None:
        if not len(parts):
            return
        self._finished = _Parts.joined([self._finished, parts])
        if len(self._finished) > 4 * MAX_LESIONS:
            kept = _largest(self._finished)
            self._forgotten += len(self._finished) - len(kept)
            self._finished = kept

    def _lesion(self, sums: NDArray[np.float64], peaks: NDArray[np.float64]) -> Lesion:
        voxels = sums[0]
        mean_hu, mean_square, chance = (sums[4:] / voxels).tolist()
        volume_ml = float(voxels) * self._geometry.voxel_ml
        x, y, z = (self._to_world @ [*(sums[1:4] / voxels), 1])[:3].tolist()
        first, last = int(-peaks[3]), int(peaks[2])
        if self._geometry.head_to_feet:
            slices = self._geometry.canonical_shape[0]
            first, last = slices - 1 - last, slices - 1 - first
        known = self._with_probability
        return Lesion(
            volume_ml=volume_ml,
            longest_axial_diameter_mm=float(peaks[0]),
            equivalent_sphere_diameter_mm=(6000 * volume_ml / pi) ** (1 / 3),
            centroid_mm=(x, y, z),
            slices=(first, last),
            mean_hu=mean_hu,
            sd_hu=float(max(mean_square - mean_hu**2, 0.0) ** 0.5),
            mean_probability=chance if known else None,
            largest_probability=float(peaks[1]) if known else None,
        )


def _largest(parts: _Parts) -> _Parts:
    return parts[np.argsort(-parts.sums[:, 0], kind="stable")[:MAX_LESIONS]]


def _root(parent: list[int], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node
