"""Scores as formulas of sums over cases, so that they can be resampled quickly.

One rule for infinite values, which distances have where one of two masks is empty: such cases are
left out of means, differences and tests, and their number is given.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lits_tools.scores.overlap import Overlap

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]

RESAMPLES = 10_000
CONFIDENCE = 0.95
INFINITE_RULE = (
    "A distance is infinite where one of two masks is empty, and undefined where both are. Such "
    "cases are left out of means, differences and tests; infinite ones are counted."
)


@dataclass(frozen=True)
class Estimate:
    """A pooled score, over the cases in which it is defined and finite."""

    value: float
    """NaN if there is no such case."""
    low: float
    """Lower end of the 95 % interval; NaN with fewer than two cases."""
    high: float
    """Upper end of the 95 % interval; NaN with fewer than two cases."""
    cases: int
    """Cases in which the score is defined, infinite or not."""
    infinite: int
    """Cases among them with an infinite value, which are left out."""


@dataclass(frozen=True)
class Statistic:
    """A score that is computed from sums over cases."""

    columns: Values
    """(cases, terms): the terms that are summed; zeros in cases that are left out."""
    formula: Callable[[Values], Values]
    """From sums (..., terms) to values (...)."""
    defined: Mask
    """(cases,)."""
    infinite: Mask
    """(cases,)."""
    counts: bool = False
    """Whether counts are summed, also over cases in which their ratio is undefined."""

    def resampled(self, weights: Values) -> Values:
        """The score of each resample; `weights` (resamples, cases) are counts of the cases."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.formula(weights @ self.columns)

    @property
    def value(self) -> float:
        """The score over all its cases."""
        return float(self.resampled(np.ones((1, len(self.columns))))[0])

    def estimate(self, weights: Values) -> Estimate:
        """The score with its interval."""
        used = int(self.defined.sum()) - int(self.infinite.sum())
        low, high = interval(self.resampled(weights)) if used > 1 else (math.nan, math.nan)
        cases, infinite = int(self.defined.sum()), int(self.infinite.sum())
        return Estimate(self.value, low, high, cases, infinite)


def case_weights(cases: int, resamples: int, seed: int) -> Values:
    """How often each case occurs in each resample, drawn with replacement; (resamples, cases)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(cases, [1 / cases] * cases, size=resamples).astype(float)


def interval(values: Values) -> tuple[float, float]:
    """The percentile interval of resampled values; NaN if none is defined."""
    values = values[~np.isnan(values)]
    if not len(values):
        return math.nan, math.nan
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail], method="nearest").tolist()
    return low, high


def over_the_same_cases(statistics: Sequence[Statistic]) -> list[Statistic]:
    """One score of several predictions, over the cases in which it is finite for all of them."""
    infinite = np.any([one.infinite for one in statistics], axis=0)
    left_out = infinite.copy()
    if not statistics[0].counts:
        left_out |= ~np.all([one.defined for one in statistics], axis=0)
    defined = np.all([one.defined for one in statistics], axis=0) | infinite
    return [
        replace(
            one,
            columns=np.where(left_out[:, None], 0, one.columns),
            defined=defined,
            infinite=infinite,
        )
        for one in statistics
    ]


def mean(values: Values) -> Statistic:
    """The mean of one value per case; NaN where it is undefined."""
    defined, infinite = ~np.isnan(values), np.isinf(values)
    finite = np.isfinite(values)
    columns = np.column_stack([np.where(finite, values, 0), finite])
    return Statistic(columns.astype(float), _quotient, defined, infinite)


def ratio(columns: NDArray[Any]) -> Statistic:
    """A ratio of two counts, each summed over all cases; (cases, 2)."""
    return _of_counts(columns, _quotient, columns[:, 1] > 0, counts=True)


def f1(columns: NDArray[Any]) -> Statistic:
    """F1 from found and all reference lesions, correct and all predicted lesions; (cases, 4)."""
    return _of_counts(columns, _f1, (columns[:, 1] + columns[:, 3]) > 0, counts=True)


def global_dice(overlaps: Sequence[Overlap | None]) -> Statistic:
    """The Dice of all scored cases taken as one volume; 1 if all their masks are empty."""
    columns = np.array(
        [(2 * o.intersection, o.predicted + o.reference, 1) if o else (0, 0, 0) for o in overlaps]
    )
    return _of_counts(columns, _global_dice, columns[:, 2] > 0)


def _of_counts(
    columns: NDArray[Any],
    formula: Callable[[Values], Values],
    defined: Mask,
    counts: bool = False,
) -> Statistic:
    return Statistic(columns.astype(float), formula, defined, np.zeros_like(defined), counts)


def _quotient(sums: Values) -> Values:
    quotient: Values = np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], math.nan)
    return quotient


def _global_dice(sums: Values) -> Values:
    empty = np.where(sums[..., 2] > 0, 1.0, math.nan)
    dice: Values = np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], empty)
    return dice


def _f1(sums: Values) -> Values:
    found, reference, correct, predicted = np.moveaxis(sums, -1, 0)
    precision, recall = correct / predicted, found / reference
    both = np.where(precision + recall > 0, 2 * precision * recall / (precision + recall), 0)
    one_sided = np.where((reference > 0) | (predicted > 0), 0.0, np.nan)
    result: Values = np.where((reference > 0) & (predicted > 0), both, one_sided)
    return result
