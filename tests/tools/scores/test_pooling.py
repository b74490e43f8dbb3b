import math

import numpy as np
import pytest
from numpy.typing import NDArray

from lits_tools.scores.case_scores import CaseScores, score_case
from lits_tools.scores.pooling import known_scores, pool

SPACING = (1.0, 1.0, 1.0)
Labels = NDArray[np.uint8]


def liver(lesion_voxels: int, shift: int = 0) -> Labels:
    """A liver of 100 voxels in a row, the first of them lesions."""
    labels = np.zeros((1, 1, 130), np.uint8)
    labels[0, 0, shift : shift + 100] = 1
    labels[0, 0, shift : shift + lesion_voxels] = 2
    return labels


def case(pred: int, gt: int) -> CaseScores:
    return score_case(liver(pred), liver(gt), SPACING)


def test_means_ratios_and_burden() -> None:
    pooled = pool([case(10, 20), case(40, 40)])
    assert pooled["lesion_dice"].value == pytest.approx((2 / 3 + 1) / 2)
    assert pooled["lesion_dice_global"].value == pytest.approx(100 / 110)
    assert pooled["burden_error"].value == pytest.approx(-0.05)
    assert pooled["burden_rmse"].value == pytest.approx(math.sqrt(0.1**2 / 2))
    assert pooled["burden_max_error"].value == pytest.approx(0.1)
    assert pooled["lesion_recall_iou50"].value == pytest.approx(0.5)
    assert pooled["detected_dice"].value == 1


def test_healthy_case_says_nothing_about_distances() -> None:
    pooled = pool([case(0, 0), case(10, 10)])
    assert pooled["lesion_dice"].value == 1
    assert pooled["lesion_assd_mm"].value == 0
    assert pooled["lesion_assd_mm"].cases == 1
    assert pooled["lesion_recall_iou0"].value == 1


def test_missed_lesion_is_left_out_of_the_mean_distance_and_counted() -> None:
    found = pool([case(0, 10), case(20, 16), case(30, 30)])["lesion_mssd_mm"]
    assert (found.cases, found.infinite) == (3, 1)
    assert found.value == pytest.approx((4 + 0) / 2)
    assert (found.low, found.high) == (0, 4)
    alone = pool([case(0, 10)])["lesion_mssd_mm"]
    assert math.isnan(alone.value)
    assert (alone.cases, alone.infinite) == (1, 1)


def test_nothing_defined() -> None:
    pooled = pool([case(0, 0)])
    for name in ("lesion_assd_mm", "lesion_recall_iou0", "lesion_f1_iou0", "detected_dice"):
        assert math.isnan(pooled[name].value)
        assert pooled[name].cases == 0


@pytest.mark.slow
def test_intervals_hold_the_mean_and_narrow_with_cases() -> None:
    rng = np.random.default_rng(0)
    cases = [case(int(rng.integers(5, 40)), 20) for _ in range(60)]
    few, many = pool(cases[:10])["lesion_dice"], pool(cases)["lesion_dice"]
    for found in (few, many):
        assert found.low < found.value < found.high
    assert many.high - many.low < few.high - few.low


@pytest.mark.slow
def test_interval_agrees_with_the_normal_one() -> None:
    """The percentile interval of a mean of 60 cases is near its standard error's."""
    rng = np.random.default_rng(1)
    cases = [case(int(rng.integers(5, 40)), 20) for _ in range(60)]
    dice = np.array([c.values()["lesion_dice"] for c in cases])
    half = 1.96 * dice.std() / math.sqrt(len(dice))
    found = pool(cases)["lesion_dice"]
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_same_seed_gives_the_same_interval() -> None:
    cases = [case(n, 20) for n in (5, 10, 15, 30)]
    assert repr(pool(cases)) == repr(pool(cases))


def test_one_case_has_no_interval() -> None:
    assert math.isnan(pool([case(10, 20)])["lesion_dice"].low)


def test_all_names_are_known() -> None:
    assert list(pool([case(10, 20), case(0, 3)])) == known_scores()


def test_lesions_without_liver_have_no_burden() -> None:
    only_lesions = liver(10)
    only_lesions[only_lesions == 1] = 0
    scored = score_case(only_lesions, liver(10), SPACING)
    assert math.isnan(scored.burden_error)
    assert scored.liver is None
    assert math.isnan(scored.values()["liver_dice"])
    assert scored.values()["lesion_dice"] == 1


def test_a_case_without_a_liver_is_not_in_the_liver_s_figures() -> None:
    only_lesions = liver(10)
    only_lesions[only_lesions == 1] = 0
    without = score_case(only_lesions, liver(10), SPACING)
    pooled = pool([without, case(20, 20)])
    assert pooled["liver_dice"].cases == pooled["liver_dice_global"].cases == 1
    assert pooled["liver_dice"].value == pooled["liver_dice_global"].value == 1
    assert pooled["lesion_dice"].cases == 2
    alone = pool([without])
    for name in ("liver_dice", "liver_dice_global", "liver_assd_mm", "burden_error"):
        assert math.isnan(alone[name].value), name


def test_classes_that_the_prediction_does_not_tell_of_are_not_scored() -> None:
    only_liver = score_case(liver(0), liver(10), SPACING, classes=("liver",)).values()
    assert only_liver["liver_dice"] == 1
    for name in ("lesion_dice", "lesion_count_gt", "lesion_recall_iou0", "burden_error"):
        assert math.isnan(only_liver[name]), name
    assert math.isnan(score_case(liver(1), liver(1), SPACING, classes=("lesion",)).burden_error)


def test_empty_prediction_of_everything() -> None:
    values = score_case(np.zeros_like(liver(0)), liver(10), SPACING).values()
    assert values["liver_dice"] == values["lesion_dice"] == values["lesion_recall_iou0"] == 0
    assert values["liver_rvd"] == -1
    assert values["liver_hd95_mm"] == math.inf
    assert math.isnan(values["burden_error"])
