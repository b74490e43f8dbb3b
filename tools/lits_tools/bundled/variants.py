"""Recipes that are compared with the default one on the same folds."""

from dataclasses import replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.settings.recipe import BASELINE, DEFAULT, Recipe

OLD: dict[str, Any] = {
    "window_hu": (0.0, 250.0),
    "size": 192,
    "learning_rate": 2e-3,
    "schedule": "cosine",
    "batch_size": 16,
    "ema_decay": 0.99,
    "context_slices": 0,
    "lesion_share": 0.3,
    "liver_share": 0.5,
    "case_balance": 0.0,
    "elastic": 0.008,
    "synthetic_lesions": 0.5,
    "neighbour_reach": 1,
    "made_up_neighbours": 0.0,
    "crop": 0,
    "whole_slices": 0.0,
    "soft_labels": False,
    "subpixel_head": False,
}
"""The bundled model's recipe of version 0.2."""
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "old": OLD,
    "one-slice": {"context_slices": 0},
    "nearest-labels": {"soft_labels": False},
    "coarse-head": {"soft_labels": False, "subpixel_head": False},
    "whole-slices": {"crop": 0},
    "no-synthetic": {"synthetic_lesions": 0.0},
    "no-balance": {"case_balance": 0.0},
    "near-neighbours": {"neighbour_reach": 1, "made_up_neighbours": 0.0},
    "wide-window": {"window_hu": (-40.0, 160.0)},
    "size-256": {"size": 256, "crop": 160},
    "wide-decoder": {"decoder_channels": (64, 48, 32, 32)},
}
BASELINE_NAME = "baseline"
"""The baseline recipe for as many minutes as "default" took; it predicts the liver as well, so that
the two can be compared."""


def variant(name: str, settings: dict[str, Any]) -> Recipe:
    """The recipe of a variant.

    Args:
        name: a key of `VARIANTS`, or `BASELINE_NAME`.
        settings: common to all variants of the default recipe.
    """
    if name == BASELINE_NAME:
        classes, thresholds = DEFAULT.classes, DEFAULT.thresholds
        return replace(BASELINE, classes=classes, thresholds=thresholds, epochs=10_000)
    return replace(DEFAULT, **settings | VARIANTS[name])


def gmac(recipe: Recipe) -> float:
    """Multiply-accumulate operations of a recipe's network for one slice, in billions."""
    network = SegmentationNetwork(recipe).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, recipe.size, recipe.size))
    return float(counter.get_total_flops()) / 2e9
