import math

import pytest
import torch

from lits_train.settings.recipe import BASELINE, DEFAULT, LESION_UNKNOWN
from lits_train.training.losses import DiceCounter, segmentation_loss
from lits_train.training.network_inputs import (
    known_pixels,
)


def test_loss_of_a_sure_and_right_network_is_near_nothing_and_dice_counts() -> None:
    masks = torch.zeros(2, 1, 8, 8)
    masks[0, 0, :4] = 1
    right, known = (masks * 2 - 1) * 20, torch.ones_like(masks)
    bce, with_dice = BASELINE, BASELINE.override(dice_weight=1.0)
    assert segmentation_loss(right, masks, known, with_dice) < 1e-3
    assert segmentation_loss(-right, masks, known, bce) == pytest.approx(20.0)
    assert segmentation_loss(-right, masks, known, with_dice) > 20.9
    small = torch.nn.functional.interpolate(right, size=(4, 4))
    assert segmentation_loss(small, masks, known, bce) < 1


def test_a_focal_factor_leaves_the_unsure_pixels_to_count() -> None:
    logits, targets = torch.tensor([[[[0.0, 2.0]]]]), torch.ones(1, 1, 1, 2)
    entropy = -logits.sigmoid().log()
    expected = (entropy * (1 - logits.sigmoid()) ** 2).mean()
    recipe = BASELINE.override(focal_gamma=2.0)
    found = segmentation_loss(logits, targets, torch.ones_like(targets), recipe)
    assert found == pytest.approx(float(expected))


def test_unknown_pixels_have_no_influence() -> None:
    """A liver-only slice, and one row of another whose lesions are not marked."""
    logits = torch.randn(2, 2, 8, 8, requires_grad=True)
    targets = (torch.rand(2, 2, 8, 8) > 0.5).float()
    labels = torch.ones(2, 8, 8, dtype=torch.uint8)
    labels[1, 0] = LESION_UNKNOWN
    known = known_pixels(labels, torch.tensor([True, False]), DEFAULT.classes)
    assert known[:, 0].all()
    assert known[:, 1].sum(dim=(1, 2)).tolist() == [0, 56]
    loss = segmentation_loss(logits, targets, known, DEFAULT)
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[0, 1].any()
    assert not logits.grad[1, 1, 0].any()
    assert logits.grad[1, 1, 1:].all()
    assert logits.grad[:, 0].all()
    other = targets.clone()
    other[0, 1] = 1 - other[0, 1]
    assert segmentation_loss(logits, other, known, DEFAULT) == loss


def test_dice_is_per_case_and_1_where_both_are_empty() -> None:
    counter = DiceCounter(cases=4, classes=1)
    gt = torch.zeros(5, 1, 2, 2)
    pred = torch.zeros(5, 1, 2, 2)
    gt[0, 0, 0] = pred[0, 0, 0] = 1  # case 0, first slice: 2 voxels, both found
    gt[1, 0, 0, 0] = 1  # case 0, second slice: 1 voxel, missed
    pred[2, 0, 0, 0] = 1  # case 1: 1 voxel invented; case 2 is empty in both
    pred[4] = 1  # case 3 is unlabelled
    known = torch.ones_like(gt)
    known[4] = 0
    counter.add(pred, gt, known, torch.tensor([0, 0, 1, 2, 3]))
    assert counter.mean_dice() == [pytest.approx((4 / 5 + 0 + 1) / 3)]


def test_a_partly_labelled_case_counts_for_the_classes_that_occur_in_it() -> None:
    counter = DiceCounter(cases=2, classes=1)
    gt, pred = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    gt[0, 0, 0, 0] = 1
    pred[:, 0, 0] = 1  # 2 voxels in each case; one of them is right in case 0, none in case 1
    known = torch.ones_like(gt)
    known[:, 0, 1] = 0
    counter.add(pred, gt, known, torch.tensor([0, 1]))
    assert counter.mean_dice() == [pytest.approx(2 / 3)]


def test_dice_of_a_class_that_no_case_shows_is_nan() -> None:
    """An empty mask would otherwise be perfect."""
    counter = DiceCounter(2, 2)
    masks_gt, masks_pred = torch.zeros(2, 2, 4, 4), torch.zeros(2, 2, 4, 4)
    masks_gt[0, 0] = masks_pred[0, 0] = 1
    counter.add(masks_pred, masks_gt, torch.ones(2, 2, 4, 4), torch.tensor([0, 1]))
    liver, lesion = counter.mean_dice()
    assert liver == 1
    assert math.isnan(lesion)
    assert all(math.isnan(dice) for dice in DiceCounter(1, 2).mean_dice())
