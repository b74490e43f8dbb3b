"""All scores of one case, from two label arrays."""

import math
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from lits_tools.scores.boxes import bounding_box
from lits_tools.scores.lesion_match import (
    SIZES,
    Group,
    LesionMatch,
    Lesions,
    challenge_detected,
    detection,
    label_lesions,
    match_lesions,
)
from lits_tools.scores.overlap import (
    Mask,
    Overlap,
    check_same_shape,
    knows_liver,
    overlap,
    tumour_burden,
)
from lits_tools.scores.surface import Spacing, SurfaceScores, surface_scores
from lits_tools.scores.surface_dice import surface_dice

CLASSES = ("liver", "lesion")
TOLERANCES_MM = (1.0, 3.0)
IOU_ABOVE = {"iou0": 0.0, "iou50": 0.5}
"""A lesion counts as found where its group's IoU is above this; the challenge's two thresholds."""

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class StructureScores:
    """How well one structure, the liver or all lesions together, was segmented."""

    overlap: Overlap
    surface: SurfaceScores
    surface_dice: tuple[float, ...]
    """At each of `TOLERANCES_MM`."""

    def values(self) -> dict[str, float]:
        """The scores by name."""
        surface = {f"surface_dice_{mm:g}mm": dice for mm, dice in self._dice_by_tolerance()}
        overlap = {"dice": self.overlap.dice, "voe": self.overlap.voe, "rvd": self.overlap.rvd}
        return {**overlap, **vars(self.surface), **surface}

    def _dice_by_tolerance(self) -> Iterator[tuple[float, float]]:
        return zip(TOLERANCES_MM, self.surface_dice, strict=True)


STRUCTURE_SCORES = (
    *("dice", "voe", "rvd"),
    *(score.name for score in fields(SurfaceScores)),
    *(f"surface_dice_{mm:g}mm" for mm in TOLERANCES_MM),
)
"""The names of `StructureScores.values`."""


@dataclass(frozen=True)
class CaseScores:
    """Everything that is known of one case after both its masks were read."""

    case_id: str
    voxel_ml: float
    liver: StructureScores | None
    """Of label >= 1: lesions are part of the liver. None where one of the masks knows of none: it
    has lesions, but no voxel of label 1, or comes from a model without that class."""
    lesion: StructureScores | None
    """Of label 2; None where a mask comes from a model without that class."""
    match: LesionMatch
    detected: tuple[StructureScores, ...]
    """Of each group of lesions with an IoU above 0.5."""
    burden_pred: float
    burden_gt: float

    @property
    def burden_error(self) -> float:
        """Predicted minus real tumour burden; not a number where a mask shows no liver."""
        return self.burden_pred - self.burden_gt

    def values(self) -> dict[str, float]:
        """All scores by name, as in the columns of the CSV file."""
        found: dict[str, float] = {}
        for name, scores in (("liver", self.liver), ("lesion", self.lesion)):
            values = structure_values(scores)
            found |= {f"{name}_{key}": value for key, value in values.items()}
            predicted, reference = math.nan, math.nan
            if scores:
                predicted, reference = scores.overlap.predicted, scores.overlap.reference
            found[f"{name}_volume_pred_ml"] = predicted * self.voxel_ml
            found[f"{name}_volume_gt_ml"] = reference * self.voxel_ml
        found["lesion_count_pred"] = len(self.match.predicted_mm) if self.lesion else math.nan
        found["lesion_count_gt"] = len(self.match.reference_mm) if self.lesion else math.nan
        for suffix, above in IOU_ABOVE.items():
            for size in (None, *SIZES):
                counts = detection(self.match, above, size)
                name = f"{suffix}_{size}" if size else suffix
                found[f"lesion_precision_{name}"] = counts.precision
                found[f"lesion_recall_{name}"] = counts.recall
                found[f"lesion_f1_{name}"] = counts.f1
        for suffix, above in IOU_ABOVE.items():
            number = challenge_detected(self.match, above)
            found[f"challenge_precision_{suffix}"] = _share(number, len(self.match.predicted_mm))
            found[f"challenge_recall_{suffix}"] = _share(number, len(self.match.reference_mm))
        found["burden_pred"], found["burden_gt"] = self.burden_pred, self.burden_gt
        found["burden_error"] = self.burden_error
        return found


