"""The part of an array that holds masks, so that large empty volumes cost nothing."""

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, ...]


def bounding_box(*masks: NDArray[np.generic], margin: int = 0) -> Box:
    """Index expression of the smallest box around all non-zero voxels; empty if there are none.

    >>> bounding_box(np.array([0, 0, 1, 1, 0]))
    (slice(2, 4, None),)
    """
    box = []
    for axis in range(masks[0].ndim):
        others = tuple(other for other in range(masks[0].ndim) if other != axis)
        hit = np.flatnonzero(np.any([mask.any(axis=others) for mask in masks], axis=0))
        low, high = (int(hit[0]), int(hit[-1]) + 1) if len(hit) else (0, 0)
        box.append(slice(max(low - margin, 0), min(high + margin, masks[0].shape[axis])))
    return tuple(box)
