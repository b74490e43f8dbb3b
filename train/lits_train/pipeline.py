"""Everything between Hounsfield units and the label map, as torch modules that export traces."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lits_train.network import SegmentationNetwork
from lits_train.recipe import LABEL_VALUES, Recipe

STORABLE_HU = (-65536.0, 65536.0)
"""Beyond every CT that 16 bits hold; the range of larger float32 values would be infinite."""


class Preprocessing(nn.Module):
    """A slab of HU to the network's input: scaled to 0..1, resized, context slices as channels.

    The one definition of the preprocessing: training calls it, and the export traces it. All of it
    is float32 in every precision, because sums and ranges of raw HU do not fit float16.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.size = recipe.size
        self.context_slices = recipe.context_slices
        self.window_hu = recipe.window_hu

    def forward(self, slab_hu: Tensor) -> Tensor:
        """(n + 2 * context_slices, height, width) HU to (n, 3, size, size) in 0..1."""
        if self.window_hu is None:
            slab_hu = slab_hu.clamp(*STORABLE_HU)
            low_hu = slab_hu.amin(dim=(1, 2), keepdim=True)
            high_hu = slab_hu.amax(dim=(1, 2), keepdim=True)
            range_hu = (high_hu - low_hu).clamp(min=1e-3).unsqueeze(1)  # a constant slice: all 0
            above_hu = slab_hu - low_hu
        else:
            low, high = self.window_hu
            above_hu = slab_hu.clamp(low, high) - low
            range_hu = torch.tensor(high - low)
        # Dividing after the resize comes to the same and takes a sixteenth of the time.
        scaled = resize(above_hu.unsqueeze(1), (self.size, self.size)) / range_hu
        if self.context_slices:
            n = scaled.shape[0] - 2
            return torch.cat([scaled[0:n], scaled[1 : n + 1], scaled[2 : n + 2]], dim=1)
        return torch.cat([scaled, scaled, scaled], dim=1)


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


def resize_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest-neighbour resize of uint8 (height, width) to `size`."""
    return functional.interpolate(labels[None, None], size=size, mode="nearest-exact")[0, 0]


def class_targets(labels: Tensor, classes: tuple[str, ...]) -> Tensor:
    """LiTS labels (..., height, width) to float32 masks (..., classes, height, width).

    >>> class_targets(torch.tensor([[0, 1, 2]]), ("liver", "lesion")).tolist()
    [[[0.0, 1.0, 1.0]], [[0.0, 0.0, 1.0]]]
    """
    return torch.stack([labels >= LABEL_VALUES[name] for name in classes], dim=-3).float()
