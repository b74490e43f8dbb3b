"""All scores of one case, from two label arrays."""

import math
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from lits_runtime.labels import MASKS, lesion_mask
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
    cropped,
    knows_liver,
    overlap,
    tumour_burden,
)
from lits_tools.scores.surface import Spacing, SurfaceScores, surface_scores
from lits_tools.scores.surface_dice import surface_dice

CLASSES = tuple(MASKS)
TOLERANCES_MM = (1.0, 3.0)
IOU_ABOVE = {"iou0": 0.0, "iou50": 0.5}
"""The challenge's two thresholds: a lesion is detected if the IoU of its group is above one."""

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class StructureScores:
    """How well one structure was segmented: the liver, or all lesions together."""

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
    """All scores of one case."""

    case_id: str
    voxel_ml: float
    liver: StructureScores | None
    """Of labels 1 and 2: lesions are part of the liver. None if a mask has lesions but no voxel of
    label 1, or comes from a model without a liver channel."""
    lesion: StructureScores | None
    """Of label 2; None if the prediction comes from a model without a lesion channel."""
    match: LesionMatch
    detected: tuple[StructureScores, ...]
    """Of each group of lesions with an IoU above 0.5."""
    burden_pred: float
    burden_gt: float

    @property
    def burden_error(self) -> float:
        """Predicted minus reference tumour burden; NaN if a mask shows no liver."""
        return self.burden_pred - self.burden_gt

    def values(self) -> dict[str, float]:
        """All scores by name: the columns of the CSV file."""
        return {
            **self._structure_values("liver", self.liver),
            **self._structure_values("lesion", self.lesion),
            "lesion_count_pred": len(self.match.predicted_mm) if self.lesion else math.nan,
            "lesion_count_gt": len(self.match.reference_mm) if self.lesion else math.nan,
            **self._detection_values(),
            "burden_pred": self.burden_pred,
            "burden_gt": self.burden_gt,
            "burden_error": self.burden_error,
        }

    def _structure_values(self, name: str, scores: StructureScores | None) -> dict[str, float]:
        values = {f"{name}_{key}": value for key, value in structure_values(scores).items()}
        for suffix, side in (("pred", "predicted"), ("gt", "reference")):
            voxels = getattr(scores.overlap, side) if scores else math.nan
            values[f"{name}_volume_{suffix}_ml"] = voxels * self.voxel_ml
        return values

    def _detection_values(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for suffix, above in IOU_ABOVE.items():
            for size in (None, *SIZES):
                counts = detection(self.match, above, size)
                name = f"{suffix}_{size}" if size else suffix
                values[f"lesion_precision_{name}"] = counts.precision
                values[f"lesion_recall_{name}"] = counts.recall
                values[f"lesion_f1_{name}"] = counts.f1
        for suffix, above in IOU_ABOVE.items():
            number = challenge_detected(self.match, above)
            values[f"challenge_precision_{suffix}"] = _share(number, len(self.match.predicted_mm))
            values[f"challenge_recall_{suffix}"] = _share(number, len(self.match.reference_mm))
        return values


def structure_values(scores: StructureScores | None) -> dict[str, float]:
    """The scores of a structure by name; NaN if it was not scored."""
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
        step_mm: (3, 2), the world vectors from one column and from one row to the next, if these
            are not at right angles.
        classes: "liver", "lesion" or both: the classes of the model that made the prediction.
            Others are not scored; neither is the liver if a mask holds nothing but lesions.

    Raises:
        DatasetError: the shapes differ.
    """
    pred, gt = cropped(labels_pred, labels_gt)
    structures = _score_structures(pred, gt, spacing_mm, classes)
    lesions = _lesions(pred, gt) if "lesion" in classes else _lesions(pred[:0], gt[:0])
    match = match_lesions(*lesions, spacing_mm, step_mm)
    return CaseScores(
        case_id=case_id,
        voxel_ml=float(np.prod(spacing_mm)) / 1000 if voxel_ml is None else voxel_ml,
        liver=structures.get("liver"),
        lesion=structures.get("lesion"),
        match=match,
        detected=tuple(_score_detected(match, *lesions, spacing_mm)),
        burden_pred=tumour_burden(pred) if set(CLASSES) <= set(classes) else math.nan,
        burden_gt=tumour_burden(gt),
    )


def _score_structures(
    pred: Labels, gt: Labels, spacing_mm: Spacing, classes: Collection[str]
) -> dict[str, StructureScores]:
    """The scores of those classes that both masks outline."""
    names = [name for name in CLASSES if name in classes]
    if "liver" in names and not (knows_liver(pred) and knows_liver(gt)):
        names.remove("liver")
    with ThreadPoolExecutor(2) as threads:  # numpy and scipy release the GIL
        futures = {
            name: threads.submit(score_structure, MASKS[name](pred), MASKS[name](gt), spacing_mm)
            for name in names
        }
    return {name: future.result() for name, future in futures.items()}


def _lesions(pred: Labels, gt: Labels) -> tuple[Lesions, Lesions]:
    """The numbered lesions of both, cut to one box around all of them."""
    mask_pred, mask_gt = cropped(lesion_mask(pred), lesion_mask(gt))
    return label_lesions(mask_pred), label_lesions(mask_gt)


def score_structure(mask_pred: Mask, mask_gt: Mask, spacing_mm: Spacing) -> StructureScores:
    """Overlap and surface scores of two masks (slices, height, width)."""
    pred, gt = cropped(mask_pred, mask_gt)
    return StructureScores(
        overlap(pred, gt),
        surface_scores(pred, gt, spacing_mm),
        surface_dice(pred, gt, spacing_mm, TOLERANCES_MM),
    )


def _score_detected(
    match: LesionMatch, pred: Lesions, gt: Lesions, spacing_mm: Spacing
) -> Iterator[StructureScores]:
    for group in match.groups:
        if group.predicted and group.overlap.iou > IOU_ABOVE["iou50"]:
            yield _score_group(group, pred, gt, spacing_mm)


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
