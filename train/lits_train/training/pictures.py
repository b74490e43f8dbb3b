"""Pictures of slices with masks, for the logs."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.utils import draw_segmentation_masks, make_grid, save_image

from lits_runtime.files.atomic import atomic_path

WINDOW_HU = (-150.0, 250.0)
_COLOURS = {"liver": "yellow", "lesion": "red"}


def comparison(hu: Tensor, masks_gt: Tensor, masks_pred: Tensor, classes: Sequence[str]) -> Tensor:
    """Slices in rows: plain, with the masks of the reference, and with those of the network.

    Args:
        hu: (n, height, width), displayed in an abdominal window.
        masks_gt: bool (n, classes, height, width).
        masks_pred: the same.
        classes: their names.

    Returns:
        uint8 (3, height of all rows, width of all columns).
    """
    low, high = WINDOW_HU
    grey = ((hu - low) / (high - low)).clamp(0, 1).mul(255).to(torch.uint8)
    colours = [_COLOURS[name] for name in classes]
    cells: list[Tensor] = []
    for plain, reference, predicted in zip(grey, masks_gt, masks_pred, strict=True):
        slice_rgb = plain.expand(3, -1, -1)
        cells.append(slice_rgb)
        for masks in (reference, predicted):  # torchvision does not colour overlaps
            alone = masks & (masks.flip(0).cumsum(0).flip(0) == 1)
            cells.append(draw_segmentation_masks(slice_rgb, alone, alpha=0.4, colors=colours))
    grid: Tensor = make_grid(cells, nrow=3, padding=2)
    return grid


def write_png(path: Path, picture: Tensor) -> None:
    """Write a picture, uint8 (3, height, width)."""
    with atomic_path(path) as temporary:
        save_image(picture.float() / 255, temporary, format="png")
