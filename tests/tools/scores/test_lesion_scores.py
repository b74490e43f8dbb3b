import math

import numpy as np
import pytest
from numpy.typing import NDArray

from lits_tools.scores.lesion_match import (
    Detection,
    LesionMatch,
    challenge_detected,
    detection,
    label_lesions,
    match_lesions,
)

ONE = (1.0, 1.0, 1.0)


def line(*runs: tuple[int, int], length: int = 60) -> NDArray[np.bool_]:
    """Lesions in a row of voxels: from the first to before the second of each pair."""
    mask = np.zeros((1, 1, length), bool)
    for low, high in runs:
        mask[0, 0, low:high] = True
    return mask


def matched(pred: NDArray[np.bool_], gt: NDArray[np.bool_]) -> LesionMatch:
    return match_lesions(label_lesions(pred), label_lesions(gt), ONE)


def test_split_prediction_is_merged() -> None:
    match = matched(line((0, 4), (5, 10)), line((0, 10)))
    (group,) = match.groups
    assert (group.predicted, group.reference) == ((1, 2), (1,))
    assert group.overlap.iou == pytest.approx(9 / 10)
    assert detection(match, 0.5) == Detection(found=1, reference=1, correct=2, predicted=2)


def test_merged_prediction_merges_references() -> None:
    match = matched(line((0, 10)), line((0, 4), (5, 10)))
    (group,) = match.groups
    assert (group.predicted, group.reference) == ((1,), (1, 2))
    assert detection(match, 0.5) == Detection(found=2, reference=2, correct=1, predicted=1)


def test_reference_goes_to_the_prediction_that_covers_most_of_it() -> None:
    """The first prediction touches both references, the second only one, but more of it."""
    match = matched(line((0, 13), (14, 30)), line((0, 9), (10, 30)))
    assert [(g.reference, g.predicted) for g in match.groups] == [((1,), (1,)), ((2,), (2,))]
    assert [g.overlap.intersection for g in match.groups] == [9, 16]


def test_group_may_lose_its_prediction_to_a_better_one() -> None:
    """The long prediction covers little of reference 1 and more of 2, which another covers best."""
    match = matched(line((8, 20), (21, 50)), line((0, 10), (11, 50)))
    by_reference = {g.reference: g.predicted for g in match.groups}
    assert by_reference == {(1,): (), (2,): (1, 2)}
    found = detection(match, 0)
    assert (found.recall, found.precision) == (0.5, 1)


def test_threshold_is_exclusive() -> None:
    match = matched(line((0, 5)), line((0, 10)))
    assert match.groups[0].overlap.iou == 0.5
    assert detection(match, 0.5).found == 0
    assert detection(match, 0.49).found == 1


def test_false_positives_and_misses() -> None:
    match = matched(line((0, 5), (20, 25), (30, 35)), line((0, 5), (50, 55)))
    found = detection(match, 0.5)
    assert found == Detection(found=1, reference=2, correct=1, predicted=3)
    assert found.recall == 0.5
    assert found.precision == pytest.approx(1 / 3)
    assert found.f1 == pytest.approx(0.4)


def test_no_lesions() -> None:
    nothing, one = line(), line((0, 5))
    healthy = detection(matched(nothing, nothing), 0)
    assert all(math.isnan(v) for v in (healthy.recall, healthy.precision, healthy.f1))
    false_alarm = detection(matched(one, nothing), 0)
    assert (false_alarm.precision, false_alarm.f1) == (0, 0)
    assert math.isnan(false_alarm.recall)
    missed = detection(matched(nothing, one), 0)
    assert (missed.recall, missed.f1) == (0, 0)
    assert math.isnan(missed.precision)


def test_more_lesions_than_the_organisers_eight_bits_hold() -> None:
    mask = np.zeros((40, 40, 1), bool)
    mask[::2, ::2] = True
    found = detection(matched(mask, mask), 0.5)
    assert found == Detection(400, 400, 400, 400)


def test_lesions_touch_by_faces_only() -> None:
    mask = np.zeros((2, 2, 2), bool)
    mask[0, 0, 0] = mask[1, 1, 0] = True
    assert label_lesions(mask).voxels == (1, 1)


def test_the_organisers_count_is_reproduced() -> None:
    """Three groups, one of two references below the threshold: 3 - 2 = 1 lesion "detected".

    So 2 of 4 references are found, which their scorer counts as 1; see `challenge_detected`.
    """
    pred = line((0, 5), (10, 15), (20, 50))
    gt = line((0, 5), (10, 15), (20, 24), (26, 30))
    match = matched(pred, gt)
    assert challenge_detected(match, 0.5) == 1
    assert challenge_detected(match, 0) == 3
    assert detection(match, 0.5).found == 2


def test_by_size() -> None:
    """Lesions of 8, 12 and 25 mm; the middle one is missed."""
    gt = line((0, 8), (10, 22), (25, 50))
    pred = line((0, 8), (25, 50))
    match = match_lesions(label_lesions(pred), label_lesions(gt), (1, 0.01, 1))
    assert [round(mm) for mm in match.reference_mm] == [8, 12, 25]
    recall = [detection(match, 0, s).recall for s in ("under_10mm", "10_to_20mm", "over_20mm")]
    assert recall == [1, 0, 1]


def diameter_mm(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> float:
    lesions = label_lesions(mask)
    (longest,) = match_lesions(lesions, lesions, spacing_mm).reference_mm
    return float(longest)


def test_longest_diameter_is_axial_and_in_mm() -> None:
    mask = np.ones((9, 3, 4), bool)
    assert diameter_mm(mask, (5, 1, 1)) == 5  # 3-4-5 triangle, whatever the height
    assert diameter_mm(mask, (5, 2, 2)) == 10
    assert diameter_mm(np.ones((1, 1, 1), bool), (1, 3, 4)) == 5


def test_diameter_of_a_disc() -> None:
    y, x = np.mgrid[-30:31, -30:31]
    disc = (y**2 + x**2 <= 25**2)[None]
    assert diameter_mm(disc, (1, 0.5, 0.5)) == pytest.approx(25.5, abs=0.25)
