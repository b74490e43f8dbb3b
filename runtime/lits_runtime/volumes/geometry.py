"""The grid of a volume, and how it maps to the canonical orientation and back.

Canonical arrays are (slices, height, width): slices run inferior to superior, rows anterior to
posterior, columns from the patient's right to the left. In nibabel's words the voxel axes
(column, row, slice) are then "LPS", the order in which most CT is stored.
"""

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
from nibabel.affines import apply_affine
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt2axcodes,
    ornt_transform,
)
from numpy.typing import NDArray

from lits_runtime.errors import VolumeError
from lits_runtime.system.cached_property import cached_property

CANONICAL_AXES = ("L", "P", "S")
VOXEL_MM = (1e-5, 1e5)
"""Least and greatest voxel size of a grid, far beyond those of CT in whatever unit. `plausibility`
judges the sizes between."""
_FARTHEST_MM = 1e7
LEAST_VOLUME = 0.25
"""Of the cell spanned by unit vectors along the axes: 1 if they are at right angles, 0 if they lie
in a plane. A gantry tilted by 30 degrees, the most of any scanner, leaves 0.87. Under 0.25 two axes
may be within 15 degrees of each other, and neither volumes nor directions mean anything."""
_REPAIR = "repair the header's sform or qform, or convert the scan from DICOM again"


