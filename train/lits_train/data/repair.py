"""Repair of headers that have lost the geometry of their scan.

LiTS volumes 28 to 47 claim 1 x 1 x 1 mm and have affines without directions: both were lost when
the set was made (PatrickChrist/LITS-CHALLENGE#14). The orientation can be recovered from the
anatomy, with the liver on the right and the spine at the back. The voxel size cannot.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lits_runtime.volumes.scan import Geometry, Scan

WIDEST_MM = 500.0
"""Largest field of view of a CT scanner; 512 voxels of 1 mm would be wider."""
TYPICAL_MM = (1.6, 0.7, 0.7)
"""Assumed spacing of slices, rows and columns, typical of the 3D-IRCADb-01 scans (28 to 47 in
LiTS)."""
_SAMPLED_SLICES = 16
_BODY_HU, _BONE_HU = -300.0, 300.0
_CLEAR_OFFSET = 0.1
"""Of a centre from that of the body, in half widths of the body."""


class BodySides:
    """On which side of the body the liver and the bones lie, from axial slices."""

    def __init__(self) -> None:
        self._sums = np.zeros((3, 4))

    def add(self, slice_hu: NDArray[np.float32], labels: NDArray[np.number]) -> None:
        """Add a slice; both arrays are (height, width). A slice without liver is ignored."""
        liver = labels > 0.5  # a mask saved with a scaling may read 0.00002 for 0
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
        """Whether the liver lies on the patient's left; None if unclear."""
        body, liver, _ = self._sums
        return _beyond(liver, body, 2)

    @property
    def upside_down(self) -> bool | None:
        """Whether the bones lie in front; None if unclear."""
        body, _, bone = self._sums
        behind = _beyond(bone, body, 1)
        return None if behind is None else not behind


def _beyond(part: NDArray[np.float64], body: NDArray[np.float64], axis: int) -> bool | None:
    """Whether the centre of a part lies beyond the body's or before it; None if unclear."""
    if not part[0] or not body[0]:
        return None
    centre = body[2] / body[0]
    half_width = np.sqrt(max(body[3] / body[0] - centre**2, 1.0))
    offset = (part[axis] / part[0] - body[axis] / body[0]) / half_width
    return bool(offset > 0) if abs(offset) > _CLEAR_OFFSET else None


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
    """The affine that a volume's header should have, and notes on what it changes.

    If the header's geometry is lost, rows and columns are flipped so that the liver lies on the
    right and the bones at the back, and the voxel size is `stated_mm`, or else `TYPICAL_MM`.
    Otherwise only a stated voxel size changes anything.

    Args:
        volume: the CT, with the header's geometry.
        mask: its labels, with the same geometry.
        liver: numbers of the canonical slices with liver.
        stated_mm: true voxel size along the stored axes, if known.

    Returns:
        (4, 4) voxel-to-world, None if the header is right; and the notes.

    Raises:
        VolumeError: a file is not readable.
    """
    geometry = volume.geometry
    lost = is_lost(geometry)
    if not lost and stated_mm is None:
        return None, ()
    spacing_mm, note = _spacing_mm(geometry, stated_mm)
    notes = [note]
    directions = geometry.affine[:3, :3] / np.linalg.norm(geometry.affine[:3, :3], axis=0)
    if lost:
        flips, note = _flips(volume, mask, liver)
        in_plane = geometry.canonical_axes[1:]
        directions[:, [axis for axis, flip in zip(in_plane, flips, strict=True) if flip]] *= -1
        notes.append(note)
    affine = geometry.affine.copy()
    affine[:3, :3] = directions * spacing_mm
    return affine, tuple(notes)


def _spacing_mm(geometry: Geometry, stated_mm: object) -> tuple[NDArray[np.float64], str]:
    """The stated or the typical voxel size along the stored axes, and a note on it."""
    spacing_mm = np.ones(3)
    spacing_mm[list(geometry.canonical_axes)] = TYPICAL_MM
    if stated_mm is not None:
        spacing_mm = np.asarray(stated_mm, float)
    size = " x ".join(f"{length:.4g}" for length in spacing_mm)
    if stated_mm is None:
        return spacing_mm, f"the header has lost the voxel size (1 x 1 x 1 mm): assuming {size} mm"
    return spacing_mm, f"voxel size {size} mm as stated, not the header's"


def _flips(
    volume: Scan, mask: Scan, liver: Sequence[int] | NDArray[np.integer]
) -> tuple[tuple[bool, bool], str]:
    """Whether rows and columns run the wrong way, and a note on it."""
    sides = BodySides()
    steps = np.unique(np.linspace(0, len(liver) - 1, _SAMPLED_SLICES).round().astype(int))
    for number in np.asarray(liver)[steps] if len(liver) else ():
        slabs = (scan.read_slab(int(number), int(number) + 1)[0] for scan in (volume, mask))
        sides.add(*slabs)
    wrong = (sides.upside_down, sides.mirrored)
    if None in wrong:
        unclear = "the header has lost the orientation, and the anatomy does not show it"
        return (bool(wrong[0]), bool(wrong[1])), unclear
    names = [name for name, flip in zip(("rows", "columns"), wrong, strict=True) if flip]
    how = f"{' and '.join(names)} flipped" if names else "right as it is"
    return (
        (bool(wrong[0]), bool(wrong[1])),
        f"the header has lost the orientation: {how}, judging by the liver and the spine",
    )
