"""The end of the network at half its resolution: four pixels as channels of one position."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from lits_train.network.segmentation_network import DecoderStage, SegmentationNetwork


def end_in_four_pixels(network: SegmentationNetwork) -> None:
    """Put the last stage, which must have no skip, and the head into this form: the same function.

    A 3 x 3 convolution of what a transposed one of stride 2 has doubled sees, from each pixel, 2 x
    2 of what was there before: one convolution of 2 x 2 does both, with a quarter of the products
    less and nothing in between. The head then takes four pixels at once, so that logits alone are
    put apart.
    """
    stage = network.decoder[-1]
    assert isinstance(stage, DecoderStage) and isinstance(network.head, nn.Conv2d)
    network.decoder[-1] = FourPixelStage(stage)
    head = nn.Sequential(_head_of_four(network.head), nn.PixelShuffle(2), _Crop())
    network.register_module("head", head)


class FourPixelStage(nn.Module):
    """A `DecoderStage` without a skip.

    Position (i, j) of what it gives holds rows 2i - 1 and 2i, columns 2j - 1 and 2j of what the
    stage gave, so that the outermost rows and columns are none of the image.
    """

    def __init__(self, stage: DecoderStage) -> None:
        super().__init__()
        convolution = stage.conv[0]
        assert isinstance(convolution, nn.Conv2d)
        self.conv = _FourPixels(stage.up, convolution)

    def forward(self, features: Tensor, skip: Tensor | None) -> Tensor:
        """(n, inputs, h, w) to (n, 4 * outputs, h + 1, w + 1)."""
        decoded: Tensor = self.conv(features)
        return decoded


class _FourPixels(nn.Module):
    """Both convolutions and the ReLU of a stage.

    `border` is the transposed one's bias: it runs over ones, because that bias is missing where the
    3 x 3 convolution looks over the border.
    """

    def __init__(self, up: nn.ConvTranspose2d, convolution: nn.Conv2d) -> None:
        super().__init__()
        inputs, outputs, dtype = up.in_channels, 4 * convolution.out_channels, up.weight.dtype
        assert up.bias is not None and convolution.bias is not None
        bias = up.bias.view(1, -1, 1, 1).expand(1, -1, 2, 2)
        weight = _composed(torch.cat([up.weight, bias]), convolution.weight)
        self.features = nn.Conv2d(inputs, outputs, kernel_size=2, padding=1, dtype=dtype)
        self.border = nn.Conv2d(1, outputs, kernel_size=2, padding=1, bias=False, dtype=dtype)
        own_bias = convolution.bias.repeat_interleave(4)
        self.features.load_state_dict({"weight": weight[:, :inputs], "bias": own_bias})
        self.border.load_state_dict({"weight": weight[:, inputs:]})

    def forward(self, features: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, 4 * outputs, h + 1, w + 1)."""
        inside = torch.ones_like(features[:, :1])
        return functional.relu(self.features(features) + self.border(inside))


class _Crop(nn.Module):
    """Without the outermost rows and columns."""

    def forward(self, logits: Tensor) -> Tensor:
        """(n, classes, h + 2, w + 2) to (n, classes, h, w)."""
        return logits[..., 1:-1, 1:-1]


def _composed(up: Tensor, weight: Tensor) -> Tensor:
    """Weights of the one convolution.

    Args:
        up: (inputs, between, 2, 2), of a transposed convolution of stride 2.
        weight: (outputs, between, 3, 3), of the convolution after it.

    Returns:
        (4 * outputs, inputs, 2, 2); channels by output, then row, then column of the pixel.
    """
    inputs, outputs = len(up), len(weight)
    composed = torch.zeros(outputs, 2, 2, inputs, 2, 2, dtype=torch.float64)
    for a, b, y, x in itertools.product(range(2), range(2), range(3), range(3)):
        (row, p), (column, q) = divmod(a + y, 2), divmod(b + x, 2)
        products = weight[:, :, y, x].double() @ up[:, :, p, q].double().T
        composed[:, a, b, :, row, column] += products
    return composed.flatten(0, 2)


def _head_of_four(head: nn.Conv2d) -> nn.Conv2d:
    """The head on each of four pixels."""
    assert head.bias is not None
    weight = torch.kron(head.weight[:, :, 0, 0], torch.eye(4, dtype=head.weight.dtype))
    four = nn.Conv2d(4 * head.in_channels, 4 * head.out_channels, 1, dtype=head.weight.dtype)
    bias = head.bias.repeat_interleave(4)
    four.load_state_dict({"weight": weight[..., None, None], "bias": bias})
    return four
