"""The rule by which one setting of inference is chosen from all candidates.

Its score is the mean liver Dice over all cases, plus the mean lesion Dice over the cases with
lesions, less 0.01 for each millilitre of false lesion in a mean case without. Of all candidates
within 0.002 of the best the simplest is taken: the grid is coarse and the cases are few. The search
is the widest that no case of any class pays for with more than 0.001 Dice. Fewer than five cases
choose nothing.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lits_runtime.labels import MASKS
from lits_train.settings.inference import Inference
from lits_train.validation.case_scores import SEARCHES, CaseScores

PER_FALSE_ML = 0.01
MOST_FALSE_ML = 20.0
"""More in one case counts like this, so that one failure does not choose for all."""
TIE = 0.002
SEARCH_LOSS = 0.001
LEAST_CASES = 5
"""With fewer, the first candidate is taken, without a search."""


def objective(cases: Sequence[CaseScores], candidate: int) -> float:
    """The score of a candidate; terms without a case are left out."""
    score = 0.0
    for name in MASKS:
        dice = [value for case in cases if (value := case.dice(candidate)[name]) is not None]
        score += float(np.mean(dice)) if dice else 0.0
    false_ml = [ml for case in cases if (ml := case.false_ml(candidate)) is not None]
    if false_ml:
        score -= PER_FALSE_ML * float(np.mean(np.minimum(false_ml, MOST_FALSE_ML)))
    return score


def choose(cases: Sequence[CaseScores], candidates: Sequence[Inference]) -> tuple[int, Inference]:
    """The index of the best candidate, and its setting with the distance of the search.

    Args:
        cases: their scores.
        candidates: in the order of the scores, the simplest first.
    """
    if len(cases) < LEAST_CASES:
        return 0, candidates[0]
    scores = [objective(cases, index) for index in range(len(candidates))]
    best = next(index for index, score in enumerate(scores) if score >= max(scores) - TIE)
    return best, replace(candidates[best], search_mm=_search_mm(cases, best))


def _search_mm(cases: Sequence[CaseScores], candidate: int) -> float:
    """The widest distance before the first that costs something; 0 without a liver channel."""
    widest = 0.0
    for number, search_mm in enumerate(SEARCHES):
        for case in cases:
            if "liver" not in case.classes or _loses(case, candidate, number):
                return widest
        widest = search_mm
    return widest


def _loses(case: CaseScores, candidate: int, search: int) -> bool:
    without, searched = case.dice(candidate), case.dice(candidate, search)
    pairs = ((without[name], searched[name]) for name in MASKS)
    return any(
        before is not None and after is not None and after < before - SEARCH_LOSS
        for before, after in pairs
    )
