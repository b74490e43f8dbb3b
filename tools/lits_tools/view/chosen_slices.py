"""The slices to show: the largest lesion, the worst disagreement, or steps through the liver."""

import numpy as np
from numpy.typing import NDArray

from lits_runtime.labels import lesion_mask, liver_mask
from lits_tools.scores.lesion_match import label_lesions
from lits_tools.view.planes import Plane
from lits_tools.view.view_data import ViewData


def largest_lesion(view: ViewData, plane: Plane) -> int:
    """The slice with the largest area of the largest lesion; without lesions, of the liver.

    The reference, if there is one, goes before the prediction.
    """
    for labels in (view.reference_or_labels, view.labels):
        lesions = label_lesions(lesion_mask(labels))
        if lesions.boxes:
            largest = lesions.ids == lesions.largest
            return int(_areas(largest, plane).argmax())
    for labels in (view.reference_or_labels, view.labels):
        if labels.any():
            return int(_areas(liver_mask(labels), plane).argmax())
    return int(view.volume_hu.shape[plane.axis]) // 2


def worst_disagreement(view: ViewData, plane: Plane) -> int:
    """The slice with the most lesion voxels in only one of the masks; without any, liver voxels.

    Without a reference or any disagreement, the same as `largest_lesion`.
    """
    if view.reference is not None:
        for mask_of in (lesion_mask, liver_mask):
            areas = _areas(mask_of(view.labels) != mask_of(view.reference), plane)
            if areas.any():
                return int(areas.argmax())
    return largest_lesion(view, plane)


def through_liver(view: ViewData, plane: Plane, count: int) -> list[int]:
    """At most `count` different slices, evenly spaced from one end of the masks to the other."""
    low, high = extent(view, plane)
    return sorted({round(step) for step in np.linspace(low, high, count + 2)[1:-1].tolist()})


def extent(view: ViewData, plane: Plane) -> tuple[int, int]:
    """First and last slice with a label in either mask; without any, of the whole volume."""
    areas = _areas(liver_mask(view.labels) | liver_mask(view.reference_or_labels), plane)
    used = np.flatnonzero(areas)
    return (int(used[0]), int(used[-1])) if len(used) else (0, len(areas) - 1)


def _areas(mask: NDArray[np.bool_], plane: Plane) -> NDArray[np.int64]:
    """Mask voxels in each slice of a plane."""
    areas: NDArray[np.int64] = np.count_nonzero(mask, axis=(plane.rows, plane.columns))
    return areas
