"""Scores pooled over cases, with bootstrap confidence intervals."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from lits_tools.scores.case_scores import (
    IOU_ABOVE,
    STRUCTURE_SCORES,
    CaseScores,
    StructureScores,
    score_case,
    structure_values,
)
from lits_tools.scores.lesion_match import SIZES, challenge_detected, detection
from lits_tools.scores.statistic import (
    RESAMPLES,
    Estimate,
    Statistic,
    case_weights,
    f1,
    global_dice,
    mean,
    ratio,
)


def pool(
    cases: Sequence[CaseScores], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """Pool the scores of one or more cases.

    Scores of a structure are means over the cases in which they are defined and finite. "Global"
    Dice, precision and recall are computed from counts summed over all cases; `detected_` scores
    are means over all detected lesions. Intervals are percentiles of the score over resamples of
    the cases, drawn with replacement.
    """
    weights = case_weights(len(cases), resamples, seed)
    pooled = {name: one.estimate(weights) for name, one in statistics(cases).items()}
    errors = np.abs([case.burden_error for case in cases])
    defined = errors[~np.isnan(errors)]
    largest = float(defined.max()) if len(defined) else math.nan
    # The maximum of a resample never exceeds that of the sample: an interval would mislead.
    pooled["burden_max_error"] = Estimate(largest, math.nan, math.nan, len(defined), 0)
    return pooled


def known_scores() -> list[str]:
    """Names of all pooled scores."""
    nothing = np.zeros((1, 1, 1), np.uint8)
    return list(pool([score_case(nothing, nothing, (1.0, 1.0, 1.0))], resamples=1))


def statistics(cases: Sequence[CaseScores]) -> dict[str, Statistic]:
    """The pooled scores as statistics of the cases, by name."""
    return dict(_statistics(cases))


def _statistics(cases: Sequence[CaseScores]) -> Iterator[tuple[str, Statistic]]:
    for name in ("liver", "lesion"):
        scores: list[StructureScores | None] = [getattr(case, name) for case in cases]
        yield f"{name}_dice_global", global_dice([s.overlap if s else None for s in scores])
        values = [structure_values(s) for s in scores]
        for key in values[0]:
            yield f"{name}_{key}", mean(np.array([v[key] for v in values]))
    yield from _detection_statistics(cases)
    errors = np.array([case.burden_error for case in cases])
    yield "burden_error", mean(errors)
    squares = mean(np.square(errors))
    yield "burden_rmse", replace(squares, formula=lambda sums: np.sqrt(squares.formula(sums)))


def _detection_statistics(cases: Sequence[CaseScores]) -> Iterator[tuple[str, Statistic]]:
    for suffix, above in IOU_ABOVE.items():
        for size in (None, *SIZES):
            found = [detection(case.match, above, size) for case in cases]
            counts = np.array([[d.found, d.reference, d.correct, d.predicted] for d in found])
            name = f"{suffix}_{size}" if size else suffix
            yield f"lesion_precision_{name}", ratio(counts[:, 2:])
            yield f"lesion_recall_{name}", ratio(counts[:, :2])
            yield f"lesion_f1_{name}", f1(counts)
    for suffix, above in IOU_ABOVE.items():
        number = [challenge_detected(case.match, above) for case in cases]
        for key, side in (("precision", "predicted_mm"), ("recall", "reference_mm")):
            of = [len(getattr(case.match, side)) for case in cases]
            yield f"challenge_{key}_{suffix}", ratio(np.column_stack([number, of]))
    lesions = [[d.values() for d in case.detected] for case in cases]
    for key in STRUCTURE_SCORES:
        sums = np.array([[sum(d[key] for d in case), len(case)] for case in lesions], float)
        yield f"detected_{key}", ratio(sums)