@dataclass(frozen=True, eq=False)
class Geometry:
    """The grid of a stored volume, with the mapping to the canonical orientation and back.

    Two are equal, and hash alike, if shape and affine are identical; `same_grid` compares where
    their voxels lie.

    Raises:
        VolumeError: the shape is not that of a volume, or the affine does not span three
            directions, has entries that are not finite, or a last row other than 0 0 0 1.
    """

    shape: tuple[int, int, int]
    """Voxels along the stored axes (i, j, k)."""
    affine: NDArray[np.float64]
    """(4, 4) voxel-to-world, mm, RAS+; read-only."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", _checked_shape(self.shape))
        object.__setattr__(self, "affine", _checked_affine(self.affine))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Geometry):
            return NotImplemented
        return self.shape == other.shape and np.array_equal(self.affine, other.affine)

    def __hash__(self) -> int:
        return hash((self.shape, (self.affine + 0.0).tobytes()))  # -0.0 equals 0.0

    def __reduce__(self) -> tuple[Any, ...]:
        return Geometry, (self.shape, self.affine)  # without cached properties

    @cached_property
    def _stored(self) -> NDArray[np.float64]:
        orientation: NDArray[np.float64] = io_orientation(self.affine)
        return orientation

    @cached_property
    def _to_canonical(self) -> NDArray[np.float64]:
        transform: NDArray[np.float64] = ornt_transform(self._stored, axcodes2ornt(CANONICAL_AXES))
        return transform

    @cached_property
    def _from_canonical(self) -> NDArray[np.float64]:
        transform: NDArray[np.float64] = ornt_transform(axcodes2ornt(CANONICAL_AXES), self._stored)
        return transform

    @property
    def axis_codes(self) -> str:
        """Where the stored axes point, for example "LPS" or "RAS"."""
        return "".join(ornt2axcodes(self._stored))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along each stored axis, in array order.

        >>> Geometry((4, 4, 2), np.diag([0.7, 0.7, 5.0, 1.0])).spacing_mm
        (0.7, 0.7, 5.0)
        """
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @cached_property
    def voxel_ml(self) -> float:
        """Volume of one voxel, of sheared grids too; never 0."""
        # From canonical axes, so that it is identical for all storage orders.
        return abs(float(np.linalg.det(self.canonical_affine[:3, :3]))) / 1000

    @cached_property
    def canonical_axes(self) -> tuple[int, int, int]:
        """The stored axes that run along the slices, rows and columns: (2, 1, 0) for most CT."""
        columns, rows, slices = np.argsort(self._to_canonical[:, 0]).tolist()
        return slices, rows, columns

    @property
    def canonical_shape(self) -> tuple[int, int, int]:
        """(slices, height, width)."""
        slices, rows, columns = self.canonical_axes
        return self.shape[slices], self.shape[rows], self.shape[columns]

    @cached_property
    def canonical_affine(self) -> NDArray[np.float64]:
        """(4, 4) from canonical (column, row, slice) to world, mm, RAS+; read-only."""
        inverse: NDArray[np.float64] = inv_ornt_aff(self._to_canonical, self.shape)
        canonical: NDArray[np.float64] = self.affine @ inverse
        canonical.flags.writeable = False
        return canonical

    @property
    def canonical_spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along (slices, rows, columns).

        >>> Geometry((4, 4, 2), np.diag([0.7, 0.8, 5.0, 1.0])).canonical_spacing_mm
        (5.0, 0.8, 0.7)
        """
        spacing_mm = self.spacing_mm
        slices, rows, columns = self.canonical_axes
        return spacing_mm[slices], spacing_mm[rows], spacing_mm[columns]

    def apart_mm(self, other: "Geometry") -> float:
        """The largest distance between corresponding corners of two grids, in canonical order.

        Infinite if the canonical shapes differ.
        """
        if self.canonical_shape != other.canonical_shape:
            return float("inf")
        apart = self._corners_mm - other._corners_mm
        return float(np.linalg.norm(apart, axis=1).max())

    def same_grid(self, other: "Geometry", tolerance_mm: float | None = None) -> bool:
        """Whether two volumes have their voxels in the same places, whatever their axis order.

        Args:
            other: the other grid.
            tolerance_mm: between corresponding corners; None: a tenth of the smallest voxel size,
                which exceeds the rounding errors of headers.

        >>> lps, ras = np.diag([-1.0, -1.0, 3.0, 1.0]), np.diag([1.0, 1.0, 3.0, 1.0])
        >>> ras[:2, 3] = -3, -3
        >>> Geometry((4, 4, 2), lps).same_grid(Geometry((4, 4, 2), ras))
        True
        """
        if tolerance_mm is None:
            tolerance_mm = 0.1 * min(*self.spacing_mm, *other.spacing_mm)
        return self.apart_mm(other) <= tolerance_mm

    @cached_property
    def _corners_mm(self) -> NDArray[np.float64]:
        """World coordinates of the first and last canonical voxels along each axis, (8, 3)."""
        last = np.array(self.canonical_shape[::-1]) - 1
        corners: NDArray[np.float64] = apply_affine(
            self.canonical_affine, np.indices((2, 2, 2)).reshape(3, 8).T * last
        )
        return corners

    @property
    def head_to_feet(self) -> bool:
        """Whether the slices are stored against the canonical order."""
        return bool(self._to_canonical[self.canonical_axes[0], 1] < 0)

    def slab_ranges(self, size: int, apart: int | None = None) -> Iterator[tuple[int, int]]:
        """Start and stop of all slabs of `size` canonical slices, in the order of their storage.

        Slabs begin at multiples of `size`, so that a scan has the same ones whichever way it is
        stored. They come from feet to head, but in the reverse order where the slices are the
        slowest stored axis and run from head to feet.

        With `apart`, its multiples and the last slice are slabs of one slice, and those between
        two of them make slabs of at most `size`.

        >>> list(Geometry((4, 4, 5), np.diag([1, 1, 3, 1])).slab_ranges(2))
        [(0, 2), (2, 4), (4, 5)]
        >>> list(Geometry((4, 4, 5), np.diag([1, 1, -3, 1])).slab_ranges(2))
        [(4, 5), (2, 4), (0, 2)]
        >>> list(Geometry((4, 4, 6), np.diag([1, 1, 3, 1])).slab_ranges(2, apart=4))
        [(0, 1), (1, 3), (3, 4), (4, 5), (5, 6)]
        """
        slices = self.canonical_shape[0]
        starts = [*range(0, slices, size)]
        if apart is not None:
            alone = [*range(0, slices - 1, apart), slices - 1]
            between = (range(low + 1, high, size) for low, high in pairwise(alone))
            starts = sorted([*alone, *chain.from_iterable(between)])
        ranges = [*pairwise([*starts, slices])]
        descending = self.slices_are_slowest and self.head_to_feet
        yield from reversed(ranges) if descending else ranges

    def stands_alone(self, start: int, stop: int, apart: int) -> bool:
        """Whether a slab is one of the single slices that `slab_ranges` has with `apart`."""
        return stop - start == 1 and (start % apart == 0 or stop == self.canonical_shape[0])

    @property
    def slices_are_slowest(self) -> bool:
        """Whether whole axial slices are stored one after the other."""
        return self.canonical_axes[0] == 2

    def stored_range(self, start: int, stop: int) -> tuple[slice, slice, slice]:
        """Index expression for the canonical slices `start` to `stop` of a stored array."""
        axis = self.canonical_axes[0]
        if self._to_canonical[axis, 1] < 0:
            start, stop = self.shape[axis] - stop, self.shape[axis] - start
        index = [slice(None)] * 3
        index[axis] = slice(start, stop)
        return index[0], index[1], index[2]

    def to_canonical(self, stored: NDArray[Any]) -> NDArray[Any]:
        """View of an (i, j, k) array, or of a `stored_range` of one, as (slices, height, width)."""
        oriented: NDArray[Any] = apply_orientation(stored, self._to_canonical)
        return oriented.transpose(2, 1, 0)

    def from_canonical(self, canonical: NDArray[Any]) -> NDArray[Any]:
        """View of a (slices, height, width) array in the stored axis order (i, j, k)."""
        stored: NDArray[Any] = apply_orientation(canonical.transpose(2, 1, 0), self._from_canonical)
        return stored


def _checked_shape(shape: Any) -> tuple[int, int, int]:
    try:
        i, j, k = (operator.index(size) for size in shape)
    except (TypeError, ValueError):
        raise VolumeError(f"shape {shape!r}: expected three whole numbers") from None
    if min(i, j, k) < 1:
        raise VolumeError(f"shape {(i, j, k)}: expected one voxel or more along each axis")
    return i, j, k


def _checked_affine(affine: Any) -> NDArray[np.float64]:
    """A read-only copy of an affine, once it is checked."""
    try:
        numbers = np.asarray(affine)
    except ValueError:  # rows of different length
        raise VolumeError("the affine has rows of different length: expected (4, 4)") from None
    if numbers.shape != (4, 4) or numbers.dtype.kind not in "iuf":
        raise VolumeError(
            f"an affine of {numbers.dtype} and shape {numbers.shape}: expected numbers (4, 4), "
            "voxel to world in mm, RAS+"
        )
    checked = numbers.astype(np.float64)
    checked.flags.writeable = False
    if problem := _affine_problem(checked):
        raise VolumeError(f"{problem}: {checked.tolist()}; {_REPAIR}")
    return checked


def _affine_problem(affine: NDArray[np.float64]) -> str:
    """What is wrong with a (4, 4) affine; empty if nothing is."""
    if not np.isfinite(affine).all():
        return "the affine has entries that are not finite"
    if not np.allclose(affine[3], (0, 0, 0, 1), rtol=0, atol=1e-6):
        return "the affine's last row is not 0 0 0 1"
    axes = affine[:3, :3]
    if abs(affine).max() > _FARTHEST_MM:
        return f"the affine has entries over {_FARTHEST_MM:g} mm"
    sizes = np.linalg.norm(axes, axis=0)
    if not sizes.all():
        return "the affine does not span three directions"
    if not VOXEL_MM[0] <= sizes.min() <= sizes.max() <= VOXEL_MM[1]:
        found = " x ".join(f"{size:.4g}" for size in sizes)
        return f"voxels of {found} mm by the affine, expected {VOXEL_MM[0]:g} to {VOXEL_MM[1]:g} mm"
    if abs(np.linalg.det(axes / sizes)) < LEAST_VOLUME:
        return "the affine barely spans three directions"
    return ""
