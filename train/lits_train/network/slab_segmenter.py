"""The model contract as one torch module, from Hounsfield units to labels; the export traces it."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lits_runtime.labels import LABEL_VALUES
from lits_train.network.preprocessing import Preprocessing
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.settings.recipe import Recipe


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
