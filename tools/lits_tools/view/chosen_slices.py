"""Which slices to show: the largest lesion, the worst disagreement, or steps through the liver."""

import numpy as np
from numpy.typing import NDArray

from lits_tools.scores.lesion_match import label_lesions
from lits_tools.view.planes import Plane
from lits_tools.view.view_data import ViewData


def largest_lesion(view: ViewData, plane: Plane) -> int:
    """The slice in which the lesion of the largest volume is largest; without one, the liver.

    The reference decides where there is one and has a lesion.
    """
    for labels in (view.best_known, view.labels):
        lesions = label_lesions(labels == 2)
        if lesions.boxes:
            largest = lesions.ids == lesions.largest
            return int(_areas(largest, plane).argmax())
    for labels in (view.best_known, view.labels):
        if labels.any():
            return int(_areas(labels > 0, plane).argmax())
    return int(view.volume_hu.shape[plane.axis]) // 2


def worst_disagreement(view: ViewData, plane: Plane) -> int:
    """The slice with most lesion voxels that only one mask has; if there are none, liver voxels.

    Without a reference, or without any disagreement, the same as `largest_lesion`.
    """
    if view.reference is not None:
        for low in (2, 1):
            areas = _areas((view.labels >= low) != (view.reference >= low), plane)
            if areas.any():
                return int(areas.argmax())
    return largest_lesion(view, plane)


def through_liver(view: ViewData, plane: Plane, count: int) -> list[int]:
    """At most `count` different slices in even steps from one end of the masks to the other."""
    low, high = extent(view, plane)
    return sorted({round(step) for step in np.linspace(low, high, count + 2)[1:-1].tolist()})


def extent(view: ViewData, plane: Plane) -> tuple[int, int]:
    """First and last slice with a label in either mask; of the volume if there is none."""
    areas = _areas(view.labels > 0, plane) + _areas(view.best_known > 0, plane)
    used = np.flatnonzero(areas)
    return (int(used[0]), int(used[-1])) if len(used) else (0, len(areas) - 1)


def _areas(mask: NDArray[np.bool_], plane: Plane) -> NDArray[np.int64]:
    """Pixels of a mask (slices, height, width) in each slice of a plane."""
    areas: NDArray[np.int64] = np.count_nonzero(mask, axis=(plane.rows, plane.columns))
    return areas