def structure_values(scores: StructureScores | None) -> dict[str, float]:
    """The scores of a structure by name; not a number where it was not scored."""
    return dict.fromkeys(STRUCTURE_SCORES, math.nan) if scores is None else scores.values()


def score_case(
    labels_pred: Labels,
    labels_gt: Labels,
    spacing_mm: Spacing,
    *,
    case_id: str = "",
    voxel_ml: float | None = None,
    step_mm: NDArray[np.float64] | None = None,
    classes: Collection[str] = CLASSES,
) -> CaseScores:
    """Score a predicted label map against its reference.

    Args:
        labels_pred: uint8 (slices, height, width): 0 background, 1 liver, 2 lesion.
        labels_gt: of the same shape.
        spacing_mm: voxel size per array axis.
        case_id: name for reports.
        voxel_ml: volume of a voxel; None: the product of `spacing_mm`.
        step_mm: (3, 2), the world vectors from one column and one row to the next, where these are
            not at right angles.
        classes: "liver", "lesion" or both: what the prediction tells of. Others are not scored,
            and neither is the liver where a mask holds lesions alone.

    Raises:
        DatasetError: the shapes differ.
    """
    check_same_shape(labels_pred, labels_gt)
    box = bounding_box(labels_pred, labels_gt)
    pred, gt = labels_pred[box], labels_gt[box]
    scored = [name for name in CLASSES if name in classes]
    if "liver" in scored and not (knows_liver(pred) and knows_liver(gt)):
        scored.remove("liver")
    lesion_box = bounding_box(pred == 2, gt == 2) if "lesion" in scored else (slice(0),) * 3
    lesions_pred, lesions_gt = (label_lesions(part[lesion_box] == 2) for part in (pred, gt))
    match = match_lesions(lesions_pred, lesions_gt, spacing_mm, step_mm)
    with ThreadPoolExecutor(2) as threads:  # numpy and scipy let go of the interpreter's lock
        masks = {"liver": (pred > 0, gt > 0), "lesion": (pred == 2, gt == 2)}
        under_way = {
            name: threads.submit(score_structure, *masks[name], spacing_mm) for name in scored
        }
    return CaseScores(
        case_id=case_id,
        voxel_ml=float(np.prod(spacing_mm)) / 1000 if voxel_ml is None else voxel_ml,
        liver=under_way["liver"].result() if "liver" in scored else None,
        lesion=under_way["lesion"].result() if "lesion" in scored else None,
        match=match,
        detected=tuple(
            _score_group(group, lesions_pred, lesions_gt, spacing_mm)
            for group in match.groups
            if group.predicted and group.overlap.iou > IOU_ABOVE["iou50"]
        ),
        burden_pred=tumour_burden(pred) if set(CLASSES) <= set(classes) else math.nan,
        burden_gt=tumour_burden(gt),
    )


def score_structure(mask_pred: Mask, mask_gt: Mask, spacing_mm: Spacing) -> StructureScores:
    """Overlap and surface scores of two masks (slices, height, width)."""
    box = bounding_box(mask_pred, mask_gt)
    pred, gt = mask_pred[box], mask_gt[box]
    return StructureScores(
        overlap(pred, gt),
        surface_scores(pred, gt, spacing_mm),
        surface_dice(pred, gt, spacing_mm, TOLERANCES_MM),
    )


def _score_group(group: Group, pred: Lesions, gt: Lesions, spacing_mm: Spacing) -> StructureScores:
    boxes = [pred.boxes[n - 1] for n in group.predicted] + [
        gt.boxes[n - 1] for n in group.reference
    ]
    around = tuple(
        slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes))
        for axis in range(3)
    )
    return score_structure(
        np.isin(pred.ids[around], group.predicted),
        np.isin(gt.ids[around], group.reference),
        spacing_mm,
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
