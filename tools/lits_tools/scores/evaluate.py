"""Scores of files: of pairs of masks, or of scans that a model segments first."""

import logging
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lits_runtime.errors import DatasetError, LitsError
from lits_runtime.labels import LIVER, lesion_mask
from lits_runtime.volumes.label_volume import LabelVolume, read_labels
from lits_tools.scores.case_scores import (
    CLASSES,
    CaseScores,
    StructureScores,
    score_case,
)
from lits_tools.scores.overlap import knows_liver
from lits_tools.scores.pairs import Pair, check_by_index, check_same_grid
from lits_tools.scores.pooling import pool
from lits_tools.scores.statistic import RESAMPLES, Estimate

if TYPE_CHECKING:
    from lits_runtime.segment.segmenter import Segmenter
    from lits_runtime.volumes.dicom.series import Series

logger = logging.getLogger(__name__)

OnScored = Callable[[Pair, LabelVolume, LabelVolume], None]
"""Takes a pair, its predicted and its reference labels while they are in memory."""


@dataclass(frozen=True)
class Evaluation:
    """The scores of a set of cases."""

    cases: tuple[CaseScores, ...]
    pooled: dict[str, Estimate]
    failed: dict[str, str] = field(default_factory=dict)
    """Why cases could not be scored, by case; the scores do not include them."""
    model_sha256: str = ""
    """Of the model that made the predictions, if any."""


