"""Scores of cross-validations as tables in Markdown, with intervals over patients."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lits_train.settings.inference import Inference
from lits_train.validation.case_scores import CaseScores
from lits_train.validation.lesions_found import added_up
from lits_train.validation.tables import SIZE_NAMES, mean, mean_dice, size_rows

RESAMPLES = 2000
CONFIDENCE = 0.95

Score = Callable[[Sequence[CaseScores], int], float | None]


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


def lesion_recall(cases: Sequence[CaseScores], candidate: int) -> float | None:
    """Found lesions over all lesions of the cases."""
    known = [case.counts[candidate].recall for case in cases if "lesion" in case.classes]
    found, every = np.sum(added_up(known), axis=0)
    return float(found / every) if every else None


SCORES: Mapping[str, Score] = {
    "liver Dice": lambda cases, candidate: mean_dice(cases, candidate, "liver"),
    "lesion Dice": lambda cases, candidate: mean_dice(cases, candidate, "lesion"),
    "lesion recall": lesion_recall,
    "false ml": lambda cases, candidate: mean(case.false_ml(candidate) for case in cases),
}
"""Dice as a mean over cases; false ml as a mean over those that are known to have no lesion."""

_PAIRED = ("liver Dice", "lesion Dice")


def interval(
    cases: Sequence[CaseScores], candidate: int, score: Score, patients: Mapping[str, str]
) -> tuple[float, float] | None:
    """95 % interval of a score over resamples of the patients; None if there are fewer than two.

    All scans of a patient are drawn together.

    Args:
        cases: to score.
        candidate: the setting of inference.
        score: of some cases.
        patients: by case ID; a case that is not listed is a patient of its own.
    """
    by_id = {case.case_id: case for case in cases}
    return _resampled(
        by_id, lambda drawn: score([by_id[name] for name in drawn], candidate), patients
    )


def _resampled(
    case_ids: Iterable[str],
    score: Callable[[Sequence[str]], float | None],
    patients: Mapping[str, str],
) -> tuple[float, float] | None:
    by_patient: dict[str, list[str]] = {}
    for case_id in case_ids:
        by_patient.setdefault(patients.get(case_id, case_id), []).append(case_id)
    groups, rng = list(by_patient.values()), np.random.default_rng(0)
    if len(groups) < 2:
        return None
    values = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(len(groups), size=len(groups))
        value = score([case_id for index in drawn for case_id in groups[index]])
        values += [] if value is None else [value]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail]).tolist() if values else (np.nan, np.nan)
    return low, high


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
    value = score(one.cases, one.candidate)
    if value is None:
        return "-"
    ends = interval(one.cases, one.candidate, score, patients)
    single = [score([case], one.candidate) for case in one.cases]
    spread = np.std([part for part in single if part is not None])
    text = f"{value:.3f} ± {spread:.3f}"
    return text if ends is None else f"{text} ({ends[0]:.3f} to {ends[1]:.3f})"


def differences(first: Judged, others: Sequence[Judged], patients: Mapping[str, str]) -> str:
    """What each of the others scores more than the first, case by case.

    Means over the cases that both were scored on, with intervals over the patients, and how many
    cases are better and worse. The spread between patients, which is most of that in `summary`,
    cancels out.
    """
    rows = [[f"difference from {first.name}", *_PAIRED]]
    for other in others:
        rows.append([other.name, *(_difference(first, other, name, patients) for name in _PAIRED)])
    return markdown(rows)


def _difference(first: Judged, other: Judged, name: str, patients: Mapping[str, str]) -> str:
    score = SCORES[name]
    before = {case.case_id: score([case], first.candidate) for case in first.cases}
    apart: dict[str, float] = {}
    for case in other.cases:
        old, new = before.get(case.case_id), score([case], other.candidate)
        if old is not None and new is not None:
            apart[case.case_id] = new - old
    if not apart:
        return "-"
    ends = _resampled(apart, lambda drawn: mean(apart[case_id] for case_id in drawn), patients)
    better, worse = (sum(sign * value > 0 for value in apart.values()) for sign in (1, -1))
    between = "" if ends is None else f" ({ends[0]:+.3f} to {ends[1]:+.3f})"
    return f"{np.mean([*apart.values()]):+.3f}{between}, {better} better, {worse} worse"


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
