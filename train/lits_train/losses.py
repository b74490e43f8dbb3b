"""What training minimises, and the Dice score that judges it."""

import torch
from torch import Tensor
from torch.nn import functional


def segmentation_loss(logits: Tensor, targets: Tensor, dice_weight: float) -> Tensor:
    """Binary cross-entropy with logits plus `dice_weight` times one minus the soft Dice.

    Args:
        logits: float (n, classes, h, w); resized to the targets' size if it differs.
        targets: masks of 0 and 1, float (n, classes, height, width).
        dice_weight: 0 for cross-entropy alone, as the seed recipe has it.

    The soft Dice is pooled over the batch (Milletari et al., V-Net, 2016): a slice without lesions
    then does not count as a perfect one.
    """
    if logits.shape[2:] != targets.shape[2:]:
        logits = functional.interpolate(
            logits, size=targets.shape[2:], mode="bilinear", align_corners=False
        )
    logits = logits.float()
    loss = functional.binary_cross_entropy_with_logits(logits, targets)
    if dice_weight:
        probability = logits.sigmoid()
        overlap = (probability * targets).sum(dim=(0, 2, 3))
        total = probability.sum(dim=(0, 2, 3)) + targets.sum(dim=(0, 2, 3))
        loss = loss + dice_weight * (1 - (2 * overlap + 1) / (total + 1)).mean()
    return loss


class DiceCounter:
    """Counts voxels by case and class, so that Dice is that of the whole case."""

    def __init__(self, cases: int, classes: int) -> None:
        self.overlap = torch.zeros(cases, classes)
        self.total = torch.zeros(cases, classes)

    def add(self, masks_pred: Tensor, masks_gt: Tensor, cases: Tensor) -> None:
        """Add slices: masks (n, classes, h, w) of 0 and 1, and the index (n,) of their case."""
        overlap = (masks_pred * masks_gt).sum(dim=(2, 3)).cpu()
        total = (masks_pred.sum(dim=(2, 3)) + masks_gt.sum(dim=(2, 3))).cpu()
        self.overlap.index_add_(0, cases, overlap)
        self.total.index_add_(0, cases, total)

    def mean_dice(self) -> list[float]:
        """Dice per class, mean over the cases; a class absent from both masks scores 1."""
        dice = torch.where(self.total > 0, 2 * self.overlap / self.total.clamp(min=1), 1.0)
        return [float(value) for value in dice.mean(dim=0)]
