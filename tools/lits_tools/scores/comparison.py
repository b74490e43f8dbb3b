"""Two or more predictions of the same cases: paired differences, with intervals and tests."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lits_runtime.errors import DatasetError
from lits_tools.scores.case_scores import CaseScores
from lits_tools.scores.evaluate import Evaluation
from lits_tools.scores.lesion_match import SIZES, lesion_dice, size_of
from lits_tools.scores.pooling import pool, statistics
from lits_tools.scores.statistic import (
    RESAMPLES,
    Estimate,
    Statistic,
    Values,
    case_weights,
    interval,
    over_the_same_cases,
    ratio,
)

STRUCTURE_KEYS = ("dice", "dice_global", "voe", "assd_mm", "hd95_mm", "surface_dice_1mm")
COMPARED = (
    *(f"{name}_{key}" for name in ("liver", "lesion") for key in STRUCTURE_KEYS),
    *(f"lesion_{kind}_{iou}" for iou in ("iou0", "iou50") for kind in ("precision", "recall")),
    *(f"lesion_recall_{iou}_{size}" for size in SIZES for iou in ("iou0", "iou50")),
)
"""Pooled scores in which predictions are compared."""
FOUND_DICE = "lesion_found_dice"
"""Mean Dice of the reference lesions that every prediction found, each with its group; the name is
followed by `_` and a key of `SIZES` for those of one size."""


@dataclass(frozen=True)
class Difference:
    """A prediction's score minus that of the first prediction."""

    value: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    p_value: float
    """Of the two-sided Wilcoxon signed-rank test over cases; NaN without a difference, or where a
    score has no value per case."""
    pairs: int
    """Cases in that test."""


@dataclass(frozen=True)
class PairedScore:
    """One score of all predictions, over the same cases."""

    estimates: tuple[Estimate, ...]
    """By prediction; `infinite` counts the cases that are left out for all."""
    differences: tuple[Difference, ...]
    """Of each prediction but the first, minus the first."""


@dataclass(frozen=True)
class ComparedLesion:
    """A reference lesion, and how each prediction found it."""

    case_id: str
    number: int
    """From 1, in the order of the voxels."""
    diameter_mm: float
    """Longest axial diameter."""
    dice: tuple[float, ...]
    """By prediction, of the group that the lesion is in; 0 if it was missed."""


@dataclass(frozen=True)
class Comparison:
    """Predictions compared on the cases that were scored for all of them."""

    names: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    """Of the common cases, in the order of `names`."""
    scores: dict[str, PairedScore]
    lesions: tuple[ComparedLesion, ...]
    resamples: int
    seed: int
    failed: dict[str, str]
    """Why cases are left out for all predictions, by case."""

    @property
    def case_ids(self) -> tuple[str, ...]:
        """The compared cases."""
        return tuple(case.case_id for case in self.evaluations[0].cases)


def compare(
    names: Sequence[str],
    evaluations: Sequence[Evaluation],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare predictions pairwise with the first.

    Intervals are percentiles of the difference over resamples of the cases, the same for all
    predictions. Cases are the units of both intervals and tests, because the lesions of a patient
    are not independent.

    Raises:
        DatasetError: no case was scored for all predictions.
    """
    failed = {
        case: f"{name}: {reason}"
        for name, evaluation in zip(names, evaluations, strict=True)
        for case, reason in evaluation.failed.items()
    }
    common = [
        replace(e, cases=tuple(c for c in e.cases if c.case_id not in failed)) for e in evaluations
    ]
    if not common[0].cases:
        raise DatasetError(
            f"no case could be scored for all of {', '.join(names)}: see the errors above"
        )
    common = [
        replace(one, pooled=pool(one.cases, resamples=resamples, seed=seed)) for one in common
    ]
    lesions = tuple(_lesions([one.cases for one in common]))
    weights = case_weights(len(common[0].cases), resamples, seed)
    scores = dict(_scores([one.cases for one in common], lesions, weights))
    return Comparison(tuple(names), tuple(common), scores, lesions, resamples, seed, failed)


def _lesions(predictions: Sequence[Sequence[CaseScores]]) -> Iterator[ComparedLesion]:
    for cases in zip(*predictions, strict=True):
        if any(case.lesion is None for case in cases):
            continue
        dice = zip(*(lesion_dice(case.match) for case in cases), strict=True)
        sizes = cases[0].match.reference_mm
        for number, (diameter_mm, found) in enumerate(zip(sizes, dice, strict=True), 1):
            yield ComparedLesion(cases[0].case_id, number, diameter_mm, found)


def _scores(
    predictions: Sequence[Sequence[CaseScores]],
    lesions: Sequence[ComparedLesion],
    weights: Values,
) -> Iterator[tuple[str, PairedScore]]:
    pooled = [statistics(cases) for cases in predictions]
    for name in COMPARED:
        values = [[case.values().get(name, math.nan) for case in cases] for cases in predictions]
        statistics_of = [one[name] for one in pooled]
        yield name, _paired(statistics_of, np.array(values, float), weights)
    case_ids = [case.case_id for case in predictions[0]]
    for size in (None, *SIZES):
        columns = _found_dice(lesions, case_ids, len(predictions), size)
        with np.errstate(invalid="ignore"):
            means = columns[..., 0] / columns[..., 1]
        name = f"{FOUND_DICE}_{size}" if size else FOUND_DICE
        yield name, _paired([ratio(one) for one in columns], means, weights)


def _found_dice(
    lesions: Sequence[ComparedLesion], case_ids: Sequence[str], predictions: int, size: str | None
) -> Values:
    """Sum of Dice and number of the lesions that all found, (predictions, cases, 2)."""
    columns = np.zeros((predictions, len(case_ids), 2))
    rows = {case: row for row, case in enumerate(case_ids)}
    for lesion in lesions:
        if min(lesion.dice) > 0 and size in (None, size_of(lesion.diameter_mm)):
            columns[:, rows[lesion.case_id], 0] += lesion.dice
            columns[:, rows[lesion.case_id], 1] += 1
    return columns


def _paired(statistics_of: Sequence[Statistic], values: Values, weights: Values) -> PairedScore:
    """One score of all predictions; `values` (predictions, cases) are those of single cases."""
    same = over_the_same_cases(statistics_of)
    first, drawn = same[0], same[0].resampled(weights)
    usable = np.isfinite(values).all(axis=0)
    differences = []
    for other, of_cases in zip(same[1:], values[1:], strict=True):
        several = int(first.defined.sum()) - int(first.infinite.sum()) > 1
        low, high = interval(other.resampled(weights) - drawn) if several else (math.nan, math.nan)
        change = of_cases[usable] - values[0][usable]
        differences.append(
            Difference(other.value - first.value, low, high, wilcoxon(change), len(change))
        )
    return PairedScore(tuple(one.estimate(weights) for one in same), tuple(differences))


def wilcoxon(differences: Values) -> float:
    """Two-sided p of the signed-rank test; zeros are dropped, and NaN is returned if all are.

    Exact up to 50 differences without ties, otherwise by the normal approximation.

    >>> wilcoxon(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    0.0625
    """
    from scipy import stats

    # Differences that are equal but for rounding are ties.
    moved = np.round(differences, 12)
    moved = moved[moved != 0]
    return float(stats.wilcoxon(moved).pvalue) if len(moved) else math.nan
