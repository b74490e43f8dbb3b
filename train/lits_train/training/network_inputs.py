"""From a batch of samples to what the network and the loss take."""

from typing import cast

import torch
from torch import Tensor

from lits_runtime.labels import LABEL_VALUES, LESION, LIVER
from lits_train.network.preprocessing import Preprocessing
from lits_train.samples.dataset import Sample
from lits_train.settings.recipe import LESION_UNKNOWN, Recipe


def to_device(batch: Sample, device: torch.device) -> Sample:
    """The batch with all its tensors on the device."""
    moved = {
        name: cast(Tensor, tensor).to(device, non_blocking=True) for name, tensor in batch.items()
    }
    return cast(Sample, moved)


def network_inputs(
    batch: Sample, preprocessing: Preprocessing, recipe: Recipe
) -> tuple[Tensor, Tensor, Tensor]:
    """The network's input, the target masks, and where the targets are known.

    Returns:
        float32 (n, 3, size, size) in 0..1, channels last; target masks, float32 (n, classes, size,
        size), of 0 and 1 or, with soft labels, anything between; and in that shape 1 where a target
        is known, 0 elsewhere.
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


def class_targets(labels: Tensor, classes: tuple[str, ...]) -> Tensor:
    """Labels (..., height, width) to float32 masks (..., classes, height, width).

    >>> class_targets(torch.tensor([[0, 1, 2, 3]]), ("liver", "lesion")).tolist()
    [[[0.0, 1.0, 1.0, 1.0]], [[0.0, 0.0, 1.0, 0.0]]]
    """
    masks = {"liver": labels >= LIVER, "lesion": labels == LESION}
    return torch.stack([masks[name] for name in classes], dim=-3).float()


def share_targets(shares: Tensor, classes: tuple[str, ...]) -> Tensor:
    """Shares (..., 2, height, width) to float32 targets (..., classes, height, width)."""
    channels = [LABEL_VALUES[name] - 1 for name in classes]
    return shares[..., channels, :, :].float() / 255


def known_pixels(labels: Tensor, liver_only: Tensor, classes: tuple[str, ...]) -> Tensor:
    """1 where the target of a pixel counts for a class, 0 where it is unknown.

    Args:
        labels: (n, height, width), `LESION_UNKNOWN` where liver may be lesion.
        liver_only: bool (n,), slices whose lesions are not marked.
        classes: the recipe's.

    Returns:
        float32 (n, classes, height, width).
    """
    lesion = (labels != LESION_UNKNOWN) & ~liver_only[:, None, None]
    known = {"liver": torch.ones_like(lesion), "lesion": lesion}
    return torch.stack([known[name] for name in classes], dim=1).float()
