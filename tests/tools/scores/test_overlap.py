import math

import numpy as np
import pytest

from lits_runtime.errors import DatasetError
from lits_tools.scores.overlap import Overlap, overlap, pooled, tumour_burden

EMPTY = np.zeros((4, 4, 4), bool)
CUBE = EMPTY.copy()
CUBE[1:3, 1:3, 1:3] = True  # 8 voxels


def test_shifted_cube_by_hand() -> None:
    scores = overlap(np.roll(CUBE, 1, axis=2), CUBE)
    assert scores == Overlap(intersection=4, predicted=8, reference=8)
    assert scores.dice == 0.5
    assert scores.iou == pytest.approx(1 / 3)
    assert scores.voe == pytest.approx(2 / 3)
    assert scores.rvd == 0


def test_rvd_is_positive_where_too_much_is_predicted() -> None:
    slab = EMPTY.copy()
    slab[1:4, 1:3, 1:3] = True  # 12 voxels
    assert overlap(slab, CUBE).rvd == 0.5
    assert overlap(CUBE, slab).rvd == pytest.approx(-1 / 3)


@pytest.mark.parametrize(
    ("pred", "gt", "dice", "voe", "rvd"),
    [
        (EMPTY, EMPTY, 1, 0, 0),
        (CUBE, EMPTY, 0, 1, math.inf),
        (EMPTY, CUBE, 0, 1, -1),
    ],
)
def test_empty_masks(pred: np.ndarray, gt: np.ndarray, dice: float, voe: float, rvd: float) -> None:
    scores = overlap(pred, gt)
    assert (scores.dice, scores.voe, scores.rvd) == (dice, voe, rvd)


def test_global_dice_weighs_voxels_not_cases() -> None:
    large, missed = Overlap(90, 100, 100), Overlap(0, 0, 10)
    assert pooled([large, missed]).dice == pytest.approx(180 / 210)
    assert pooled([]).dice == 1


def test_tumour_burden() -> None:
    assert tumour_burden(np.array([0, 1, 1, 1, 2], np.uint8)) == 0.25
    assert tumour_burden(np.array([0, 1], np.uint8)) == 0
    assert math.isnan(tumour_burden(np.array([0, 2, 2], np.uint8)))


def test_shapes_must_agree() -> None:
    with pytest.raises(DatasetError, match=r"\(4, 4, 4\).*\(2, 4, 4\)"):
        overlap(CUBE, CUBE[:2])
