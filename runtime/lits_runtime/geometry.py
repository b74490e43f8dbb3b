"""How a NIfTI grid maps to the canonical orientation and back.

Canonical arrays are (slices, height, width): slices run inferior to superior, rows anterior to
posterior, columns from the patient's right to the left. In nibabel's words the voxel axes
(column, row, slice) are then "LPS", the order in which most CT is stored.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
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

CANONICAL_AXES = ("L", "P", "S")
_FARTHEST_MM = 1e12
"""Far beyond any affine, and far from where products of its entries overflow."""


@dataclass(frozen=True)
class Geometry:
    """The grid of a stored volume and the way from it to the canonical orientation and back."""

    shape: tuple[int, int, int]
    """Voxels along the stored axes (i, j, k)."""
    affine: NDArray[np.float64]
    """(4, 4) voxel-to-world, mm, RAS+."""

    @cached_property
    def _stored(self) -> NDArray[np.float64]:
        orientation: NDArray[np.float64] = np.full((3, 2), np.nan)
        if np.isfinite(self.affine).all() and abs(self.affine).max() < _FARTHEST_MM:
            with np.errstate(all="ignore"):
                orientation = io_orientation(self.affine)
        if np.isnan(orientation).any():
            raise VolumeError(
                "the affine does not span three directions: "
                f"{self.affine[:3, :3].tolist()}; repair the header's sform or qform"
            )
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

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, sheared grids included."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000

    @property
    def canonical_axes(self) -> tuple[int, int, int]:
        """The stored axes that run along the slices, rows and columns: (2, 1, 0) for most CT."""
        columns, rows, slices = np.argsort(self._to_canonical[:, 0]).tolist()
        return slices, rows, columns

    @property
    def canonical_shape(self) -> tuple[int, int, int]:
        """(slices, height, width)."""
        slices, rows, columns = self.canonical_axes
        return self.shape[slices], self.shape[rows], self.shape[columns]

    @property
    def canonical_affine(self) -> NDArray[np.float64]:
        """(4, 4) from canonical (column, row, slice) to world, mm, RAS+."""
        inverse: NDArray[np.float64] = inv_ornt_aff(self._to_canonical, self.shape)
        return self.affine @ inverse

    @property
    def head_to_feet(self) -> bool:
        """Whether the slices are stored against the canonical order."""
        return bool(self._to_canonical[self.canonical_axes[0], 1] < 0)

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
