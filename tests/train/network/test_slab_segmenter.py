import math

import numpy as np
import pytest
import torch

from lits_runtime import CheckpointError
from lits_train.network.preprocessing import Preprocessing, label_shares, resize_labels
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.network.slab_segmenter import SlabSegmenter
from lits_train.samples.dataset import Sample
from lits_train.settings.recipe import BASELINE, DEFAULT, LESION_UNKNOWN, RECIPES, Recipe
from lits_train.training.losses import DiceCounter, segmentation_loss
from lits_train.training.network_inputs import (
    class_targets,
    known_pixels,
    network_inputs,
    share_targets,
)
from support.scans import random_hu


def test_minmax_takes_each_slice_s_own_range() -> None:
    slab_hu = torch.tensor(random_hu((3, 64, 64)), dtype=torch.float32) * torch.tensor(
        [1.0, 2.0, 5.0]
    ).view(3, 1, 1)
    scaled = Preprocessing(BASELINE.override(size=64))(slab_hu)
    assert scaled.shape == (3, 3, 64, 64)
    for number in range(3):
        values = slab_hu[number]
        expected = (values - values.min()) / (values.max() - values.min())
        for channel in range(3):
            torch.testing.assert_close(scaled[number, channel], expected)


def test_constant_slices_are_finite() -> None:
    for recipe in RECIPES.values():
        slab_hu = torch.full((3, 40, 50), -3024.0)
        labels, probability = SlabSegmenter(recipe, SegmentationNetwork(recipe)).eval()(slab_hu)
        assert labels.shape == (3 - 2 * recipe.context_slices, 40, 50)
        assert torch.isfinite(probability).all()


def test_window_clips_and_context_slices_become_channels() -> None:
    slab_hu = torch.tensor([-1000.0, 0.0, 125.0, 250.0, 3000.0]).view(5, 1, 1).expand(5, 32, 32)
    scaled = Preprocessing(DEFAULT.override(size=32))(slab_hu)
    assert scaled.shape == (3, 3, 32, 32)
    expected = torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.5, 1.0], [0.5, 1.0, 1.0]])
    torch.testing.assert_close(scaled[:, :, 0, 0], expected)


def test_resize_keeps_means_and_masks_take_the_nearest() -> None:
    slab_hu = torch.zeros(1, 512, 512)
    slab_hu[:, ::2] = 1000.0  # stripes of one voxel: without antialiasing all or nothing is left
    scaled = Preprocessing(BASELINE)(slab_hu)
    assert scaled[0, 0, 8:-8, 8:-8].sub(0.5).abs().max() < 0.05
    labels = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 0, 0], [2, 2, 0, 0]]).byte()
    assert resize_labels(labels[None], (2, 2))[0].tolist() == [[0, 1], [2, 0]]
    assert resize_labels(labels[None], (2, 2))[0].dtype == torch.uint8


def test_shares_are_means_over_a_pixel_s_area() -> None:
    labels = torch.zeros(1, 128, 128, dtype=torch.uint8)
    labels[0, 32:96, 30:97] = 1
    labels[0, 50:61, 50:61] = 2
    shares = label_shares(labels, (32, 32))
    assert shares.shape == (1, 2, 32, 32) and shares.dtype == torch.uint8
    for channel, mask in enumerate((labels >= 1, labels == 2)):
        assert shares[0, channel].sum() / 255 * 16 == pytest.approx(int(mask.sum()), rel=0.01)
    lesion = share_targets(shares, ("lesion",))
    assert lesion.shape == (1, 1, 32, 32)
    assert float(lesion.max()) == 1.0
    assert len(lesion.unique()) > 3, "parts of pixels at the edge"


def test_soft_labels_are_what_the_network_learns() -> None:
    labels = torch.ones(1, 3, 32, 32, dtype=torch.uint8)
    batch = Sample(
        hu=torch.zeros(1, 3, 32, 32),
        range_hu=torch.zeros(1, 3, 2),
        labels=labels,
        shares=torch.full((1, 2, 32, 32), 51, dtype=torch.uint8),
        spacing_mm=torch.ones(1, 3),
        adjacent=torch.ones(1, dtype=torch.bool),
        liver_only=torch.zeros(1, dtype=torch.bool),
        case=torch.zeros(1),
        slice=torch.zeros(1),
    )
    for soft, values in ((False, (1.0, 0.0)), (True, (0.2, 0.2))):
        recipe = DEFAULT.override(size=32, soft_labels=soft)
        _, targets, _ = network_inputs(batch, Preprocessing(recipe), recipe)
        assert targets[0, :, 0, 0].tolist() == pytest.approx(values)


