"""Everything between Hounsfield units and the label map, as torch modules that export traces."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.settings.recipe import LABEL_VALUES, LESION_UNKNOWN, Recipe

STORABLE_HU = (-65536.0, 65536.0)
"""Beyond every CT that 16 bits hold; the range of larger float32 values would be infinite."""


class Preprocessing(nn.Module):
    """A slab of HU to the network's input: resized, scaled to 0..1, context slices as channels.

    The one definition of the preprocessing: the export traces `forward`, and training, which keeps
    slices at working size, calls `scale`. All of it is float32 in every precision, because sums and
    ranges of raw HU do not fit float16.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.size = recipe.size
        self.context_slices = recipe.context_slices
        self.window_hu = recipe.window_hu

    def forward(self, slab_hu: Tensor) -> Tensor:
        """(n + 2 * context_slices, height, width) HU to (n, 3, size, size) in 0..1."""
        slab_hu = slab_hu.clamp(*STORABLE_HU)
        slice_range_hu = None
        if self.window_hu is None:  # from 0, so that a constant slice is 0 without rounding errors
            slice_range_hu = range_hu(slab_hu)
            slab_hu = slab_hu - slice_range_hu[..., :1, None]
            slice_range_hu = slice_range_hu - slice_range_hu[..., :1]
        resized_hu = resize(slab_hu.unsqueeze(1), (self.size, self.size))[:, 0]
        scaled = self.scale(resized_hu, slice_range_hu)
        if self.context_slices:
            n = scaled.shape[0] - 2
            return torch.stack([scaled[0:n], scaled[1 : n + 1], scaled[2 : n + 2]], dim=1)
        return torch.stack([scaled, scaled, scaled], dim=1)

    def of_batch(self, hu: Tensor, slice_range_hu: Tensor) -> Tensor:
        """`hu` and `range_hu` of a batch of samples to the network's input (n, 3, size, size)."""
        scaled = self.scale(hu, slice_range_hu)
        return scaled if self.context_slices else scaled.expand(-1, 3, -1, -1)

    def scale(self, resized_hu: Tensor, slice_range_hu: Tensor | None) -> Tensor:
        """HU (..., height, width) to 0..1.

        Args:
            resized_hu: slices at working size.
            slice_range_hu: (..., 2), least and greatest HU of each slice before it was resized;
                needed by a recipe without a window.
        """
        if self.window_hu is not None:
            low, high = self.window_hu
            return (resized_hu.clamp(low, high) - low) / (high - low)
        assert slice_range_hu is not None
        low_hu, high_hu = slice_range_hu[..., 0, None, None], slice_range_hu[..., 1, None, None]
        return (resized_hu - low_hu) / (high_hu - low_hu).clamp(min=1)  # of a constant slice


class SlabSegmenter(nn.Module):
    """The model contract: a slab of HU in, LiTS labels and probabilities on the same grid out."""

    logit_thresholds: Tensor

    def __init__(self, recipe: Recipe, network: SegmentationNetwork) -> None:
        super().__init__()
        self.recipe = recipe
        self.preprocessing = Preprocessing(recipe)
        self.network = network
        thresholds = torch.tensor(recipe.thresholds).logit().view(1, -1, 1, 1)
        self.register_buffer("logit_thresholds", thresholds, persistent=False)

    def forward(self, slab_hu: Tensor) -> tuple[Tensor, Tensor]:
        """Segment a slab.

        Args:
            slab_hu: float32 (n + 2 * context_slices, height, width), canonical orientation.

        Returns:
            labels, uint8 (n, height, width), and probability, float32 (n, classes, height, width).
        """
        logits = self.logits(slab_hu)
        return self.merge(logits >= self.logit_thresholds), logits.sigmoid()

    def logits(self, slab_hu: Tensor) -> Tensor:
        """Logits, float32 (n, classes, height, width), on the slab's own grid."""
        logits = self.network(self.preprocessing(slab_hu)).float()
        return functional.interpolate(
            logits, size=slab_hu.shape[1:], mode="bilinear", align_corners=False
        )

    def merge(self, masks: Tensor) -> Tensor:
        """Masks (n, classes, height, width) to labels (n, height, width); later classes win."""
        labels = torch.zeros_like(masks[:, 0], dtype=torch.uint8)
        for channel, name in enumerate(self.recipe.classes):
            labels = torch.where(masks[:, channel], LABEL_VALUES[name], labels).to(torch.uint8)
        return labels


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize with an antialiasing filter, of float (n, channels, height, width)."""
    return functional.interpolate(
        images, size=size, mode="bilinear", align_corners=False, antialias=True
    )


def range_hu(slab_hu: Tensor) -> Tensor:
    """Least and greatest HU of each slice, (..., height, width) to (..., 2)."""
    return torch.stack([slab_hu.amin(dim=(-2, -1)), slab_hu.amax(dim=(-2, -1))], dim=-1)


def resize_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest-neighbour resize of uint8 (n, height, width) to `size`."""
    return functional.interpolate(labels[None], size=size, mode="nearest-exact")[0]


def label_shares(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """What part of each pixel is liver and what part lesion, of labels uint8 (n, height, width).

    The same resize as that of the HU, so that a target says what the network can see of it.

    Returns:
        uint8 (n, 2, *size), in 255ths.
    """
    masks = torch.stack([labels >= LABEL_VALUES["liver"], labels == LABEL_VALUES["lesion"]], dim=1)
    return resize(masks.float() * 255, size).round().to(torch.uint8)


def share_targets(shares: Tensor, classes: tuple[str, ...]) -> Tensor:
    """Shares (..., 2, height, width) to float32 targets (..., classes, height, width)."""
    channels = [LABEL_VALUES[name] - 1 for name in classes]
    return shares[..., channels, :, :].float() / 255


def class_targets(labels: Tensor, classes: tuple[str, ...]) -> Tensor:
    """Labels (..., height, width) to float32 masks (..., classes, height, width).

    >>> class_targets(torch.tensor([[0, 1, 2, 3]]), ("liver", "lesion")).tolist()
    [[[0.0, 1.0, 1.0, 1.0]], [[0.0, 0.0, 1.0, 0.0]]]
    """
    masks = {"liver": labels >= LABEL_VALUES["liver"], "lesion": labels == LABEL_VALUES["lesion"]}
    return torch.stack([masks[name] for name in classes], dim=-3).float()


def known_pixels(labels: Tensor, liver_only: Tensor, classes: tuple[str, ...]) -> Tensor:
    """What slices tell of each class: 1 where a pixel's target counts, 0 where nobody knows it.

    Args:
        labels: (n, height, width), with `LESION_UNKNOWN` where that is so.
        liver_only: bool (n,), slices that tell nothing of lesions.
        classes: the recipe's.

    Returns:
        float32 (n, classes, height, width).
    """
    lesion = (labels != LESION_UNKNOWN) & ~liver_only[:, None, None]
    known = {"liver": torch.ones_like(lesion), "lesion": lesion}
    return torch.stack([known[name] for name in classes], dim=1).float()
