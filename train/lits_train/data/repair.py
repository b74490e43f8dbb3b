"""Headers that have lost the geometry of their scan, and what is put in its place.

LiTS volumes 28 to 47 say 1 x 1 x 1 mm under an affine without directions: both were lost when the
set was made (PatrickChrist/LITS-CHALLENGE#14). Which way the patient lies is still to be seen: the
liver is on the right, the spine at the back. The voxel size is not.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lits_runtime.volumes.scan import Geometry, Scan

WIDEST_MM = 500.0
"""CT scanners reconstruct a field of view up to this; 512 voxels of 1 mm would be wider."""
TYPICAL_MM = (1.6, 0.7, 0.7)
"""Slices, rows and columns where nothing is known: as the 3D-IRCADb-01 scans, which LiTS took as
28 to 47, mostly are."""
_LOOKED_AT = 16
_BODY_HU, _BONE_HU = -300.0, 300.0
_CLEAR = 0.1


class BodySides:
    """Takes axial slices and tells on which side of the body the liver and the bones lie."""

    def __init__(self) -> None:
        self._sums = np.zeros((3, 4))

    def add(self, slice_hu: NDArray[np.float32], labels: NDArray[np.number]) -> None:
        """Take a slice; both are (height, width). One without liver says nothing."""
        liver = labels > 0.5  # a mask that was saved under a scaling reads 0.00002 for 0
        if not liver.any():
            return
        for sums, mask in zip(
            self._sums, (slice_hu > _BODY_HU, liver, slice_hu > _BONE_HU), strict=True
        ):
            by_row, by_column = mask.sum(axis=1), mask.sum(axis=0)
            rows, columns = np.arange(len(by_row)), np.arange(len(by_column))
            sums += by_row.sum(), by_row @ rows, by_column @ columns, by_column @ columns**2

    @property
    def mirrored(self) -> bool | None:
        """Whether the liver lies where the patient's left should be; None if that is not clear."""
        body, liver, _ = self._sums
        return _beyond(liver, body, 2)

    @property
    def upside_down(self) -> bool | None:
        """Whether the bones lie where the front should be; None if that is not clear."""
        body, _, bone = self._sums
        behind = _beyond(bone, body, 1)
        return None if behind is None else not behind


def _beyond(part: NDArray[np.float64], body: NDArray[np.float64], axis: int) -> bool | None:
    """Whether the centre of a part lies clearly beyond the body's, or clearly before it."""
    if not part[0] or not body[0]:
        return None
    centre = body[2] / body[0]
    half_width = np.sqrt(max(body[3] / body[0] - centre**2, 1.0))
    offset = (part[axis] / part[0] - body[axis] / body[0]) / half_width
    return bool(offset > 0) if abs(offset) > _CLEAR else None


def is_lost(geometry: Geometry) -> bool:
    """Whether a grid has the unit spacing of a header that was never filled in.

    >>> is_lost(Geometry((512, 512, 129), np.eye(4)))
    True
    >>> is_lost(Geometry((330, 280, 300), np.diag([-1.0, -1, 1, 1]) + np.eye(4, k=3)))
    False
    """
    if not np.allclose(geometry.spacing_mm, 1.0, atol=1e-6):
        return False
    _, height, width = geometry.canonical_shape
    return max(height, width) > WIDEST_MM or np.allclose(abs(geometry.affine), np.eye(4), atol=1e-6)


def repaired(
    volume: Scan, mask: Scan, liver: Sequence[int] | NDArray[np.integer], stated_mm: object = None
) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    """The affine that should stand in a volume's header, and what is different about it.

    Where the header is lost, rows and columns are turned so that the liver lies on the right and
    the bones at the back, and the voxel size is `stated_mm` or else `TYPICAL_MM`. Elsewhere only
    a stated voxel size changes anything.

    Args:
        volume: the CT, under its own geometry.
        mask: its labels, under the same.
        liver: numbers of the canonical slices with liver.
        stated_mm: voxel size along the stored axes, if it is known better than the header.

    Returns:
        (4, 4) voxel-to-world, None if the header stands; and notes for people.

    Raises:
        VolumeError: a file is not readable.
    """
    geometry = volume.geometry
    lost = is_lost(geometry)
    if not lost and stated_mm is None:
        return None, ()
    axes = geometry.canonical_axes
    spacing = np.ones(3)
    spacing[list(axes)] = TYPICAL_MM
    if stated_mm is not None:
        spacing = np.asarray(stated_mm, float)
    said = " x ".join(f"{size:.4g}" for size in spacing)
    if stated_mm is None:
        notes = [f"the header has lost the voxel size (1 x 1 x 1 mm): {said} mm is assumed"]
    else:
        notes = [f"voxel size {said} mm as stated, not the header's"]
    directions = geometry.affine[:3, :3] / np.linalg.norm(geometry.affine[:3, :3], axis=0)
    if lost:
        turned, note = _turned(volume, mask, liver)
        directions[:, [axis for axis, flip in zip(axes[1:], turned, strict=True) if flip]] *= -1
        notes.append(note)
    affine = geometry.affine.copy()
    affine[:3, :3] = directions * spacing
    return affine, tuple(notes)


def _turned(
    volume: Scan, mask: Scan, liver: Sequence[int] | NDArray[np.integer]
) -> tuple[tuple[bool, bool], str]:
    """Whether rows and columns run the wrong way, and a note that says so."""
    sides = BodySides()
    steps = np.unique(np.linspace(0, len(liver) - 1, _LOOKED_AT).round().astype(int))
    for number in np.asarray(liver)[steps] if len(liver) else ():
        slabs = (scan.read_slab(int(number), int(number) + 1)[0] for scan in (volume, mask))
        sides.add(*slabs)
    wrong = (sides.upside_down, sides.mirrored)
    if None in wrong:
        unclear = "the header has lost the orientation, and the anatomy does not tell it"
        return (bool(wrong[0]), bool(wrong[1])), unclear
    names = [name for name, flip in zip(("rows", "columns"), wrong, strict=True) if flip]
    how = f"{' and '.join(names)} turned" if names else "as it says"
    return (
        (bool(wrong[0]), bool(wrong[1])),
        f"the header has lost the orientation: {how}, by the side of the liver and of the spine",
    )