def evaluate(
    pairs: Sequence[Pair],
    *,
    segmenter: "Segmenter | None" = None,
    classes: Collection[str] = CLASSES,
    ignore_affine: bool = False,
    on_scored: OnScored | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """Score pairs of files and pool the scores; a bad case is reported and does not stop the rest.

    A set of masks that shows lesions and nowhere a liver gets no liver scores in any case, also
    where a mask is empty.

    Args:
        pairs: predicted masks and references; with a `segmenter`, scans and references.
        segmenter: a model to segment the scans with.
        classes: those to score, "liver", "lesion" or both.
        ignore_affine: compare voxel by voxel, in the reference's spacing, whatever the affines.
        on_scored: called with the labels of each scored case, for example to draw them.
        resamples: number of bootstrap resamples.
        seed: of the resamples.

    Raises:
        DatasetError: no pair could be scored.
    """
    known = [name for name in classes if segmenter is None or name in segmenter.metadata.classes]
    cases: list[CaseScores] = []
    failed: dict[str, str] = {}
    sides = _Sides()
    for pair in pairs:
        try:
            pred, gt = read_pair(pair, segmenter=segmenter, ignore_affine=ignore_affine)
        except (LitsError, OSError) as error:
            failed[pair.case_id] = str(error)
            logger.error("case %s is left out: %s", pair.case_id, error)
            continue
        cases.append(_scored(pair.case_id, pred, gt, known))
        sides.add(pred, gt)
        if on_scored:
            on_scored(pair, pred, gt)
        logger.info("case %s scored", pair.case_id)
    cases = _checked(cases, failed, sides, [name for name in CLASSES if name in known])
    sha256 = segmenter.model_sha256 if segmenter else ""
    return Evaluation(tuple(cases), pool(cases, resamples=resamples, seed=seed), failed, sha256)


def _checked(
    cases: list[CaseScores], failed: dict[str, str], sides: "_Sides", classes: Sequence[str]
) -> list[CaseScores]:
    """The cases, without liver scores if the set has none; warnings about what it lacks.

    Raises:
        DatasetError: there is no case.
    """
    if not cases:
        reasons = "; ".join(f"{case}: {reason}" for case, reason in failed.items())
        raise DatasetError(f"none of {len(failed)} cases could be scored: {reasons}")
    if sides.lack_liver:
        cases = [replace(one, liver=None, burden_pred=math.nan) for one in cases]
    _warn_of_absent_structures(classes, cases)
    return cases


class _Sides:
    """What all predictions together and all references together show."""

    def __init__(self) -> None:
        self._liver, self._lesions = [False, False], [False, False]

    def add(self, *sides: LabelVolume) -> None:
        """Look at the prediction and the reference of a case."""
        for side, volume in enumerate(sides):
            self._liver[side] |= bool((volume.labels == LIVER).any())
            self._lesions[side] |= bool(lesion_mask(volume.labels).any())

    @property
    def lack_liver(self) -> bool:
        """Whether one side shows lesions in some case, and a liver in none."""
        return any(
            lesions and not liver for lesions, liver in zip(self._lesions, self._liver, strict=True)
        )


def read_pair(
    pair: Pair, *, segmenter: "Segmenter | None" = None, ignore_affine: bool = False
) -> tuple[LabelVolume, LabelVolume]:
    """Predicted and reference labels of a pair on one grid; see `evaluate`.

    Raises:
        DatasetError: the files are not on the same grid, or hold other labels than 0, 1 and 2.
        VolumeError: a file is not a readable 3D volume, or a DICOM SEG has no place on the grid.
    """
    gt = read_labels(pair.reference)
    pred = _segmented(pair.predicted, segmenter) if segmenter else read_labels(pair.predicted)
    if ignore_affine:
        check_by_index(pred, gt)
    if pred.is_part or gt.is_part:
        return _on_one_grid(pred, gt)
    if ignore_affine and pred.geometry.shape == gt.geometry.shape:
        # Voxels correspond in the files' order: both take the reference's orientation.
        stored = pred.geometry.from_canonical(pred.labels)
        return LabelVolume(gt.geometry.to_canonical(stored), gt.geometry), gt
    check_same_grid(pred.geometry, gt.geometry)
    return pred, gt


def _on_one_grid(pred: LabelVolume, gt: LabelVolume) -> tuple[LabelVolume, LabelVolume]:
    """Two masks, at least one of them a part, on the grid of the other or on one for both."""
    if not gt.is_part:
        return pred.on(gt.geometry, "reference"), gt
    if not pred.is_part:
        return pred, gt.on(pred.geometry, "prediction")
    from lits_runtime.volumes.dicom_objects.read_seg import common_grid

    both = common_grid(gt.geometry, pred.geometry, pred.name)
    return pred.on(both, "reference"), gt.on(both)


def _scored(
    case_id: str, pred: LabelVolume, gt: LabelVolume, classes: Collection[str]
) -> CaseScores:
    for side, labels in (("prediction", pred.labels), ("reference", gt.labels)):
        if "liver" in classes and not knows_liver(labels):
            logger.warning(
                "case %s: the %s has lesions (label 2) but no liver (label 1); the liver and the "
                "tumour burden are not scored",
                case_id,
                side,
            )
        elif not labels.any():
            logger.warning("case %s: the %s is empty", case_id, side)
    return score_case(
        pred.labels,
        gt.labels,
        gt.spacing_mm,
        case_id=case_id,
        voxel_ml=gt.geometry.voxel_ml,
        step_mm=gt.geometry.canonical_affine[:3, :2],
        classes=classes,
    )


def _warn_of_absent_structures(classes: Sequence[str], cases: Sequence[CaseScores]) -> None:
    """Without a warning, the Dice of 1 of empty masks would look like a perfect score."""
    for name in classes:
        scores: list[StructureScores | None] = [getattr(case, name) for case in cases]
        overlaps = [score.overlap for score in scores if score]
        if not overlaps:
            logger.warning("the %s is not scored in any case", name)
        elif not any(overlap.predicted or overlap.reference for overlap in overlaps):
            logger.warning("no mask contains any %s: its Dice of 1 is that of empty masks", name)
        elif name == "lesion" and not any(overlap.predicted for overlap in overlaps):
            logger.warning(
                "no prediction contains any lesion: score liver masks with --class liver"
            )


def _segmented(scan: "Path | Series", segmenter: "Segmenter") -> LabelVolume:
    result = segmenter.segment(scan)
    labels = result.geometry.to_canonical(result.labels)
    return LabelVolume(labels, result.geometry, result.source.name)
