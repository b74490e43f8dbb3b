"""From a batch of samples to what the network and the loss take."""

from typing import cast

import torch
from torch import Tensor

from lits_train.network.slab_segmenter import (
    Preprocessing,
    class_targets,
    known_pixels,
    share_targets,
)
from lits_train.samples.dataset import Sample
from lits_train.settings.recipe import Recipe


def to_device(batch: Sample, device: torch.device) -> Sample:
    """The batch with all its tensors on the device."""
    moved = {
        name: cast(Tensor, tensor).to(device, non_blocking=True) for name, tensor in batch.items()
    }
    return cast(Sample, moved)


def network_inputs(
    batch: Sample, preprocessing: Preprocessing, recipe: Recipe
) -> tuple[Tensor, Tensor, Tensor]:
    """A batch's network input, target masks and where they count.

    Returns:
        float32 (n, 3, size, size) in 0..1, channels last; masks, float32 (n, classes, size, size),
        of 0 and 1 or with soft labels anything between; and of that shape 1 where a target is
        known, 0 elsewhere.
    """
    scaled = preprocessing.of_batch(batch["hu"], batch["range_hu"])
    middle = batch["labels"][:, recipe.context_slices]
    targets = (
        share_targets(batch["shares"], recipe.classes)
        if recipe.soft_labels
        else class_targets(middle, recipe.classes)
    )
    return (
        scaled.contiguous(memory_format=torch.channels_last),
        targets,
        known_pixels(middle, batch["liver_only"], recipe.classes),
    )
