"""Scores pooled over cases, with bootstrap confidence intervals."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lits_tools.scores.case_scores import (
    IOU_ABOVE,
    STRUCTURE_SCORES,
    CaseScores,
    StructureScores,
    score_case,
    structure_values,
)
from lits_tools.scores.lesion_match import SIZES, challenge_detected, detection
from lits_tools.scores.overlap import Overlap

Values = NDArray[np.float64]

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A pooled score."""

    value: float
    """Infinite if a case has an infinite distance because its mask misses the structure."""
    low: float
    """Lower end of the 95 % interval; NaN with fewer than two cases."""
    high: float
    """Upper end of the 95 % interval; NaN with fewer than two cases."""
    cases: int
    """Cases in which the score is defined."""
    infinite: int
    """Cases among them with an infinite value."""
    finite_value: float
    """The score pooled over the other, finite cases."""


@dataclass(frozen=True)
class _Statistic:
    """A score that is computed from sums over cases, so that resampling is fast."""

    columns: Values
    """(cases, terms): the terms that are summed."""
    formula: Callable[[Values], Values]
    """From sums (..., terms) to values (...)."""
    defined: NDArray[np.bool_]
    """(cases,)."""
    infinite: NDArray[np.bool_] | None = None
    """(cases,)."""


def pool(
    cases: Sequence[CaseScores], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """Pool the scores of one or more cases.

    Scores of a structure are means over the cases in which they are defined. "Global" Dice,
    precision and recall are computed from counts summed over all cases; `detected_` scores are
    means over all detected lesions. Intervals are percentiles of the score over resamples of the
    cases, drawn with replacement.
    """
    rng = np.random.default_rng(seed)
    number = len(cases)
    weights = rng.multinomial(number, [1 / number] * number, size=resamples).astype(float)
    pooled = {name: _estimate(statistic, weights) for name, statistic in _statistics(cases)}
    errors = np.abs([case.burden_error for case in cases])
    defined = errors[~np.isnan(errors)]
    largest = float(defined.max()) if len(defined) else math.nan
    # The maximum of a resample never exceeds that of the sample: an interval would mislead.
    pooled["burden_max_error"] = Estimate(largest, math.nan, math.nan, len(defined), 0, largest)
    return pooled


def known_scores() -> list[str]:
    """Names of all pooled scores."""
    nothing = np.zeros((1, 1, 1), np.uint8)
    return list(pool([score_case(nothing, nothing, (1.0, 1.0, 1.0))], resamples=1))


def _estimate(statistic: _Statistic, weights: Values) -> Estimate:
    infinite = (
        np.zeros_like(statistic.defined) if statistic.infinite is None else statistic.infinite
    )
    cases = int(statistic.defined.sum())
    low = high = math.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(statistic.formula(statistic.columns.sum(axis=0)))
        finite_value = float(statistic.formula(statistic.columns[~infinite].sum(axis=0)))
        drawn = statistic.formula(weights @ statistic.columns)
    drawn = drawn[~np.isnan(drawn)]
    if cases > 1 and len(drawn):
        tail = (1 - CONFIDENCE) / 2
        # There is no interpolation between a finite and an infinite value.
        low, high = np.quantile(drawn, [tail, 1 - tail], method="nearest").tolist()
    return Estimate(value, low, high, cases, int(infinite.sum()), finite_value)


def _statistics(cases: Sequence[CaseScores]) -> Iterator[tuple[str, _Statistic]]:
    for name in ("liver", "lesion"):
        scores: list[StructureScores | None] = [getattr(case, name) for case in cases]
        yield f"{name}_dice_global", _global_dice([s.overlap if s else None for s in scores])
        values = [structure_values(s) for s in scores]
        for key in values[0]:
            yield f"{name}_{key}", _mean(np.array([v[key] for v in values]))
    yield from _detection_statistics(cases)
    errors = np.array([case.burden_error for case in cases])
    yield "burden_error", _mean(errors)
    squares = _mean(np.square(errors))
    yield (
        "burden_rmse",
        _Statistic(squares.columns, lambda sums: np.sqrt(squares.formula(sums)), squares.defined),
    )


def _detection_statistics(cases: Sequence[CaseScores]) -> Iterator[tuple[str, _Statistic]]:
    for suffix, above in IOU_ABOVE.items():
        for size in (None, *SIZES):
            found = [detection(case.match, above, size) for case in cases]
            counts = np.array(
                [[d.found, d.reference, d.correct, d.predicted] for d in found], float
            )
            name = f"{suffix}_{size}" if size else suffix
            yield f"lesion_precision_{name}", _ratio(counts[:, 2:])
            yield f"lesion_recall_{name}", _ratio(counts[:, :2])
            yield f"lesion_f1_{name}", _Statistic(counts, _f1, (counts[:, 1] + counts[:, 3]) > 0)
    for suffix, above in IOU_ABOVE.items():
        number = [challenge_detected(case.match, above) for case in cases]
        for key, side in (("precision", "predicted_mm"), ("recall", "reference_mm")):
            of = [len(getattr(case.match, side)) for case in cases]
            yield f"challenge_{key}_{suffix}", _ratio(np.column_stack([number, of]))
    lesions = [[d.values() for d in case.detected] for case in cases]
    for key in STRUCTURE_SCORES:
        sums = np.array([[sum(d[key] for d in case), len(case)] for case in lesions], float)
        yield f"detected_{key}", _ratio(sums)


def _mean(values: Values) -> _Statistic:
    defined, infinite = ~np.isnan(values), np.isinf(values)
    columns = np.column_stack([np.where(np.isfinite(values), values, 0), defined, infinite])

    def formula(sums: Values) -> Values:
        mean: Values = np.where(sums[..., 2] > 0, np.inf, sums[..., 0] / sums[..., 1])
        return mean

    return _Statistic(columns.astype(float), formula, defined, infinite)


def _ratio(columns: NDArray[Any]) -> _Statistic:
    def formula(sums: Values) -> Values:
        ratio: Values = np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], math.nan)
        return ratio

    return _Statistic(columns.astype(float), formula, columns[:, 1] > 0)


def _global_dice(overlaps: Sequence[Overlap | None]) -> _Statistic:
    """Of all scored cases taken as one volume; 1 if all their masks are empty."""
    counts = [
        (2 * o.intersection, o.predicted + o.reference, 1) if o else (0, 0, 0) for o in overlaps
    ]

    def formula(sums: Values) -> Values:
        empty = np.where(sums[..., 2] > 0, 1.0, math.nan)
        dice: Values = np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], empty)
        return dice

    columns = np.array(counts, float)
    return _Statistic(columns, formula, columns[:, 2] > 0)


def _f1(sums: Values) -> Values:
    found, reference, correct, predicted = np.moveaxis(sums, -1, 0)
    precision, recall = correct / predicted, found / reference
    f1 = np.where(precision + recall > 0, 2 * precision * recall / (precision + recall), 0)
    one_sided = np.where((reference > 0) | (predicted > 0), 0.0, np.nan)
    result: Values = np.where((reference > 0) & (predicted > 0), f1, one_sided)
    return result
