"""Means over the neighbourhood of each pixel."""

from torch import Tensor
from torch.nn import functional


def local_mean(values: Tensor, side: int) -> Tensor:
    """Means over squares around each pixel, as far as they lie within the picture.

    Beyond its border nothing is counted: a liver that a crop cuts has no surface there.

    Args:
        values: (n, channels, height, width).
        side: of the square, in pixels; odd.
    """
    return functional.avg_pool2d(values, side, stride=1, padding=side // 2, count_include_pad=False)
