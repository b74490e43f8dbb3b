"""Decoders of other networks, built layer by layer from a recipe's `decoder_layers`."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lits_train.settings.decoder_layers import Layer


class Skip(nn.Module):
    """Concatenates a stage of the encoder behind the features."""

    def __init__(self, stage: int) -> None:
        super().__init__()
        self.stage = stage


class Doubling(nn.Module):
    """Doubles height and width as `nn.Upsample` does, by operators that every engine has."""

    def __init__(self, kind: str, channels: int) -> None:
        super().__init__()
        self.kind, self.channels = kind, channels

    def forward(self, features: Tensor) -> Tensor:
        """(n, channels, h, w) to (n, channels, 2h, 2w)."""
        if self.kind == "nearest":
            ones = torch.ones(self.channels, 1, 2, 2, dtype=features.dtype, device=features.device)
            return functional.conv_transpose2d(features, ones, stride=2, groups=self.channels)
        corners = self.kind == "bilinear-corners"
        rows, columns = (_doubling(int(size), corners).to(features) for size in features.shape[2:])
        doubled: Tensor = rows @ features @ columns.T
        return doubled


def _doubling(size: int, corners: bool) -> Tensor:
    """The matrix (2 * size, size) that doubles a line of values by linear interpolation."""
    at = torch.arange(2 * size, dtype=torch.float64)
    at = at * (size - 1) / (2 * size - 1) if corners else (at + 0.5) / 2 - 0.5
    distance = (at.clamp(0, size - 1)[:, None] - torch.arange(size, dtype=torch.float64)).abs()
    return (1 - distance).clamp(min=0).float()


class LayeredDecoder(nn.ModuleList):
    """Layers in a row; a skip takes the encoder's stage of the features' size."""

    def __init__(self, layers: Sequence[Layer], encoder_channels: Sequence[int]) -> None:
        modules, self.channels, self.stage = [], encoder_channels[-1], len(encoder_channels)
        for layer in layers:
            self.stage -= layer.doubles
            modules.append(_module(layer, self.channels, self.stage - 1))
            if layer.kind == "skip":
                self.channels += encoder_channels[self.stage - 1]
            self.channels = layer.channels or self.channels
        super().__init__(modules)

    def decode(self, stages: Sequence[Tensor]) -> Tensor:
        """The encoder's stages, each (n, channels, h, w), to the features that the head takes."""
        features = stages[-1]
        for layer in self:
            if isinstance(layer, Skip):
                features = torch.cat([features, stages[layer.stage]], dim=1)
            else:
                features = layer(features)
        return features


def convolution(layer: Layer, inputs: int) -> nn.Conv2d | nn.ConvTranspose2d:
    """A convolution, plain or transposed."""
    if layer.kind == "conv":
        return nn.Conv2d(inputs, layer.channels, layer.kernel, padding=layer.kernel // 2)
    padding, odd = (layer.kernel - 1) // 2, layer.kernel % 2
    return nn.ConvTranspose2d(inputs, layer.channels, layer.kernel, 2, padding, odd)


def enlarging(layers: Sequence[Layer], channels: int) -> nn.Sequential:
    """What enlarges the logits behind the head."""
    return nn.Sequential(*(Doubling(layer.kind, channels) for layer in layers))


def _module(layer: Layer, inputs: int, stage: int) -> nn.Module:
    if layer.convolves:
        return convolution(layer, inputs)
    if layer.kind == "norm":
        return nn.BatchNorm2d(inputs)
    if layer.kind == "relu":
        return nn.ReLU()
    return Skip(stage) if layer.kind == "skip" else Doubling(layer.kind, inputs)
