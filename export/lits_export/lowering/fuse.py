"""The network rewritten for inference: the same function, in fewer and faster operations."""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.regnet import ResBottleneckBlock

from lits_train.network.segmentation_network import SegmentationNetwork

BLOCK = 16
"""Channels that ONNX Runtime's blocked CPU kernels work on at once with AVX-512.

They take a grouped convolution only if each group is as wide: RegNetY-400MF's of 8 miss them."""


def for_inference(network: SegmentationNetwork) -> SegmentationNetwork:
    """A copy with batch norm folded into the convolutions and groups of `BLOCK` channels."""
    rewritten = copy.deepcopy(network).eval()
    for module in list(rewritten.modules()):
        if isinstance(module, nn.Sequential):
            _fold_batch_norm(module)
    for module in rewritten.modules():
        if isinstance(module, ResBottleneckBlock):
            _widen_groups(module)
    return rewritten


def _fold_batch_norm(sequence: nn.Sequential) -> None:
    for index in range(len(sequence) - 1):
        convolution, norm = sequence[index], sequence[index + 1]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            sequence[index] = fuse_conv_bn_eval(convolution, norm)
            sequence[index + 1] = nn.Identity()


def _widen_groups(block: ResBottleneckBlock) -> None:
    """Join neighbouring groups of the bottleneck, their cross weights zero.

    An odd group is joined with channels that are zero from the convolution before to the one after.
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
    """A 1 x 1 convolution with further channels, whose weights are zero."""
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
    """A grouped convolution on more channels, in groups of `BLOCK`."""
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
    """`larger`, zero but for the given convolution's weights.

    Args:
        larger: to be filled.
        convolution: has a bias.
        places: of its weights in those of `larger`: output channels, the same in both, and inputs.
    """
    assert larger.bias is not None and convolution.bias is not None
    larger.weight.zero_()
    larger.bias.zero_()
    larger.bias[: convolution.out_channels] = convolution.bias
    for outputs, inputs in places:
        larger.weight[outputs, inputs] = convolution.weight[outputs]
    return larger.eval()
