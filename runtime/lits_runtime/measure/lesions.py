"""Lesions, connected in 3D and measured slab by slab, without the whole volume in memory."""

from dataclasses import dataclass
from math import pi
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from lits_runtime.labels import lesion_mask
from lits_runtime.measure.diameter import Points, bounding, diameters_mm
from lits_runtime.measure.lesion_faces import Face, touching
from lits_runtime.measure.lesion_parts import (
    COLUMNS,
    HU,
    NOTHING,
    PROBABILITY,
    ROWS,
    SLICES,
    VOXELS,
    LesionParts,
    connected,
    measured_parts,
)
from lits_runtime.volumes.geometry import Geometry

MAX_LESIONS = 1000
"""How many are kept, the largest first: a noisy label map has millions of specks."""
MAX_POINTS = 2**20
"""Outline voxels of lesions that may still grow. If there are more, as in label maps with some
hundred thousand specks per slice, the smallest lesions lose their outlines in earlier slices; if
two of them join later, their diameter in these slices is that of each alone."""
_POINTS_BETWEEN = 2**18
_VOXELS_AT_ONCE = 2**20


@dataclass(frozen=True)
class Lesion:
    """One lesion: voxels of the lesion label, connected by their faces."""

    volume_ml: float
    longest_axial_diameter_mm: float
    """Between the outer corners of its voxels, in the axial slice where it is longest; it spans all
    parts that the lesion has in that slice."""
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


