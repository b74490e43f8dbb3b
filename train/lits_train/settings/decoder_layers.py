"""The layers of a decoder that is not ours, as text: "up3 256", "norm", "relu", "conv1 2"."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lits_train.limits import shown

KERNELS = {"up": (2, 3, 4), "conv": (1, 3, 5, 7)}
"""Sizes of kernels: "up" is a transposed convolution that doubles height and width, "conv" keeps
them."""
ENLARGING = ("nearest", "bilinear", "bilinear-corners")
"""Doublings without weights, as `nn.Upsample`; the last with `align_corners=True`."""
PLAIN = ("norm", "relu", "skip", *ENLARGING)
"""Layers without channels of their own: batch norm, ReLU, concatenation of the encoder's stage."""
MOST_LAYERS = 100
MOST_CHANNELS = 1024
MOST_DOUBLINGS = 5
_LAYER = re.compile(r"(up|conv)(\d) (\d{1,4})", re.ASCII)


@dataclass(frozen=True)
class Layer:
    """One layer."""

    kind: str
    """"up", "conv" or one of `PLAIN`."""
    kernel: int = 0
    channels: int = 0
    """Output channels; 0 for a layer without its own."""

    @property
    def doubles(self) -> bool:
        """Whether it doubles height and width."""
        return self.kind == "up" or self.kind in ENLARGING

    @property
    def convolves(self) -> bool:
        """Whether it is a convolution, plain or transposed."""
        return self.kind in KERNELS


def read_layer(text: str) -> Layer:
    """The layer that a text describes.

    >>> read_layer("up3 256"), read_layer("relu").kind
    (Layer(kind='up', kernel=3, channels=256), 'relu')

    Raises:
        ValueError: it describes none.
    """
    if text in PLAIN:
        return Layer(text)
    match = _LAYER.fullmatch(text)
    if match and int(match[2]) in KERNELS[match[1]] and 1 <= int(match[3]) <= MOST_CHANNELS:
        return Layer(match[1], int(match[2]), int(match[3]))
    raise ValueError(
        f"decoder_layers {shown(text)}: expected up2, up3, up4, conv1, conv3, conv5 or conv7 with "
        f'1 to {MOST_CHANNELS} channels, as in "up3 256", or {", ".join(PLAIN)}'
    )


def read_layers(texts: Sequence[str], classes: int) -> list[Layer]:
    """The layers of a decoder with its head.

    Args:
        texts: one for each layer.
        classes: output channels of the last convolution.

    Raises:
        ValueError: a text describes no layer, or the layers make no decoder.
    """
    if len(texts) > MOST_LAYERS:
        raise ValueError(f"decoder_layers: {len(texts)} layers, expected up to {MOST_LAYERS}")
    layers = [read_layer(text) for text in texts]
    convolutions = [layer for layer in layers if layer.convolves]
    if not convolutions or convolutions[-1].channels != classes:
        found = convolutions[-1].channels if convolutions else "no convolution"
        raise ValueError(f"decoder_layers end in {found}, expected {classes}, one for each class")
    if sum(layer.doubles for layer in layers) > MOST_DOUBLINGS:
        raise ValueError(f"decoder_layers double the size more than {MOST_DOUBLINGS} times")
    left = MOST_DOUBLINGS
    for before, layer in zip([Layer(""), *layers], layers, strict=False):
        if layer.kind == "norm" and not before.convolves:
            raise ValueError("decoder_layers: expected each norm right behind a convolution")
        left -= layer.doubles
        if layer.kind == "skip" and not 0 < left < MOST_DOUBLINGS:
            raise ValueError("decoder_layers: a skip where the encoder has no stage of that size")
    last = max(at for at, layer in enumerate(layers) if layer.convolves)
    if any(layer.kind not in ENLARGING for layer in layers[last + 1 :]):
        raise ValueError(f"decoder_layers: behind the last convolution, expected only {ENLARGING}")
    return layers
