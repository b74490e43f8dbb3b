import pytest
import torch

from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.network.slab_segmenter import SlabSegmenter
from lits_train.settings.recipe import RECIPES, Recipe
from support.files.scans import random_hu


def test_constant_slices_are_finite() -> None:
    for recipe in RECIPES.values():
        slab_hu = torch.full((3, 40, 50), -3024.0)
        labels, probability = SlabSegmenter(recipe, SegmentationNetwork(recipe)).eval()(slab_hu)
        assert labels.shape == (3 - 2 * recipe.context_slices, 40, 50)
        assert torch.isfinite(probability).all()


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
