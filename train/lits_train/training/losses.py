"""The loss that training minimises, and the Dice score that selects the best epoch."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from lits_train.settings.recipe import Recipe


def segmentation_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor,
    recipe: Recipe,
    total: Callable[[Tensor], Tensor] = lambda sums: sums,
) -> Tensor:
    """Binary cross-entropy with logits plus `recipe.dice_weight` times one minus the soft Dice.

    Both are computed over all slices of a batch together, so that a slice without lesions does not
    count as a perfect one (Milletari et al., V-Net, 2016). With `recipe.focal_gamma`, a pixel's
    cross-entropy is weighted by (1 - probability of its true class) ** gamma (Lin et al., ICCV
    2017).

    Args:
        logits: float (n, classes, h, w), resized to the targets' size if necessary.
        targets: masks of 0 and 1, float (n, classes, height, width).
        known: float, in the targets' shape, 1 where the target is known, else 0.
        recipe: its weights.
        total: adds up sums (..., classes) over all processes, for the loss of the whole batch.
    """
    if logits.shape[2:] != targets.shape[2:]:
        logits = functional.interpolate(
            logits, size=targets.shape[2:], mode="bilinear", align_corners=False
        )
    logits = logits.float()
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if recipe.focal_gamma:
        entropy = entropy * (1 - torch.exp(-entropy)) ** recipe.focal_gamma
    sums = [(entropy * known).sum(dim=(0, 2, 3)), known.sum(dim=(0, 2, 3))]
    if recipe.dice_weight:
        probability, masks = logits.sigmoid() * known, targets * known
        sums += [(probability * masks).sum(dim=(0, 2, 3)), (probability + masks).sum(dim=(0, 2, 3))]
    sums = list(total(torch.stack(sums)))
    loss = sums[0].sum() / sums[1].sum().clamp(min=1)
    if recipe.dice_weight:
        dice = (2 * sums[2] + 1) / (sums[3] + 1)
        loss = loss + recipe.dice_weight * (1 - dice).mean()
    return loss


class DiceCounter:
    """Counts voxels by case and class, for the Dice of whole cases."""

    def __init__(self, cases: int, classes: int) -> None:
        self.overlap = torch.zeros(cases, classes)
        self.total = torch.zeros(cases, classes)
        self.present = torch.zeros(cases, classes)
        """Pixels of the reference."""
        self.unknown = torch.zeros(cases, classes)
        """Pixels whose class is unknown."""

    @property
    def counts(self) -> tuple[Tensor, ...]:
        """The counts, to be added up over processes."""
        return self.overlap, self.total, self.present, self.unknown

    def add(self, masks_pred: Tensor, masks_gt: Tensor, known: Tensor, cases: Tensor) -> None:
        """Add slices.

        Args:
            masks_pred: of 0 and 1, (n, classes, h, w).
            masks_gt: the same.
            known: the same, 0 where the reference is unknown.
            cases: (n,), index of the case of every slice.
        """
        cases = cases.cpu()
        masks_pred, masks_gt = masks_pred * known, masks_gt * known
        slices = (masks_pred * masks_gt, masks_pred + masks_gt, masks_gt, 1 - known)
        for count, pixels in zip(self.counts, slices, strict=True):
            count.index_add_(0, cases, pixels.sum(dim=(2, 3)).cpu())

    def mean_dice(self) -> list[float]:
        """Dice per class, as the mean over cases; 1 if a class is absent from both masks.

        A partly labelled case counts for a class only if the class occurs in it: otherwise a single
        pixel would decide between 0 and 1. The mean is NaN if the class occurs in no case, where an
        empty mask would always be perfect.
        """
        dice = torch.where(self.total > 0, 2 * self.overlap / self.total.clamp(min=1), 1.0)
        counts = ((self.present > 0) | (self.unknown == 0)).float()
        means = (dice * counts).sum(dim=0) / counts.sum(dim=0)
        seen = (self.present > 0).any(dim=0)
        return [float(value) for value in torch.where(seen, means, torch.nan)]
