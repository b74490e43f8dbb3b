"""Distances between the surfaces of two masks, in millimetres.

A surface voxel belongs to the mask and has a neighbour outside it; beyond the array is outside. The
LiTS organisers take 18 neighbours for the mean and the root mean square (Heimann et al. 2009) and 6
for the maximum (MedPy's Hausdorff distance), and so does `surface_scores`.

Where one mask is empty, distances are infinite; where both are, they are NaN.
"""

from dataclasses import dataclass

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from lits_runtime.system.processors import usable_processors
from lits_tools.scores.overlap import Mask, cropped

Spacing = tuple[float, float, float]
Distances = NDArray[np.float64]

FACES, FACES_AND_EDGES = 6, 18
_TREE_VOXELS_PER_POINT = 40
"""With more voxels in the box than this per surface voxel, a tree is faster than a transform."""


@dataclass(frozen=True)
class SurfaceDistances:
    """From each surface voxel of one mask to the nearest of the other; float64, mm."""

    pred_to_gt: Distances
    gt_to_pred: Distances

    @property
    def both(self) -> Distances:
        """All distances of both directions."""
        return np.concatenate([self.pred_to_gt, self.gt_to_pred])


@dataclass(frozen=True)
class SurfaceScores:
    """Summary of the distances between two surfaces, mm."""

    assd_mm: float
    """Average symmetric surface distance: the mean over both surfaces' voxels."""
    rmsd_mm: float
    """Root mean square symmetric surface distance."""
    mssd_mm: float
    """Maximum symmetric surface distance: the Hausdorff distance."""
    hd95_mm: float
    """95th percentile of the distances of both directions taken together, as in MedPy."""


def surface_scores(mask_pred: Mask, mask_gt: Mask, spacing_mm: Spacing) -> SurfaceScores:
    """ASSD and RMSD over 18-neighbour surfaces, MSSD and HD95 over 6-neighbour ones.

    Args:
        mask_pred: bool (slices, height, width), or any axis order that `spacing_mm` shares.
        mask_gt: of the same shape.
        spacing_mm: voxel size per array axis.

    Raises:
        DatasetError: the shapes differ.
    """
    edges = surface_distances(mask_pred, mask_gt, spacing_mm, neighbours=FACES_AND_EDGES).both
    faces = surface_distances(mask_pred, mask_gt, spacing_mm, neighbours=FACES).both
    if not len(faces):
        return SurfaceScores(*[float("nan")] * 4)
    if not np.isfinite(faces).all():
        return SurfaceScores(*[float("inf")] * 4)
    return SurfaceScores(
        float(edges.mean()),
        float(np.sqrt(np.square(edges).mean())),
        float(faces.max()),
        float(np.percentile(faces, 95)),
    )


def surface_distances(
    mask_pred: Mask, mask_gt: Mask, spacing_mm: Spacing, *, neighbours: int = FACES
) -> SurfaceDistances:
    """Distances between two surfaces; infinite where the other mask is empty.

    Args:
        mask_pred: bool (slices, height, width), or any axis order that `spacing_mm` shares.
        mask_gt: of the same shape.
        spacing_mm: voxel size per array axis.
        neighbours: 6 (faces) or 18 (faces and edges).

    Raises:
        DatasetError: the shapes differ.
    """
    pred, gt = cropped(mask_pred, mask_gt)
    surface_pred, surface_gt = surface(pred, neighbours), surface(gt, neighbours)
    return SurfaceDistances(
        nearest_mm(surface_pred, surface_gt, spacing_mm),
        nearest_mm(surface_gt, surface_pred, spacing_mm),
    )


def surface(mask: Mask, neighbours: int) -> Mask:
    """Voxels of a 3D mask that have a neighbour outside it.

    >>> int(surface(np.ones((3, 3, 3), bool), FACES).sum())
    26
    """
    steps = {FACES: 1, FACES_AND_EDGES: 2}[neighbours]
    inside: Mask = ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, steps))
    surface: Mask = mask ^ inside
    return surface


def nearest_mm(points: Mask, targets: Mask, spacing_mm: Spacing) -> Distances:
    """From each voxel of `points`, in array order, to the nearest of `targets`; float64, mm."""
    count = int(np.count_nonzero(points))
    number = count + int(np.count_nonzero(targets))
    if number == count or not count:
        return np.full(count, np.inf)
    if points.size <= _TREE_VOXELS_PER_POINT * number:
        return nearest_by_transform(points, targets, spacing_mm)
    return nearest_by_tree(points, targets, spacing_mm)


def nearest_by_transform(points: Mask, targets: Mask, spacing_mm: Spacing) -> Distances:
    """`nearest_mm` by a Euclidean distance transform: time grows with the size of the array."""
    field: NDArray[np.float32] = edt.edt(
        np.ascontiguousarray(~targets),
        anisotropy=spacing_mm,
        black_border=False,
        parallel=usable_processors(),
    )
    return field[points].astype(np.float64)


def nearest_by_tree(points: Mask, targets: Mask, spacing_mm: Spacing) -> Distances:
    """`nearest_mm` by a k-d tree: time grows with the surfaces, not with the space between them."""
    tree = cKDTree(_places_mm(targets, spacing_mm))
    distances: Distances = tree.query(_places_mm(points, spacing_mm), workers=usable_processors())[
        0
    ]
    return distances


def _places_mm(mask: Mask, spacing_mm: Spacing) -> Distances:
    """Positions of a mask's voxels, in array order; float64 (voxels, 3), mm."""
    # Twice as fast as argwhere, which handles all three indices of every voxel.
    indices = np.unravel_index(np.flatnonzero(mask), mask.shape)
    places: Distances = np.column_stack(indices) * np.asarray(spacing_mm)
    return places