class LesionTracker:
    """Takes the axial slices of a volume once each, in any order, and connects their lesions.

    Args:
        geometry: of the volume.
        cleaned_up: lesions are dropped later, all but those that `keep` finds again.
    """

    def __init__(self, geometry: Geometry, cleaned_up: bool = False) -> None:
        self._geometry = geometry
        self._to_world = geometry.canonical_affine
        self._cleaned_up, self._most = cleaned_up, None if cleaned_up else 4 * MAX_LESIONS
        self._seen = np.zeros(geometry.canonical_shape[0], bool)
        self._parts: list[LesionParts] = []
        """Numbered consecutively from 0: those of lesions that may still grow."""
        self._points: list[Points] = []
        self._pairs: list[NDArray[np.int64]] = []
        """(2, n) numbers of parts that touch."""
        self._faces: dict[int, Face] = {}
        self._count = self._point_count = 0
        self._limit = _POINTS_BETWEEN
        self._finished = NOTHING
        self._forgotten = 0
        self._all: LesionParts | None = None
        self._kept = np.zeros(0, bool)
        self._with_probability = False

    def add(
        self,
        index: int,
        labels: NDArray[np.uint8],
        slice_hu: NDArray[np.float32],
        probability: NDArray[np.float32] | None = None,
    ) -> None:
        """Take one slice, canonical number `index`; see `add_slab`. Arrays are (height, width)."""
        chance = None if probability is None else probability[None]
        self.add_slab(index, labels[None], slice_hu[None], chance)

    def add_slab(
        self,
        start: int,
        labels: NDArray[np.uint8],
        slab_hu: NDArray[np.float32] | None,
        probability: NDArray[np.float32] | None = None,
    ) -> None:
        """Take the canonical slices from `start` on; all arrays are (n, height, width).

        Args:
            start: number of the first slice.
            labels: 0 background, 1 liver, 2 lesion.
            slab_hu: None if there is no lesion in the slab.
            probability: of the lesion class, where it was computed.

        Raises:
            ValueError: the volume has no such slices, or they were added before.
        """
        stop = start + len(labels)
        if not 0 <= start <= stop <= len(self._seen) or self._seen[start:stop].any():
            raise ValueError(
                f"slices {start} to {stop - 1} of {len(self._seen)}: expected slices of the volume "
                "that were not added before"
            )
        self._seen[start:stop] = True
        self._all = None
        if slab_hu is not None:
            at_once = max(1, _VOXELS_AT_ONCE // max(labels.shape[1] * labels.shape[2], 1))
            for low in range(0, len(labels), at_once):
                part = slice(low, low + at_once)
                chance = None if probability is None else probability[part]
                self._connect(start + low, labels[part], slab_hu[part], chance)
        self._faces = {n: face for n, face in self._faces.items() if self._awaits(n)}
        if self._point_count > self._limit:
            self._settle()

    def keep(self, start: int, labels: NDArray[np.uint8]) -> None:
        """Keep the lesions that a clean-up left, once all slices have been added.

        Args:
            start: first canonical slice.
            labels: (n, height, width) after a clean-up, which keeps or drops lesions whole.
        """
        anchors, plane = self._all_parts().anchor, labels.shape[1] * labels.shape[2]
        low, high = start * plane, (start + len(labels)) * plane
        here = np.flatnonzero((anchors >= low) & (anchors < high))
        self._kept[here] = lesion_mask(labels.ravel()[anchors[here] - low])

    def lesions(self) -> tuple[tuple[Lesion, ...], int]:
        """The lesions, largest first and at most `MAX_LESIONS`, and how many there are in all.

        Of equally large ones the lowest comes first.
        """
        parts = self._all_parts()[self._kept]
        count = len(parts) + self._forgotten
        parts = parts[parts.largest_first()[:MAX_LESIONS]]
        return tuple(self._lesion(parts, row) for row in range(len(parts))), count

    def _all_parts(self) -> LesionParts:
        """All lesions so far, joined and measured."""
        if self._all is None:
            self._settle()
            parts = LesionParts.joined(self._parts or [NOTHING])
            points = np.concatenate([np.zeros((4, 0), np.int32), *self._points], 1)
            self._all = LesionParts.joined([self._finished, self._measured(parts, points)])
            self._kept = np.full(len(self._all), not self._cleaned_up)
        return self._all

    def _awaits(self, number: int) -> bool:
        """Whether a slice next to this one is still missing."""
        around = self._seen[max(number - 1, 0) : number + 2]
        return not around.all()

    def _connect(
        self,
        start: int,
        labels: NDArray[np.uint8],
        slab_hu: NDArray[np.float32],
        probability: NDArray[np.float32] | None,
    ) -> None:
        mask = lesion_mask(labels)
        lines = mask.any(2).any(0)
        if not lines.any():
            return
        top, bottom = _span(lines)
        left, right = _span(mask[:, top:bottom].any(1).any(0))
        box = (slice(None), slice(top, bottom), slice(left, right))
        mask = np.ascontiguousarray(mask[box])
        numbers: NDArray[np.integer] = cc3d.connected_components(mask, connectivity=6)
        chance = None if probability is None else probability[box][mask]
        self._with_probability |= chance is not None
        parts, points = measured_parts(
            numbers, slab_hu[box][mask], chance, (start, top, left), self._geometry.canonical_shape
        )
        faces = {}
        for number, face in ((start, numbers[0]), (start + len(labels) - 1, numbers[-1])):
            shifted = face.astype(np.int64)
            shifted[face > 0] += self._count
            faces[number] = Face(shifted, top, left)
        for number, beside in ((start, start - 1), (start + len(labels) - 1, start + len(labels))):
            if beside in self._faces:
                self._pairs.append(touching(self._faces[beside], faces[number]))
        self._faces |= faces
        points[0] += self._count
        self._parts.append(parts)
        self._points.append(points)
        self._count += len(parts)
        self._point_count += points.shape[1]

    def _settle(self) -> None:
        """Join parts that touch, and measure the lesions that can no longer grow."""
        if not self._parts:
            return
        pairs = np.concatenate([np.zeros((2, 0), np.int64), *self._pairs], 1)
        groups, count = connected(self._count, pairs)
        parts = LesionParts.joined(self._parts).merged(groups, count)
        points = np.concatenate(self._points, 1)
        points[0] = groups[points[0]]
        points = bounding(points)
        groups = np.append(groups, -1)  # of number 0, which is no part
        open_now = np.zeros(count + 1, bool)
        for face in self._faces.values():
            open_now[groups[face.numbers - 1]] = True
        open_now = open_now[:-1]
        self._finish(parts, points, ~open_now)
        renumbered = np.append(np.cumsum(open_now) - 1, -1)
        self._faces = {
            number: Face(1 + renumbered[groups[face.numbers - 1]], face.top, face.left)
            for number, face in self._faces.items()
        }
        points = points[:, open_now[points[0]]]
        points[0] = renumbered[points[0]]
        parts, points = self._bounded(parts[open_now], points)
        self._parts, self._points, self._pairs = [parts], [points], []
        self._count, self._point_count = len(parts), points.shape[1]
        self._limit = self._point_count + _POINTS_BETWEEN

    def _finish(self, parts: LesionParts, points: Points, done: NDArray[np.bool_]) -> None:
        numbers = np.cumsum(done) - 1
        points = points[:, done[points[0]]]
        points[0] = numbers[points[0]]
        finished = LesionParts.joined([self._finished, self._measured(parts[done], points)])
        if self._most is not None and len(finished) > self._most:
            self._forgotten += len(finished) - self._most
            finished = finished[finished.largest_first()[: self._most]]
        self._finished = finished

    def _bounded(self, parts: LesionParts, points: Points) -> tuple[LesionParts, Points]:
        """Drop outlines if there are more than `MAX_POINTS` voxels."""
        if points.shape[1] <= MAX_POINTS:
            return parts, points
        held = np.bincount(points[0], minlength=len(parts))
        order = parts.largest_first()
        kept = np.zeros(len(parts), bool)
        kept[order[np.cumsum(held[order]) <= MAX_POINTS // 2]] = True
        return self._measured(parts, points), points[:, kept[points[0]]]

    def _measured(self, parts: LesionParts, points: Points) -> LesionParts:
        """The parts, with the diameter of their points where that is longer."""
        longest = diameters_mm(points, len(parts), self._to_world[:3, :2])
        return parts.with_diameter(np.maximum(parts.diameter_mm, longest))

    def _lesion(self, parts: LesionParts, row: int) -> Lesion:
        voxels = float(parts.sums[row, VOXELS])
        means = parts.sums[row] / voxels
        volume_ml = voxels * self._geometry.voxel_ml
        x, y, z = (self._to_world @ [*means[[COLUMNS, ROWS, SLICES]], 1])[:3].tolist()
        first, last = int(parts.first[row]), int(parts.last[row])
        if self._geometry.head_to_feet:
            slices = self._geometry.canonical_shape[0]
            first, last = slices - 1 - last, slices - 1 - first
        known = self._with_probability
        return Lesion(
            volume_ml=volume_ml,
            longest_axial_diameter_mm=float(parts.diameter_mm[row]),
            equivalent_sphere_diameter_mm=(6000 * volume_ml / pi) ** (1 / 3),
            centroid_mm=(x, y, z),
            slices=(first, last),
            mean_hu=float(means[HU]),
            sd_hu=float((parts.squares[row] / voxels) ** 0.5),
            mean_probability=float(means[PROBABILITY]) if known else None,
            largest_probability=float(parts.peak[row]) if known else None,
        )


def _span(hit: Any) -> tuple[int, int]:
    """First and one past the last index that is true; at least one is."""
    where = np.flatnonzero(hit)
    return int(where[0]), int(where[-1]) + 1
