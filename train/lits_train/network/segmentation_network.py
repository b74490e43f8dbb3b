"""The network: a RegNetY-400MF encoder and a decoder of transposed convolutions."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import RegNet_Y_400MF_Weights, regnet_y_400mf

from lits_runtime.errors import CheckpointError
from lits_runtime.messages import brief
from lits_train.network.layered_decoder import LayeredDecoder, convolution, enlarging
from lits_train.settings.decoder_layers import Layer, read_layers
from lits_train.settings.recipe import Recipe
from lits_train.weights.encoder import find_encoder
from lits_train.weights.reader import read_weights
from lits_train.weights.state_dict import find_state_dict, usable

IMAGENET_URL: str = RegNet_Y_400MF_Weights.DEFAULT.url
"""Its name ends with the first digits of its SHA-256."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
ENCODER_CHANNELS = (32, 48, 104, 208, 440)
"""Channels of RegNetY-400MF's stem and four blocks, at 1/2, 1/4, ... 1/32 of the input size."""


class DecoderStage(nn.Module):
    """Doubles height and width: ConvTranspose2d, concatenation of the skip, Conv2d, ReLU."""

    def __init__(self, inputs: int, skip: int, outputs: int, norm: bool) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)
        self.conv = nn.Sequential(
            nn.Conv2d(outputs + skip, outputs, kernel_size=3, padding=1, bias=not norm),
            *([nn.BatchNorm2d(outputs)] if norm else []),
            nn.ReLU(inplace=True),
        )

    def forward(self, features: Tensor, skip: Tensor | None) -> Tensor:
        """(n, inputs, h, w) and the skip (n, skip, 2h, 2w) to (n, outputs, 2h, 2w)."""
        features = self.up(features)
        if skip is not None:
            features = torch.cat([features, skip], dim=1)
        decoded: Tensor = self.conv(features)
        return decoded


class SegmentationNetwork(nn.Module):
    """Scaled slices (n, 3, size, size) in 0..1 to logits (n, classes, size / s, size / s).

    The stride s is 1 with five decoder stages, and doubles with every stage fewer; a sub-pixel head
    halves it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        mean, std = input_statistics(recipe)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        regnet = regnet_y_400mf()
        self.encoder = nn.ModuleList([regnet.stem, *regnet.trunk_output])
        self.decoder: nn.ModuleList
        self.head: nn.Conv2d | nn.ConvTranspose2d
        self.finish = nn.Sequential()
        if recipe.decoder_layers:
            self._build_layers(read_layers(recipe.decoder_layers, len(recipe.classes)))
        else:
            self._build_stages(recipe)

    def _build_layers(self, layers: list[Layer]) -> None:
        last = max(at for at, layer in enumerate(layers) if layer.convolves)
        self.decoder = decoder = LayeredDecoder(layers[:last], ENCODER_CHANNELS)
        self.head = convolution(layers[last], decoder.channels)
        self.finish = enlarging(layers[last + 1 :], layers[last].channels)

    def _build_stages(self, recipe: Recipe) -> None:
        skips = [*reversed(ENCODER_CHANNELS[:-1]), 0][: len(recipe.decoder_channels)]
        if not recipe.skip_connections:
            skips = [0] * len(skips)
        inputs = [ENCODER_CHANNELS[-1], *recipe.decoder_channels[:-1]]
        self.decoder = nn.ModuleList(
            DecoderStage(*widths, norm=recipe.decoder_norm)
            for widths in zip(inputs, skips, recipe.decoder_channels, strict=True)
        )
        self.skips = skips
        self.head = _head(recipe)

    def forward(self, scaled: Tensor) -> Tensor:
        """(n, 3, size, size) in 0..1 to logits (n, classes, size / s, size / s)."""
        features = (scaled - self.mean) / self.std
        stages: list[Tensor] = []
        for block in self.encoder:
            features = block(features)
            stages.append(features)
        if isinstance(self.decoder, LayeredDecoder):
            features = self.decoder.decode(stages)
        else:
            for depth, (stage, skip) in enumerate(zip(self.decoder, self.skips, strict=True)):
                features = stage(features, stages[-2 - depth] if skip else None)
        logits: Tensor = self.finish(self.head(features))
        return logits

    def load_encoder(self, weights: str) -> None:
        """Load the encoder's weights from ImageNet ("imagenet") or a file.

        A file (.pth or .safetensors) holds the weights of a RegNetY-400MF, alone or within another
        network, as `weights.encoder` finds them. The ImageNet weights are torchvision's
        `RegNet_Y_400MF_Weights`, from torch's cache or else downloaded.

        Raises:
            CheckpointError: the weights are not available, or of another architecture.
        """
        state = _imagenet_weights() if weights == "imagenet" else _weights_file(Path(weights))
        try:
            found = find_encoder(state, self.encoder.state_dict())
        except CheckpointError as error:
            raise CheckpointError(f"{weights}: {error}") from error
        if odd := [name for name, tensor in found.tensors.items() if not usable(tensor)]:
            raise CheckpointError(f"{weights}: {odd[0]} does not hold plain finite numbers")
        self.encoder.load_state_dict(found.tensors)


def input_statistics(recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation by which a recipe's network normalises its input."""
    plain = recipe.input_norm == "none"
    mean, std = ((0.0,) * 3, (1.0,) * 3) if plain else (IMAGENET_MEAN, IMAGENET_STD)
    return torch.tensor(mean).view(1, 3, 1, 1), torch.tensor(std).view(1, 3, 1, 1)


def _head(recipe: Recipe) -> nn.Conv2d | nn.ConvTranspose2d:
    """Decoder features to logits, at the same size or twice that."""
    inputs, outputs = recipe.decoder_channels[-1], len(recipe.classes)
    if recipe.subpixel_head:
        return nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)
    return nn.Conv2d(inputs, outputs, kernel_size=1)


def _imagenet_weights() -> dict[str, Tensor]:
    """From torch's cache, where a file is checked against the hash in its name before it is read.

    Torch itself checks downloads only, and unpickles a cached file without restrictions.
    """
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(IMAGENET_URL).name
    sha256_start = Path(IMAGENET_URL).stem.rpartition("-")[2]
    try:
        if not cached.exists():
            cached.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(IMAGENET_URL, str(cached), sha256_start, progress=False)
    except (OSError, RuntimeError) as error:  # URLError is an OSError, a wrong hash a RuntimeError
        raise CheckpointError(
            f"cannot download the ImageNet weights {IMAGENET_URL} ({brief(error)}): put the file "
            f"at {cached}, name it with --weights FILE, or start from random weights with "
            "--weights none"
        ) from error
    return _weights_file(cached, sha256_start)


def _weights_file(path: Path, sha256_start: str = "") -> dict[str, Tensor]:
    found = find_state_dict(read_weights(path, sha256_start)[0])
    if found is None:
        raise CheckpointError(f"{path}: contains no state dict")
    return found.tensors
