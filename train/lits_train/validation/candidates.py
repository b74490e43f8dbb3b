"""The settings of inference that are compared on validation cases."""

from dataclasses import replace

from lits_train.settings.inference import Inference
from lits_train.settings.recipe import Recipe

THRESHOLDS = (0.3, 0.5, 0.7)
"""Of one class, while the other's is the recipe's. Coarse: a finer grid would fit the cases."""
LEAST_ML = (0.05, 0.2)
"""Lesion volumes below which a lesion may be dropped: spheres of 4.6 and 7.3 mm."""
SEARCH_MM = (10.0, 20.0, 30.0, 40.0)
"""Distances of the liver search."""


def candidates(recipe: Recipe) -> list[Inference]:
    """What is compared, the simplest first: fewest thresholds moved, then least post-processing.

    The largest liver keeps its own lesions only, so that lesions outside are gone with it.
    """
    plain = Inference(recipe.thresholds)
    cleaned = [plain]
    if "liver" in recipe.classes:
        largest = replace(plain, keep_largest_liver=True)
        cleaned += [replace(plain, drop_lesions_outside_liver=True), largest]
    if "lesion" in recipe.classes:
        cleaned += [replace(cleaned[-1], min_lesion_ml=least) for least in LEAST_ML]
    moved = [recipe.thresholds]
    for channel in range(len(recipe.classes)):
        before, after = recipe.thresholds[:channel], recipe.thresholds[channel + 1 :]
        moved += [(*before, value, *after) for value in THRESHOLDS]
    return [
        replace(one, thresholds=thresholds)
        for thresholds in dict.fromkeys(moved)
        for one in cleaned
    ]
