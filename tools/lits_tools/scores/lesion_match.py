"""Lesions as connected components: their sizes, and which predicted ones match the reference.

Lesions are matched as in the LiTS challenge. Each reference lesion goes to the predicted lesion
that covers most of it, and reference lesions that share one are merged; each predicted lesion goes
to the merged reference that it overlaps most, and predicted lesions that share one are merged. The
result is groups of one merged prediction and one merged reference, compared by IoU.
"""

from collections import defaultdict
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from lits_runtime.measure.diameter import longest_diameters_mm
from lits_tools.scores.overlap import Box, Mask, Overlap, check_same_shape
from lits_tools.scores.surface import Spacing

SIZES = {"under_10mm": (0.0, 10.0), "10_to_20mm": (10.0, 20.0), "over_20mm": (20.0, np.inf)}
"""Ranges of the longest axial diameter in mm: lower bound included, upper bound not."""


@dataclass(frozen=True)
class Lesions:
    """The numbered lesions of one mask."""

    ids: NDArray[np.uint32]
    """(slices, height, width): 0 outside, 1 to n inside."""
    boxes: tuple[Box, ...]
    """The bounding box of each lesion in `ids`."""
    voxels: tuple[int, ...]
    """The size of each lesion."""

    @property
    def numbers(self) -> range:
        """1 to n."""
        return range(1, len(self.boxes) + 1)

    @property
    def largest(self) -> int:
        """The number of the lesion with the most voxels."""
        return max(self.numbers, key=lambda number: self.voxels[number - 1])


@dataclass(frozen=True)
class Group:
    """Reference lesions and predicted lesions that belong together."""

    reference: tuple[int, ...]
    """Lesion numbers, from 1."""
    predicted: tuple[int, ...]
    """Lesion numbers, from 1; none if the predictions that overlap fit other references better."""
    overlap: Overlap


@dataclass(frozen=True)
class LesionMatch:
    """All lesions of a case, sorted into groups."""

    groups: tuple[Group, ...]
    """In the order of the reference lesions; a reference without any overlap is in no group."""
    reference_mm: tuple[float, ...]
    """Longest axial diameter of each reference lesion."""
    predicted_mm: tuple[float, ...]
    """Longest axial diameter of each predicted lesion."""


