"""Scoring files: pairs of masks, or scans that a model segments first."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lits_runtime.errors import DatasetError, LitsError
from lits_tools.case_scores import CaseScores, score_case
from lits_tools.pairs import LabelVolume, Pair, check_same_grid, read_labels
from lits_tools.pooling import Estimate, pool

if TYPE_CHECKING:
    from lits_runtime.segmenter import Segmenter

logger = logging.getLogger(__name__)

Look = Callable[[Pair, LabelVolume, LabelVolume], None]
"""Called with a pair, its predicted and its reference labels, while they are in memory."""


@dataclass(frozen=True)
class Evaluation:
    """The scores of a set of cases."""

    cases: tuple[CaseScores, ...]
    pooled: dict[str, Estimate]
    failed: dict[str, str] = field(default_factory=dict)
    """Reasons of the cases that could not be scored and are not in the figures."""
    model_sha256: str = ""
    """Of the model that made the predictions, where one did."""


def evaluate(
    pairs: Sequence[Pair],
    *,
    segmenter: "Segmenter | None" = None,
    ignore_affine: bool = False,
    look: Look | None = None,
) -> Evaluation:
    """Score pairs of files and pool the scores; a bad case is reported and the rest go on.

    Args:
        pairs: predicted masks and references; scans and references, if there is a `segmenter`.
        segmenter: a model to segment the scans with.
        ignore_affine: compare voxel by voxel, in the reference's spacing, whatever the affines.
        look: is shown the labels of each case that was scored, for example to draw them.

    Raises:
        DatasetError: no pair could be scored.
    """
    cases: list[CaseScores] = []
    failed: dict[str, str] = {}
    for pair in pairs:
        try:
            pred, gt = read_pair(pair, segmenter=segmenter, ignore_affine=ignore_affine)
        except (LitsError, OSError) as error:
            failed[pair.case_id] = str(error)
            logger.error("case %s is left out: %s", pair.case_id, error)
            continue
        cases.append(_scored(pair.case_id, pred, gt))
        if look:
            look(pair, pred, gt)
        logger.info("case %s scored", pair.case_id)
    if not cases:
        reasons = "; ".join(f"{case}: {reason}" for case, reason in failed.items())
        raise DatasetError(f"none of {len(pairs)} cases could be scored: {reasons}")
    sha256 = segmenter.model_sha256 if segmenter else ""
    return Evaluation(tuple(cases), pool(cases), failed, sha256)


def read_pair(
    pair: Pair, *, segmenter: "Segmenter | None" = None, ignore_affine: bool = False
) -> tuple[LabelVolume, LabelVolume]:
    """Predicted and reference labels of a pair on one grid; see `evaluate`.

    Raises:
        DatasetError: the files are not on the same grid, or hold other labels than 0, 1 and 2.
        VolumeError: a file is not a readable 3D volume.
    """
    gt = read_labels(pair.reference)
    pred = _segmented(pair.predicted, segmenter) if segmenter else read_labels(pair.predicted)
    if ignore_affine and pred.geometry.shape == gt.geometry.shape:
        # Voxel by voxel means in the order of the files: both are turned as the reference is.
        stored = pred.geometry.from_canonical(pred.labels)
        return LabelVolume(gt.geometry.to_canonical(stored), gt.geometry), gt
    check_same_grid(pred.geometry, gt.geometry)
    return pred, gt


def _scored(case_id: str, pred: LabelVolume, gt: LabelVolume) -> CaseScores:
    if (pred.labels == 2).any() and not (pred.labels == 1).any():
        logger.warning(
            "case %s: the prediction has lesions but no liver (label 1); its liver scores and "
            "tumour burden say nothing",
            case_id,
        )
    return score_case(
        pred.labels, gt.labels, gt.spacing_mm, case_id=case_id, voxel_ml=gt.geometry.voxel_ml
    )


def _segmented(scan: Path, segmenter: "Segmenter") -> LabelVolume:
    result = segmenter.segment(scan)
    return LabelVolume(result.geometry.to_canonical(result.labels), result.geometry)
