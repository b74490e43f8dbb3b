"""The lesions of a mask and of its reference, for lists and marks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lits_runtime.labels import lesion_mask
from lits_tools.scores.lesion_match import Lesions, label_lesions, match_lesions
from lits_tools.scores.surface import Spacing

SMALL_MM = 15.0
"""Longest axial diameter below which a lesion is marked, because its outline is easily missed."""

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class ListedLesion:
    """A lesion that can be shown."""

    kind: str
    """"lesion" if there is no reference; otherwise "found", "false positive" or "missed"."""
    diameter_mm: float
    """Longest axial diameter."""
    volume_ml: float
    centre: tuple[int, int, int]
    """A voxel of the lesion near the middle of its largest axial slice: slice, row, column."""
    box: tuple[tuple[int, int], ...]
    """First and last slice, row and column."""

    @property
    def small(self) -> bool:
        """Whether it is marked."""
        return self.diameter_mm < SMALL_MM


def listed_lesions(
    labels: Labels, reference: Labels | None, spacing_mm: Spacing, voxel_ml: float
) -> list[ListedLesion]:
    """The lesions of a mask, and those that it misses of its reference, the largest first.

    A lesion is found if it is matched with any overlap, as lits-eval counts at IoU > 0.
    """
    pred = label_lesions(lesion_mask(labels))
    gt = label_lesions(lesion_mask(labels if reference is None else reference))
    match = match_lesions(pred, gt, spacing_mm)
    groups = [group for group in match.groups if group.predicted]
    correct = {number for group in groups for number in group.predicted}
    found = {number for group in groups for number in group.reference}
    lesions = []
    for number in pred.numbers:
        known = "found" if number in correct else "false positive"
        kind = "lesion" if reference is None else known
        mm = match.predicted_mm[number - 1]
        lesions.append(_listed(pred, number, kind, mm, voxel_ml))
    for number in set(gt.numbers) - found:
        mm = match.reference_mm[number - 1]
        lesions.append(_listed(gt, number, "missed", mm, voxel_ml))
    return sorted(lesions, key=lambda one: (-one.diameter_mm, one.centre))


def _listed(
    lesions: Lesions, number: int, kind: str, diameter_mm: float, voxel_ml: float
) -> ListedLesion:
    box = lesions.boxes[number - 1]
    inside = lesions.ids[box] == number
    slice_ = int(np.count_nonzero(inside, axis=(1, 2)).argmax())
    places = np.argwhere(inside[slice_])
    row, column = places[np.square(places - places.mean(axis=0)).sum(axis=1).argmin()].tolist()
    z, y, x = (edge.start for edge in box)
    return ListedLesion(
        kind,
        float(diameter_mm),
        int(lesions.voxels[number - 1]) * voxel_ml,
        (z + slice_, y + row, x + column),
        tuple((edge.start, edge.stop - 1) for edge in box),
    )