@dataclass(frozen=True)
class Detection:
    """Counts of detected lesions, which can be summed over cases."""

    found: int
    """Reference lesions in groups above the IoU threshold."""
    reference: int
    """All reference lesions."""
    correct: int
    """Predicted lesions in groups above the IoU threshold."""
    predicted: int
    """All predicted lesions."""

    def __add__(self, other: "Detection") -> "Detection":
        return Detection(
            self.found + other.found,
            self.reference + other.reference,
            self.correct + other.correct,
            self.predicted + other.predicted,
        )

    @property
    def recall(self) -> float:
        """Share of the reference lesions that were found; NaN if there are none."""
        return self.found / self.reference if self.reference else float("nan")

    @property
    def precision(self) -> float:
        """Share of the predicted lesions that are correct; NaN if there are none."""
        return self.correct / self.predicted if self.predicted else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of both; 0 if one side alone has lesions, NaN if neither has."""
        if not self.reference or not self.predicted:
            return 0.0 if self.reference or self.predicted else float("nan")
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def label_lesions(lesion_mask: Mask) -> Lesions:
    """Number the lesions of a mask (slices, height, width).

    Lesions are components of voxels that share a face, as in the challenge.
    """
    if not lesion_mask.any():
        return Lesions(np.zeros(lesion_mask.shape, np.uint32), (), ())
    numbered = cc3d.connected_components(
        np.ascontiguousarray(lesion_mask), connectivity=6, out_dtype=np.uint32
    )
    ids = numbered.astype(np.uint32, copy=False)
    found = cc3d.statistics(ids)
    return Lesions(ids, tuple(found["bounding_boxes"][1:]), tuple(found["voxel_counts"][1:]))


def match_lesions(
    pred: Lesions, gt: Lesions, spacing_mm: Spacing, step_mm: NDArray[np.float64] | None = None
) -> LesionMatch:
    """Match the lesions of a prediction with those of its reference; the module says how.

    Args:
        pred: lesions of the prediction.
        gt: lesions of the reference, on the same grid.
        spacing_mm: voxel size per array axis.
        step_mm: (3, 2), the world vectors from one column and from one row to the next, if these
            are not at right angles.

    Raises:
        DatasetError: the arrays differ in shape.
    """
    check_same_shape(pred.ids, gt.ids)
    if step_mm is None:
        step_mm = in_plane(spacing_mm)
    reference, predicted = (
        tuple(longest_diameters_mm(lesions.ids, step_mm).tolist()) for lesions in (gt, pred)
    )
    return LesionMatch(_groups(pred, gt), reference, predicted)


def _groups(pred: Lesions, gt: Lesions) -> tuple[Group, ...]:
    both = np.flatnonzero(gt.ids)
    both = both[pred.ids.ravel()[both] > 0]
    ids = np.stack([gt.ids.ravel()[both], pred.ids.ravel()[both]], axis=1)
    pairs, voxels = np.unique(ids, axis=0, return_counts=True)
    shared = {(int(g), int(p)): int(n) for (g, p), n in zip(pairs, voxels, strict=True)}
    prediction_of = _largest(shared)
    first_of = {p: g for g, p in sorted(prediction_of.items(), reverse=True)}
    merged: dict[tuple[int, int], int] = defaultdict(int)
    for (g, p), n in shared.items():
        merged[p, first_of[prediction_of[g]]] += n
    reference_of = _largest(merged)
    references, predictions = _inverse(prediction_of), _inverse(reference_of)
    groups = []
    for p, first in sorted(first_of.items(), key=lambda item: item[1]):
        counts = Overlap(
            sum(merged[q, first] for q in predictions[first]),
            sum(int(pred.voxels[n - 1]) for n in predictions[first]),
            sum(int(gt.voxels[n - 1]) for n in references[p]),
        )
        groups.append(Group(tuple(references[p]), tuple(predictions[first]), counts))
    return tuple(groups)


def _largest(shared: dict[tuple[int, int], int]) -> dict[int, int]:
    """For the first number of each pair, the second with the most voxels; of equals, the lower."""
    best: dict[int, tuple[int, int]] = {}
    for (one, other), voxels in shared.items():
        best[one] = max(best.get(one, (0, 0)), (voxels, -other))
    return {one: -other for one, (_, other) in best.items()}


def _inverse(chosen: dict[int, int]) -> dict[int, list[int]]:
    """The keys of each value, in ascending order."""
    keys: dict[int, list[int]] = defaultdict(list)
    for key in sorted(chosen):
        keys[chosen[key]].append(key)
    return keys


def detection(match: LesionMatch, above_iou: float, size: str | None = None) -> Detection:
    """Count the lesions in groups above an IoU, all of them or those in one range of `SIZES`.

    For recall the size is that of the reference lesion, for precision that of the predicted one.
    """
    hits = [g for g in match.groups if g.predicted and g.overlap.iou > above_iou]
    low, high = SIZES[size] if size else (0.0, np.inf)
    reference = {n for n, mm in enumerate(match.reference_mm, 1) if low <= mm < high}
    predicted = {n for n, mm in enumerate(match.predicted_mm, 1) if low <= mm < high}
    found = reference & {number for group in hits for number in group.reference}
    correct = predicted & {number for group in hits for number in group.predicted}
    return Detection(len(found), len(reference), len(correct), len(predicted))


def lesion_dice(match: LesionMatch) -> tuple[float, ...]:
    """The Dice of each reference lesion, that of its group; 0 if no prediction belongs to it."""
    found = {
        number: group.overlap.dice
        for group in match.groups
        if group.predicted
        for number in group.reference
    }
    return tuple(found.get(number, 0.0) for number in range(1, len(match.reference_mm) + 1))


def size_of(diameter_mm: float) -> str:
    """The key of `SIZES` for a longest axial diameter.

    >>> size_of(10.0)
    '10_to_20mm'
    """
    return next(name for name, (low, high) in SIZES.items() if low <= diameter_mm < high)


def challenge_detected(match: LesionMatch, above_iou: float) -> int:
    """Detected lesions as counted by the organisers' scorer of 2017.

    It starts from the number of groups and subtracts, for each group that is not above the IoU, the
    number of reference lesions merged in it. The result counts neither predicted nor reference
    lesions and can be negative; it serves to compare with published figures.
    """
    groups = [group for group in match.groups if group.predicted]
    missed = [group for group in groups if group.overlap.iou <= above_iou]
    return len(groups) - sum(len(group.reference) for group in missed)


def in_plane(spacing_mm: Spacing) -> NDArray[np.float64]:
    """World vectors from one column and from one row to the next at right angles, (3, 2), mm."""
    _, row, column = spacing_mm
    return np.array([[column, 0.0], [0.0, row], [0.0, 0.0]])
