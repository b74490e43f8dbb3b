"""Lesions as they pass slice by slice: connected in 3D and measured without the whole volume."""

from dataclasses import dataclass
from math import pi

import cc3d
import numpy as np
from numpy.typing import NDArray

from lits_runtime.geometry import Geometry

LESION = 2


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


@dataclass
class _Part:
    """Sums over the voxels of a region, or of regions found to be one lesion."""

    voxels: int
    centre: NDArray[np.float64]
    """Sum of (column, row, slice)."""
    hu: float
    hu_squared: float
    probability: float
    largest_probability: float
    diameter_mm: float
    slices: tuple[int, int]
    anchor: tuple[int, int, int]
    """One of its voxels: (slice, row, column)."""

    def add(self, other: "_Part") -> None:
        self.voxels += other.voxels
        self.centre = self.centre + other.centre
        self.hu += other.hu
        self.hu_squared += other.hu_squared
        self.probability += other.probability
        self.largest_probability = max(self.largest_probability, other.largest_probability)
        self.diameter_mm = max(self.diameter_mm, other.diameter_mm)
        first, last = self.slices
        self.slices = min(first, other.slices[0]), max(last, other.slices[1])


class LesionTracker:
    """Takes axial slices one after the other, up or down, and connects their lesion regions."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self._to_world = geometry.canonical_affine
        self._parts: dict[int, _Part] = {}
        self._joined: dict[int, int] = {}
        self._regions = 0
        self._previous: tuple[NDArray[np.integer], int, int, int] | None = None
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
            self._previous = None
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
        for number, part in enumerate(
            self._measure(regions, slice_hu[window], chance, (index, top, left)), 1
        ):
            self._parts[self._regions + number] = part
        current = (regions, top, left, self._regions)
        if self._previous is not None:
            self._join(self._previous, current)
        self._previous = current
        self._regions += int(regions.max())

    def skip(self) -> None:
        """Pass over slices without lesions: what follows touches nothing that came before."""
        self._previous = None

    def lesions(self, labels: NDArray[np.uint8] | None = None) -> tuple[Lesion, ...]:
        """The lesions, largest first.

        Args:
            labels: (slices, height, width) after a clean-up that keeps or drops whole lesions.
        """
        parts = [
            part for part in self._parts.values() if labels is None or labels[part.anchor] == LESION
        ]
        return tuple(self._lesion(part) for part in sorted(parts, key=lambda part: -part.voxels))

    def _measure(
        self,
        regions: NDArray[np.integer],
        slice_hu: NDArray[np.float32],
        probability: NDArray[np.float32] | None,
        origin: tuple[int, int, int],
    ) -> list[_Part]:
        index, top, left = origin
        boxes = cc3d.statistics(regions, no_slice_conversion=False)["bounding_boxes"]
        parts = []
        for number in range(1, int(regions.max()) + 1):
            box = boxes[number]
            inside = regions[box] == number
            rows, columns = np.nonzero(inside)
            hu = slice_hu[box][inside].astype(np.float64)
            chance = np.zeros(1) if probability is None else probability[box][inside]
            row, column = top + box[0].start, left + box[1].start
            parts.append(
                _Part(
                    voxels=len(rows),
                    centre=np.array(
                        [
                            columns.sum() + column * len(rows),
                            rows.sum() + row * len(rows),
                            index * len(rows),
                        ],
                        np.float64,
                    ),
                    hu=float(hu.sum()),
                    hu_squared=float((hu**2).sum()),
                    probability=float(chance.sum(dtype=np.float64)),
                    largest_probability=float(chance.max()),
                    diameter_mm=longest_diameter_mm(inside, self._to_world[:3, :2]),
                    slices=(index, index),
                    anchor=(index, int(row + rows[0]), int(column + columns[0])),
                )
            )
        return parts

    def _join(
        self,
        before: tuple[NDArray[np.integer], int, int, int],
        now: tuple[NDArray[np.integer], int, int, int],
    ) -> None:
        (old, old_top, old_left, old_base), (new, new_top, new_left, new_base) = before, now
        top, left = max(old_top, new_top), max(old_left, new_left)
        bottom = min(old_top + old.shape[0], new_top + new.shape[0])
        right = min(old_left + old.shape[1], new_left + new.shape[1])
        if bottom <= top or right <= left:
            return
        here = new[top - new_top : bottom - new_top, left - new_left : right - new_left]
        there = old[top - old_top : bottom - old_top, left - old_left : right - old_left]
        both = (here > 0) & (there > 0)
        for a, b in np.unique(np.stack([there[both], here[both]], 1), axis=0).tolist():
            self._unite(old_base + a, new_base + b)

    def _unite(self, a: int, b: int) -> None:
        a, b = self._root(a), self._root(b)
        if a != b:
            self._joined[b] = a
            self._parts[a].add(self._parts.pop(b))

    def _root(self, region: int) -> int:
        while region in self._joined:
            region = self._joined[region]
        return region

    def _lesion(self, part: _Part) -> Lesion:
        volume_ml = part.voxels * self._geometry.voxel_ml
        x, y, z = (self._to_world @ [*(part.centre / part.voxels), 1])[:3].tolist()
        first, last = part.slices
        if self._geometry.head_to_feet:
            slices = self._geometry.canonical_shape[0]
            first, last = slices - 1 - last, slices - 1 - first
        mean_hu = part.hu / part.voxels
        variance = max(part.hu_squared / part.voxels - mean_hu**2, 0.0)
        known = self._with_probability
        return Lesion(
            volume_ml=volume_ml,
            longest_axial_diameter_mm=part.diameter_mm,
            equivalent_sphere_diameter_mm=(6000 * volume_ml / pi) ** (1 / 3),
            centroid_mm=(x, y, z),
            slices=(first, last),
            mean_hu=mean_hu,
            sd_hu=variance**0.5,
            mean_probability=part.probability / part.voxels if known else None,
            largest_probability=part.largest_probability if known else None,
        )


def longest_diameter_mm(mask: NDArray[np.bool_], step_mm: NDArray[np.float64]) -> float:
    """Longest distance between the outer corners of a region's pixels.

    Args:
        mask: (height, width), a region without empty rows.
        step_mm: (3, 2), the world vectors from one column and one row to the next.

    >>> longest_diameter_mm(np.ones((3, 4), bool), np.eye(3, 2))
    5.0
    """
    height, width = mask.shape
    first, last = mask.argmax(1), width - mask[:, ::-1].argmax(1)
    above = np.arange(height)
    left = _outer(np.concatenate([first, first]), np.concatenate([above, above + 1]), -1)
    right = _outer(np.concatenate([last, last]), np.concatenate([above, above + 1]), 1)
    corners = np.array(left + right) @ step_mm.T
    return float(np.linalg.norm(corners[:, None] - corners[None], axis=2).max())


def _outer(columns: NDArray[np.integer], rows: NDArray[np.integer], side: int) -> list[list[int]]:
    """The points of one side of the convex hull: side 1 for the largest columns, -1 the least."""
    hull: list[list[int]] = []
    for row, column in sorted(zip(rows.tolist(), columns.tolist(), strict=True)):
        while len(hull) > 1 and side * _turn(hull[-2], hull[-1], [column, row]) >= 0:
            hull.pop()
        hull.append([column, row])
    return hull


def _turn(a: list[int], b: list[int], c: list[int]) -> int:
    return (b[1] - a[1]) * (c[0] - a[0]) - (b[0] - a[0]) * (c[1] - a[1])