def test_targets_count_lesions_to_the_liver() -> None:
    targets = class_targets(torch.tensor([[0, 1, 2]]), ("liver", "lesion"))
    assert targets.tolist() == [[[0.0, 1.0, 1.0]], [[0.0, 0.0, 1.0]]]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_labels_come_back_on_the_slab_s_grid_with_lits_values(recipe: Recipe) -> None:
    torch.manual_seed(0)
    segmenter = SlabSegmenter(recipe, SegmentationNetwork(recipe)).eval()
    n = 2
    slab_hu = torch.tensor(random_hu((n + 2 * recipe.context_slices, 70, 90))).float()
    with torch.no_grad():
        labels, probability = segmenter(slab_hu)
    assert labels.dtype == torch.uint8
    assert labels.shape == (n, 70, 90)
    assert probability.shape == (n, len(recipe.classes), 70, 90)
    masks = probability >= 0.5
    expected = torch.zeros_like(labels)
    if "liver" in recipe.classes:
        expected[masks[:, 0]] = 1
    expected[masks[:, -1]] = 2
    assert torch.equal(labels, expected)


def test_the_seed_recipe_is_the_system_it_stands_for() -> None:
    network = SegmentationNetwork(BASELINE)
    assert BASELINE.classes == ("lesion",)
    assert not BASELINE.window_hu
    assert BASELINE.size == 128
    with torch.no_grad():
        assert network.eval()(torch.rand(1, 3, 128, 128)).shape == (1, 1, 128, 128)
    kinds = [type(module).__name__ for module in network.decoder.modules()]
    assert kinds.count("ConvTranspose2d") == kinds.count("Conv2d") == kinds.count("ReLU") == 5
    assert "BatchNorm2d" not in kinds


def test_skip_connections_reach_the_decoder() -> None:
    recipe = DEFAULT.override(size=64)
    network = SegmentationNetwork(recipe).eval()
    widths = [stage.conv[0].in_channels for stage in network.decoder]  # type: ignore[union-attr, index]
    assert widths == [32 + 208, 24 + 104, 16 + 48, 16 + 32]


def test_a_subpixel_head_halves_the_stride() -> None:
    scaled = torch.rand(2, 3, 64, 64)
    for stages, size in ((4, 32), (3, 16)):
        recipe = DEFAULT.override(size=64, decoder_channels=(16, 16, 16, 16)[:stages])
        plain, subpixel = (
            SegmentationNetwork(one).eval()(scaled)
            for one in (recipe, recipe.override(subpixel_head=True))
        )
        assert plain.shape == (2, 2, size, size)
        assert subpixel.shape == (2, 2, 2 * size, 2 * size)
    with pytest.raises(ValueError, match="subpixel_head: five decoder stages"):
        recipe.override(decoder_channels=(16,) * 5, subpixel_head=True)


def test_recipes_survive_json_and_refuse_other_keys() -> None:
    for recipe in RECIPES.values():
        assert Recipe.from_json(recipe.to_json()) == recipe
    settings = BASELINE.to_json()
    del settings["size"]
    with pytest.raises(CheckpointError, match="lacks \\['size'\\] and has unknown \\['sise'\\]"):
        Recipe.from_json({**settings, "sise": 128})


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 100},
        {"context_slices": 3},
        {"classes": ("spleen",)},
        {"thresholds": (0.5, 0.5)},
        {"decoder_channels": ()},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(settings)))[:8]):
        BASELINE.override(**settings)


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


def test_what_a_slice_does_not_tell_of_is_not_learnt() -> None:
    """A liver-only slice, and one row of another whose lesions nobody marked."""
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
    pred[4] = 1  # case 3 does not tell of the class
    known = torch.ones_like(gt)
    known[4] = 0
    counter.add(pred, gt, known, torch.tensor([0, 0, 1, 2, 3]))
    assert counter.mean_dice() == [pytest.approx((4 / 5 + 0 + 1) / 3)]


def test_a_case_known_in_part_tells_of_what_it_shows_alone() -> None:
    counter = DiceCounter(cases=2, classes=1)
    gt, pred = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    gt[0, 0, 0, 0] = 1
    pred[:, 0, 0] = 1  # 2 voxels in each case; one of them is right in case 0, none in case 1
    known = torch.ones_like(gt)
    known[:, 0, 1] = 0
    counter.add(pred, gt, known, torch.tensor([0, 1]))
    assert counter.mean_dice() == [pytest.approx(2 / 3)]


def test_dice_of_a_class_that_no_case_shows_is_not_known() -> None:
    """Empty masks would be perfect at it, and so would any network that says nothing."""
    counter = DiceCounter(2, 2)
    masks_gt, masks_pred = torch.zeros(2, 2, 4, 4), torch.zeros(2, 2, 4, 4)
    masks_gt[0, 0] = masks_pred[0, 0] = 1
    counter.add(masks_pred, masks_gt, torch.ones(2, 2, 4, 4), torch.tensor([0, 1]))
    liver, lesion = counter.mean_dice()
    assert liver == 1
    assert math.isnan(lesion)
    assert all(math.isnan(dice) for dice in DiceCounter(1, 2).mean_dice())


def test_numbers_from_numpy_and_torch_agree_on_the_window() -> None:
    slab_hu = random_hu((3, 32, 32)).astype(np.float32)
    scaled = Preprocessing(DEFAULT.override(size=32, context_slices=0))(torch.from_numpy(slab_hu))
    expected = np.clip(slab_hu, 0, 250) / 250
    np.testing.assert_allclose(scaled[:, 0].numpy(), expected, atol=1e-6)
