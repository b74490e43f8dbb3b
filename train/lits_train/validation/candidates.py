"""The settings of inference that are compared on validation cases."""

from collections.abc import Sequence
from dataclasses import replace

from lits_train.settings.inference import Inference

THRESHOLDS = (0.3, 0.5, 0.7)
"""Of one class, while the other's is the recipe's. Coarse: a finer grid would fit the cases."""
LEAST_ML = (0.05, 0.2)
"""Lesion volumes below which a lesion may be dropped: spheres of 4.6 and 7.3 mm."""
LIVER_CONTACT = (0.5, 0.7)
"""Fractions of a lesion's surface that must border liver: less of a gallbladder taken for one does,
more of most lesions at the capsule."""
SEARCH_MM = (10.0, 20.0, 30.0, 40.0)
"""Distances of the liver search."""


def candidates(classes: Sequence[str], thresholds: tuple[float, ...]) -> list[Inference]:
    """What is compared, the simplest first: fewest thresholds moved, then least post-processing.

    The largest liver keeps its own lesions only, so that lesions outside are gone with it.
    """
    cleaned = [Inference(thresholds)]
    if "liver" in classes:
        cleaned.append(replace(cleaned[0], keep_largest_liver=True))
        if "lesion" in classes:
            cleaned += [replace(cleaned[1], min_liver_contact=least) for least in LIVER_CONTACT]
    if "lesion" in classes:
        cleaned += [
            replace(one, min_lesion_ml=least)
            for one in cleaned[1:] or cleaned
            for least in LEAST_ML
        ]
    moved = [thresholds]
    for channel in range(len(classes)):
        before, after = thresholds[:channel], thresholds[channel + 1 :]
        moved += [(*before, value, *after) for value in THRESHOLDS]
    return [replace(one, thresholds=values) for values in dict.fromkeys(moved) for one in cleaned]
