"""Clean-up in 3D, by connected components, of a label volume in memory."""

from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from lits_runtime.labels import BACKGROUND, LIVER, lesion_mask, liver_mask
from lits_runtime.segment.options import Options


def clean_up(labels: NDArray[np.uint8], voxel_ml: float, options: Options) -> None:
    """Clean up labels, uint8 in any axis order, in place.

    Components are connected face to face; lesions are kept or dropped whole.
    """
    box = _bounding_box(liver_mask(labels))
    if box is None:
        return
    inside = labels[box]
    if options.keep_largest_liver:
        liver, sizes = _components(liver_mask(inside))
        inside[liver != 1 + int(np.argmax(sizes[1:]))] = BACKGROUND
    lesions, sizes = _components(lesion_mask(inside))
    in_liver = np.zeros(len(sizes), bool)
    in_liver[np.unique(lesions[_beside(inside == LIVER)])] = True
    if options.drop_lesions_outside_liver:
        inside[(lesions > 0) & ~in_liver[lesions]] = BACKGROUND
    small = sizes * voxel_ml < options.min_lesion_ml
    inside[(lesions > 0) & small[lesions]] = BACKGROUND
    inside[(lesions > 0) & (small & in_liver)[lesions]] = LIVER


def _components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Components numbered from 1, and the voxels of each number; 0 is outside."""
    numbers, count = cc3d.connected_components(
        np.asfortranarray(mask), connectivity=6, return_N=True
    )
    return numbers, np.bincount(numbers.ravel(order="K"), minlength=count + 1)


def _beside(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels with a face neighbour in the mask."""
    beside = np.zeros_like(mask)
    for axis in range(mask.ndim):
        here, there = np.moveaxis(beside, axis, 0), np.moveaxis(mask, axis, 0)
        here[1:] |= there[:-1]
        here[:-1] |= there[1:]
    return beside


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    if not mask.any():
        return None
    box: list[Any] = []
    for axis in range(mask.ndim):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(box)
