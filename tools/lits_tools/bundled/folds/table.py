"""Scores of cross-validations as tables in Markdown, with intervals over patients."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lits_tools.scores.statistic import (
    RESAMPLES,
    Estimate,
    Statistic,
    Values,
    case_weights,
    mean,
    ratio,
)
from lits_train.settings.inference import Inference
from lits_train.validation.case_scores import CaseScores
from lits_train.validation.lesions_found import added_up
from lits_train.validation.tables import SIZE_NAMES, size_rows

Score = Callable[[Sequence[CaseScores], int], Statistic]
"""A score of cases under a setting of inference."""


@dataclass(frozen=True)
class Judged:
    """The left-out cases of all folds of one recipe, or of one model."""

    name: str
    cases: tuple[CaseScores, ...]
    candidate: int
    """The setting of inference that is shown."""
    inference: Inference
    gmac: float | None = None
    interpolated: tuple[CaseScores, ...] = ()
    """Cases without interpolation and with each of its distances."""


def lesion_recall(cases: Sequence[CaseScores], candidate: int) -> Statistic:
    """Found lesions over all lesions of the cases."""
    known = [case.counts[candidate].recall if "lesion" in case.classes else () for case in cases]
    counts = [np.sum(added_up([one]), axis=0) if one else (0, 0) for one in known]
    return ratio(np.array(counts, int).reshape(-1, 2))


def _values(values: Iterable[float | None]) -> Values:
    return np.array([math.nan if value is None else value for value in values], float)


SCORES: Mapping[str, Score] = {
    "liver Dice": lambda cases, k: mean(_values(case.dice(k)["liver"] for case in cases)),
    "lesion Dice": lambda cases, k: mean(_values(case.dice(k)["lesion"] for case in cases)),
    "lesion recall": lesion_recall,
    "false ml": lambda cases, k: mean(_values(case.false_ml(k) for case in cases)),
}
"""Dice as a mean over cases; false ml as a mean over those that are known to have no lesion."""

_PAIRED = ("liver", "lesion")


def estimate(
    score: Statistic, cases: Sequence[CaseScores], patients: Mapping[str, str]
) -> Estimate:
    """A score of cases with its interval over patients, all scans of one being drawn together.

    Args:
        score: of the cases.
        cases: in their order.
        patients: by case ID; a case that is not listed is a patient of its own.
    """
    names = [patients.get(case.case_id, case.case_id) for case in cases]
    _, patient = np.unique(names, return_inverse=True)
    groups = np.eye(max(patient, default=-1) + 1)[:, patient]
    grouped = replace(
        score,
        columns=groups @ score.columns,
        defined=groups @ score.defined > 0,
        infinite=groups @ score.infinite > 0,
    )
    return grouped.estimate(case_weights(len(groups), RESAMPLES, seed=0))


def summary(judged: Sequence[Judged], patients: Mapping[str, str]) -> str:
    """A line for each: mean, spread over the cases, and interval over the patients."""
    rows = [["", *SCORES, *(f"found, {size} ml" for size in SIZE_NAMES), "GMAC", "cases"]]
    for one in judged:
        cells = [_cell(one, score, patients) for score in SCORES.values()]
        found = size_rows(one.cases, one.candidate)[1][1:]
        cost = "-" if one.gmac is None else f"{one.gmac:.2f}"
        rows.append([one.name, *cells, *found, cost, str(len(one.cases))])
    return markdown(rows)


def _cell(one: Judged, score: Score, patients: Mapping[str, str]) -> str:
    pooled = score(one.cases, one.candidate)
    if not pooled.defined.any():
        return "-"
    spread = np.nanstd(pooled.resampled(np.eye(len(one.cases))))
    given = estimate(pooled, one.cases, patients)
    text = f"{given.value:.3f} ± {spread:.3f}"
    return text if math.isnan(given.low) else f"{text} ({given.low:.3f} to {given.high:.3f})"


def differences(first: Judged, others: Sequence[Judged], patients: Mapping[str, str]) -> str:
    """What each of the others scores more than the first, case by case.

    Means over the cases that both were scored on, with intervals over the patients, and how many
    cases are better and worse. The spread between patients, which is most of that in `summary`,
    cancels out.
    """
    rows = [[f"difference from {first.name}", *(f"{name} Dice" for name in _PAIRED)]]
    for other in others:
        rows.append([other.name, *(_difference(first, other, name, patients) for name in _PAIRED)])
    return markdown(rows)


def _difference(first: Judged, other: Judged, name: str, patients: Mapping[str, str]) -> str:
    before = {case.case_id: case.dice(first.candidate)[name] for case in first.cases}
    common = [case for case in other.cases if case.case_id in before]
    new = _values(case.dice(other.candidate)[name] for case in common)
    apart = new - _values(before[case.case_id] for case in common)
    if np.isnan(apart).all():
        return "-"
    given = estimate(mean(apart), common, patients)
    between = "" if math.isnan(given.low) else f" ({given.low:+.3f} to {given.high:+.3f})"
    better, worse = int((apart > 0).sum()), int((apart < 0).sum())
    return f"{given.value:+.3f}{between}, {better} better, {worse} worse"


def by_case(one: Judged) -> str:
    """A line for each case, the worst lesion Dice first."""
    rows = [["case", "liver Dice", "lesion Dice", "ml", "ml marked", "found", "right"]]
    for case in worst_first(one):
        dice, counts = case.dice(one.candidate), case.counts[one.candidate]
        known = "lesion" in case.classes
        shares = [_share(counts.recall), _share(counts.precision)] if known else ["-", "-"]
        marked = f"{case.reference[1] * case.voxel_ml:.1f}" if known else "not marked"
        numbers = ["-" if value is None else f"{value:.3f}" for value in dice.values()]
        rows.append(
            [case.case_id, *numbers, f"{case.lesion_ml(one.candidate):.1f}", marked, *shares]
        )
    return markdown(rows)


def worst_first(one: Judged) -> list[CaseScores]:
    """The cases by lesion Dice; those without lesions, by false ml, after all others."""
    return sorted(one.cases, key=lambda case: _rank(case, one.candidate))


def _rank(case: CaseScores, candidate: int) -> tuple[float, float]:
    lesion, false_ml = case.dice(candidate)["lesion"], case.false_ml(candidate)
    return 2.0 if lesion is None else lesion, -(false_ml or 0.0)


def _share(counts: Sequence[Sequence[int]]) -> str:
    return "/".join(str(sum(pair[index] for pair in counts)) for index in (0, 1))


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is its heading."""
    heading, *others = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([heading, "|---" * len(rows[0]) + "|", *others])
