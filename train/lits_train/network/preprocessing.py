"""From Hounsfield units to the network's input, and the same resize for labels and spacing."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lits_runtime.labels import LESION, LIVER
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.label_volume import to_labels
from lits_train.settings.recipe import Recipe

STORABLE_HU = (-65536.0, 65536.0)
"""Beyond anything that 16 bits hold; the range of larger float32 values would be infinite."""


class Preprocessing(nn.Module):
    """A slab of HU to the network's input: resized, scaled to 0..1, context slices as channels.

    This is the only definition of the preprocessing: the export traces `forward`, and training,
    which keeps slices at working size, calls `of_batch`. All of it is float32 in every precision,
    because sums and ranges of raw HU do not fit float16.
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
        resized_hu = resize(slab_hu, (self.size, self.size))
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
            slice_range_hu: (..., 2), minimum and maximum HU of each slice before it was resized;
                needed by a recipe without a window.
        """
        if self.window_hu is not None:
            low, high = self.window_hu
            return (resized_hu.clamp(low, high) - low) / (high - low)
        assert slice_range_hu is not None
        low_hu, high_hu = slice_range_hu[..., 0, None, None], slice_range_hu[..., 1, None, None]
        return (resized_hu - low_hu) / (high_hu - low_hu).clamp(min=1)  # 1: of a constant slice


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of float32 (..., height, width), with an antialiasing filter.

    What torch's `interpolate` computes with `antialias`, as two matrix products: engines ignore
    (OpenVINO) or refuse (TensorRT, WebGPU) the antialiasing of ONNX's Resize.
    """
    with torch.autocast(images.device.type, enabled=False):  # half precision cannot resolve HU
        rows, columns = (
            resize_weights(old, new, images.device)
            for old, new in zip(images.shape[-2:], size, strict=True)
        )
        return rows @ images @ columns.T


def resize_weights(old: int, new: int, device: torch.device | None = None) -> Tensor:
    """What each of `old` pixels in a line contributes to each of `new`, float32 (new, old).

    The weights of a new pixel fall linearly with the distance of the centres, to zero at the width
    of a pixel: a new one, or an old one if that is wider.

    >>> resize_weights(4, 2)
    tensor([[0.4286, 0.4286, 0.1429, 0.0000],
            [0.0000, 0.1429, 0.4286, 0.4286]])
    """
    centres = torch.arange(old, dtype=torch.float32, device=device) + 0.5
    scale = (centres.amax(dim=0) + 0.5) / new  # not old / new, which a trace would keep as it is
    new_centres = (torch.arange(new, dtype=torch.float32, device=device) + 0.5) * scale
    distances = (centres - new_centres[:, None]).abs() / scale.clamp(min=1)
    weights = (1 - distances).clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True)


def range_hu(slab_hu: Tensor) -> Tensor:
    """Minimum and maximum HU of each slice, (..., height, width) to (..., 2)."""
    return torch.stack([slab_hu.amin(dim=(-2, -1)), slab_hu.amax(dim=(-2, -1))], dim=-1)


def resize_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest-neighbour resize of uint8 (n, height, width) to `size`."""
    return functional.interpolate(labels[None], size=size, mode="nearest-exact")[0]


def label_shares(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """The fractions of each pixel that are liver and lesion, from labels uint8 (n, height, width).

    Labels are resized as HU are, so that a target holds what the network can see of it.

    Returns:
        uint8 (n, 2, *size), in 255ths.
    """
    masks = torch.stack([labels >= LIVER, labels == LESION], dim=1)
    return resize(masks.float() * 255, size).round().to(torch.uint8)


def resized_slab(
    slab_hu: NDArray[np.float32], labels: NDArray[np.float32], size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """HU and labels (n, height, width) to `hu`, `range_hu` and `labels` at working size."""
    full_hu = torch.from_numpy(np.require(slab_hu, requirements="W"))  # a file of floats is mapped
    hu = resize(full_hu, (size, size))
    small = resize_labels(torch.from_numpy(to_labels(labels, "segmentation")), (size, size))
    return hu, range_hu(full_hu), small


def working_spacing_mm(geometry: Geometry, size: int) -> tuple[float, float, float]:
    """Spacing of slices, rows and columns once the slices are resized to size x size."""
    slices, rows, columns = geometry.canonical_spacing_mm
    height, width = geometry.canonical_shape[1:]
    return slices, rows * height / size, columns * width / size
