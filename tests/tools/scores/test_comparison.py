"""Paired differences of small masks, worked out by hand or by another formula."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from lits_runtime.errors import DatasetError
from lits_tools.scores.case_scores import CaseScores, score_case
from lits_tools.scores.comparison import FOUND_DICE, Comparison, compare, wilcoxon
from lits_tools.scores.evaluate import Evaluation
from lits_tools.scores.pooling import pool

ONE = (1.0, 1.0, 1.0)


def labels(*lesions: tuple[int, int], liver: bool = True) -> NDArray[np.uint8]:
    """A row of liver voxels with lesions from the first to before the second of each pair."""
    row = np.full((1, 1, 120), int(liver), np.uint8)
    for low, high in lesions:
        row[0, 0, low:high] = 2
    return row


def compared(*predictions: list[CaseScores], **options: int) -> Comparison:
    evaluations = [Evaluation(tuple(cases), pool(cases, resamples=1)) for cases in predictions]
    return compare("ABC"[: len(predictions)], evaluations, **options)


def case(pred: NDArray[np.uint8], gt: NDArray[np.uint8], case_id: str = "1") -> CaseScores:
    return score_case(pred, gt, ONE, case_id=case_id)


def test_a_case_that_is_infinite_for_one_is_left_out_for_both() -> None:
    gt = labels((0, 10))
    missed, near, far = (case(labels(*p), gt) for p in ((), ((0, 11),), ((0, 14),)))
    comparison = compared([missed, near, near], [near, far, near])
    distance = comparison.scores["lesion_hd95_mm"]
    first, second = distance.estimates
    assert (first.cases, first.infinite) == (second.cases, second.infinite) == (3, 1)
    hd95 = [case.values()["lesion_hd95_mm"] for case in (near, far)]
    assert first.value == pytest.approx(hd95[0])
    assert second.value == pytest.approx((hd95[1] + hd95[0]) / 2)
    (difference,) = distance.differences
    assert difference.value == pytest.approx((hd95[1] - hd95[0]) / 2)
    assert difference.pairs == 2
    dice = comparison.scores["lesion_dice"]
    assert (dice.estimates[0].cases, dice.differences[0].pairs) == (3, 3)


def test_intervals_are_of_paired_resamples() -> None:
    """Where every case differs by the same amount, so does every resample."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(12, 40, 12).tolist()
    first = [case(labels((0, n)), labels((0, n))) for n in sizes]
    second = [case(labels((0, n // 2)), labels((0, n // 2 * 3))) for n in sizes]
    (dice,) = compared(first, second, resamples=500).scores["lesion_dice"].differences
    assert (dice.value, dice.low, dice.high) == pytest.approx((-0.5, -0.5, -0.5))
    assert dice.p_value == pytest.approx(2 / 2**12)


def test_seed_and_resamples_decide_the_interval() -> None:
    gt = labels((0, 20))
    first = [case(labels((0, n)), gt) for n in (5, 9, 14, 20, 20)]
    second = [case(labels((0, n)), gt) for n in (9, 9, 12, 16, 11)]
    found = [
        compared(first, second, resamples=n, seed=seed).scores["lesion_dice"].differences[0]
        for n, seed in ((400, 0), (400, 0), (400, 1))
    ]
    assert found[0] == found[1]
    assert (found[0].low, found[0].high) != (found[2].low, found[2].high)


def test_lesions_one_by_one() -> None:
    """Of a small and a large lesion, A finds both, B the large one."""
    gt = labels((0, 5), (40, 70))
    found = case(labels((0, 5), (40, 70)), gt)
    half = case(labels((40, 55)), gt)
    comparison = compared([found, found], [half, half])
    assert [lesion.dice for lesion in comparison.lesions][:2] == [(1.0, 0.0), (1.0, 2 / 3)]
    small = comparison.scores["lesion_recall_iou0_under_10mm"]
    assert (small.estimates[0].value, small.estimates[1].value) == (1, 0)
    assert small.differences[0].value == -1
    dice = comparison.scores[FOUND_DICE]
    assert dice.differences[0].value == pytest.approx(2 / 3 - 1)
    assert math.isnan(comparison.scores[f"{FOUND_DICE}_under_10mm"].differences[0].value)


def test_each_further_prediction_is_compared_with_the_first() -> None:
    gt = labels((0, 10))
    one, two, three = ([case(labels((0, n)), gt)] * 2 for n in (10, 8, 6))
    found = compared(one, two, three).scores["lesion_dice"].differences
    assert [d.value for d in found] == pytest.approx([16 / 18 - 1, 12 / 16 - 1])


def test_cases_that_failed_for_one_are_left_out_for_all() -> None:
    gt = labels((0, 10))
    cases = [case(gt, gt, name) for name in "12"]
    whole = Evaluation(tuple(cases), pool(cases, resamples=1))
    part = Evaluation(tuple(cases[:1]), pool(cases, resamples=1), {"2": "damaged"})
    comparison = compare("AB", [whole, part])
    assert comparison.case_ids == ("1",)
    assert comparison.failed == {"2": "B: damaged"}
    with pytest.raises(DatasetError, match="no case could be scored for all of A, B"):
        compare("AB", [whole, Evaluation((), {}, {"1": "damaged", "2": "damaged"})])


def test_wilcoxon_by_hand() -> None:
    """Of 2^6 signs of the ranks 1 to 6, one sum is as small as that of six positive ones."""
    assert wilcoxon(np.array([1.0, 2, 3, 4, 5, 6])) == 2 / 2**6
    assert wilcoxon(np.array([0.0, 1, 2, 3, 4, 5, 6])) == 2 / 2**6, "zeros are dropped"
    assert math.isnan(wilcoxon(np.zeros(3)))
    assert wilcoxon(np.array([0.1, -0.3 + 0.2])) == 1, "ties, but for rounding"
