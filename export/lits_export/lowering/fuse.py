"""The network rewritten for inference: the same function in fewer, faster operations."""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.regnet import ResBottleneckBlock

from lits_train.network.segmentation_network import SegmentationNetwork

BLOCK = 16
"""Channels that ONNX Runtime's blocked CPU kernels process at once with AVX-512.

They run a grouped convolution only if each group is that wide; RegNetY-400MF's groups have 8."""


def for_inference(network: SegmentationNetwork) -> SegmentationNetwork:
    """A copy with batch norm folded into the convolutions and groups of `BLOCK` channels."""
    rewritten = copy.deepcopy(network).eval()
    for module in list(rewritten.modules()):
        if isinstance(module, nn.Sequential | nn.ModuleList):
            _fold_batch_norm(module)
    for module in rewritten.modules():
        if isinstance(module, ResBottleneckBlock):
            _widen_groups(module)
    return rewritten


def _fold_batch_norm(sequence: nn.Sequential | nn.ModuleList) -> None:
    for index in range(len(sequence) - 1):
        convolution, norm = sequence[index], sequence[index + 1]
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        if isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d):
            transposed = isinstance(convolution, nn.ConvTranspose2d)
            sequence[index] = fuse_conv_bn_eval(convolution, norm, transposed)
            sequence[index + 1] = nn.Identity()


def _widen_groups(block: ResBottleneckBlock) -> None:
    """Join neighbouring groups of the bottleneck; the weights between them are zero.

    An odd group is joined with added channels that are zero throughout the block.
    """
    parts = block.f
    grouped = parts.b[0]
    width = grouped.in_channels // grouped.groups
    if width >= BLOCK or BLOCK % width:
        return
    channels = -(-grouped.in_channels // BLOCK) * BLOCK
    parts.a[0] = _padded(parts.a[0], outputs=channels)
    parts.b[0] = _joined(grouped, channels)
    parts.se.fc1 = _padded(parts.se.fc1, inputs=channels)
    parts.se.fc2 = _padded(parts.se.fc2, outputs=channels)
    parts.c[0] = _padded(parts.c[0], inputs=channels)


def _padded(convolution: nn.Conv2d, inputs: int = 0, outputs: int = 0) -> nn.Conv2d:
    """A 1 x 1 convolution with added channels, whose weights are zero."""
    return _filled(
        nn.Conv2d(
            inputs or convolution.in_channels,
            outputs or convolution.out_channels,
            kernel_size=1,
            stride=convolution.stride,  # type: ignore[arg-type]
            dtype=convolution.weight.dtype,
        ),
        convolution,
        [(slice(convolution.out_channels), slice(convolution.in_channels))],
    )


def _joined(convolution: nn.Conv2d, channels: int) -> nn.Conv2d:
    """A grouped convolution with added channels, in groups of `BLOCK`."""
    width = convolution.in_channels // convolution.groups
    starts = range(0, convolution.in_channels, width)
    return _filled(
        nn.Conv2d(
            channels,
            channels,
            convolution.kernel_size,  # type: ignore[arg-type]
            convolution.stride,  # type: ignore[arg-type]
            convolution.padding,  # type: ignore[arg-type]
            groups=channels // BLOCK,
            dtype=convolution.weight.dtype,
        ),
        convolution,
        [(slice(i, i + width), slice(i % BLOCK, i % BLOCK + width)) for i in starts],
    )


@torch.no_grad()
def _filled(
    larger: nn.Conv2d, convolution: nn.Conv2d, places: list[tuple[slice, slice]]
) -> nn.Conv2d:
    """`larger` with the weights of the given convolution, and zero elsewhere.

    Args:
        larger: to be filled.
        convolution: with a bias.
        places: output channels, the same in both, and where their inputs lie in `larger`.
    """
    assert larger.bias is not None and convolution.bias is not None
    larger.weight.zero_()
    larger.bias.zero_()
    larger.bias[: convolution.out_channels] = convolution.bias
    for outputs, inputs in places:
        larger.weight[outputs, inputs] = convolution.weight[outputs]
    return larger.eval()
