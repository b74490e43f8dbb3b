"""Segmentation networks as others write them, and the ways in which they save their weights."""

import copy
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.models import RegNet, regnet_y_400mf

from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.settings.recipe import BASELINE

MEAN, STD = (
    torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)
WIDTHS = (256, 128, 64, 32, 16)
NARROW = (24, 16, 16, 8, 8)


_regnet = cache(regnet_y_400mf)


def new_regnet() -> RegNet:
    """torchvision's network; copied, since its initial weights take longer than the rest."""
    return copy.deepcopy(_regnet())


def alive(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with statistics of batch norm that are not those of a new one."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.running_mean, -0.1), (module.running_var, 0.5)):
                assert tensor is not None
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)
    return network.eval()


class NotebookNetwork(nn.Module):
    """The network of the original notebook: stem, trunk, and one row of decoder layers."""

    def __init__(self, widths: Iterable[int] = WIDTHS, classes: int = 1) -> None:
        super().__init__()
        regnet = new_regnet()
        self.stem, self.trunk_output = regnet.stem, regnet.trunk_output
        layers: list[nn.Module] = []
        inputs = 440
        for width in widths:
            layers += [nn.ConvTranspose2d(inputs, width, 3, 2, 1, 1), nn.ReLU(True)]
            layers += [nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(True)]
            inputs = width
        self.decoder = nn.Sequential(*layers, nn.Conv2d(inputs, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.decoder(self.trunk_output(self.stem(x)))
        return logits


class RowNetwork(nn.Module):
    """An encoder and a decoder that is any row of layers."""

    def __init__(self, decoder: nn.Module, encoder: nn.Module | None = None) -> None:
        super().__init__()
        regnet = new_regnet()
        self.encoder = encoder or nn.Sequential(regnet.stem, regnet.trunk_output)
        self.decoder = decoder

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.decoder(self.encoder(x))
        return logits


def transposed_row(kernel: int = 2, norm: bool = False, bias: bool = True) -> nn.Sequential:
    """Transposed convolutions alone, with or without norm and bias, and a 1 x 1 convolution."""
    layers: list[nn.Module] = []
    inputs = 440
    for width in NARROW:
        padding, odd = (kernel - 1) // 2, kernel % 2
        layers.append(nn.ConvTranspose2d(inputs, width, kernel, 2, padding, odd, bias=bias))
        layers += [nn.BatchNorm2d(width)] * norm + [nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Conv2d(inputs, 1, 1))


def enlarging_row(mode: str) -> nn.Sequential:
    """Upsample, Conv2d, ReLU, and a 1 x 1 convolution."""
    layers: list[nn.Module] = []
    inputs = 440
    for width in NARROW:
        layers += [nn.Upsample(scale_factor=2, mode=mode), nn.Conv2d(inputs, width, 3, padding=1)]
        layers.append(nn.ReLU())
        inputs = width
    return nn.Sequential(*layers, nn.Conv2d(inputs, 1, 1))


class WholeRegnet(nn.Module):
    """torchvision's network with its classifier, of which the features are used."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = new_regnet()
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(i, o, 2, 2), nn.Conv2d(o, o, 3, padding=1), nn.ReLU())
            for i, o in zip((440, *NARROW), NARROW, strict=False)
        )
        self.out = nn.Conv2d(NARROW[-1], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.backbone.trunk_output(self.backbone.stem(x))
        for block in self.up:
            x = block(x)
        logits: Tensor = self.out(x)
        return logits


class NamedNetwork(nn.Module):
    """Layers with names of their own, activations in `forward`, the encoder's blocks unnamed."""

    def __init__(self) -> None:
        super().__init__()
        regnet = new_regnet()
        blocks = [block for stage in regnet.trunk_output for block in stage]
        self.features = nn.ModuleList([regnet.stem, *blocks])
        for number, (i, o) in enumerate(zip((440, *NARROW), NARROW, strict=False), start=1):
            setattr(self, f"up{number}", nn.ConvTranspose2d(i, o, 2, 2))
            setattr(self, f"conv{number}", nn.Conv2d(o, o, 3, padding=1))
        self.last = nn.Conv2d(NARROW[-1], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.features:
            x = block(x)
        for number in range(1, 6):
            x = getattr(self, f"conv{number}")(getattr(self, f"up{number}")(x)).relu()
        logits: Tensor = self.last(x)
        return logits


class SkipNetwork(nn.Module):
    """A U-Net of two classes whose convolutions have both a bias and a norm."""

    def __init__(self) -> None:
        super().__init__()
        regnet = new_regnet()
        self.stem, self.trunk = regnet.stem, regnet.trunk_output
        self.ups, self.convs = nn.ModuleList(), nn.ModuleList()
        inputs = 440
        for width, skip in zip(NARROW[:4], (208, 104, 48, 32), strict=True):
            self.ups.append(nn.ConvTranspose2d(inputs, width, 2, 2))
            convolution = nn.Conv2d(width + skip, width, 3, padding=1)
            self.convs.append(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU()))
            inputs = width
        self.logits = nn.Conv2d(inputs, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        stages = [self.stem(x)]
        for block in self.trunk:
            stages.append(block(stages[-1]))
        x = stages.pop()
        for up, convolution in zip(self.ups, self.convs, strict=True):
            x = convolution(torch.cat([up(x), stages.pop()], 1))
        logits: Tensor = self.logits(x)
        return logits


class Normalised(nn.Module):
    """A network of ours, which normalises by itself, called with a normalised input."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x * STD + MEAN)
        return logits


@dataclass(frozen=True)
class Kind:
    """One kind of weights."""

    network: Callable[[], nn.Module]
    """Takes a normalised input."""
    content: Callable[[nn.Module], Any] = lambda network: network.state_dict()
    """Of the file."""
    ending: str = ".pth"
    given: dict[str, Any] = field(default_factory=dict)
    """For `Given`."""
    stated: dict[str, Any] = field(default_factory=dict)
    """Settings of the recipe that the user states."""
    tolerance: float = 1e-4
    """Relative to the largest logit."""


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def averaged(network: nn.Module) -> dict[str, Tensor]:
    """As torch's own averaging saves it, of a network that has moved since."""
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    average.update_parameters(network)
    return average.state_dict()


def moved(network: nn.Module) -> dict[str, Tensor]:
    """Other weights of the same network."""
    return {name: tensor * 0.5 for name, tensor in network.state_dict().items()}


def lightning(network: nn.Module) -> dict[str, Any]:
    state = prefixed("model.", dict(network.state_dict()))
    state["criterion.pos_weight"] = torch.ones(1)
    return {
        "epoch": 3,
        "global_step": 10,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": OrderedDict(state),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3, 3, 3, 3)}}}],
        "hyper_parameters": {"lr": 1e-4},
    }


def without_norm(network: nn.Module) -> dict[str, Tensor]:
    return {
        name: tensor
        for name, tensor in network.get_submodule("network").state_dict().items()
        if name not in ("mean", "std")
    }


TIMM_PARTS = (
    *((f"{ours}.0.", f"{theirs}.conv.") for ours, theirs in (("f.a", "conv1"), ("f.b", "conv2"))),
    *((f"{ours}.1.", f"{theirs}.bn.") for ours, theirs in (("f.a", "conv1"), ("f.b", "conv2"))),
    *(("f.c.0.", "conv3.conv."), ("f.c.1.", "conv3.bn."), ("f.se.", "se.")),
    *(("proj.0.", "downsample.conv."), ("proj.1.", "downsample.bn.")),
)


def timm_names(network: nn.Module) -> dict[str, Tensor]:
    """An encoder of stem and trunk under the names of timm's regnety_004, version 1.0."""
    state: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        name = name.replace("encoder.0.0.", "encoder.stem.conv.")
        name = name.replace("encoder.0.1.", "encoder.stem.bn.")
        if block := re.fullmatch(r"encoder\.1\.block\d\.block(\d)-(\d+)\.(.+)", name):
            rest = block[3]
            for ours, theirs in TIMM_PARTS:
                rest = rest.replace(ours, theirs)
            name = f"encoder.s{block[1]}.b{int(block[2]) + 1}.{rest}"
        state[name] = tensor
    return state


def shared_twice() -> nn.Module:
    """The encoder under two names, as torch saves what two attributes hold."""
    network = RowNetwork(transposed_row())
    network.add_module("backbone", network.encoder)
    return network


def in_one_row() -> nn.Module:
    """Encoder and decoder in one Sequential."""
    regnet = new_regnet()
    return nn.Sequential(regnet.stem, regnet.trunk_output, *transposed_row(3))


def ours(widths: tuple[int, ...] = WIDTHS) -> Callable[[], nn.Module]:
    return lambda: Normalised(SegmentationNetwork(BASELINE.override(decoder_channels=widths)))


NEAREST = ",".join(f"nearest,conv3 {width},relu" for width in NARROW) + ",conv1 1"

KINDS: dict[str, Kind] = {
    "original notebook": Kind(NotebookNetwork),
    "original notebook, half precision": Kind(
        NotebookNetwork, lambda n: {k: v.half() for k, v in n.state_dict().items()}, tolerance=1e-2
    ),
    "original notebook, bfloat16 safetensors": Kind(
        NotebookNetwork,
        lambda n: {k: v.bfloat16() for k, v in n.state_dict().items()},
        ".safetensors",
        tolerance=5e-2,
    ),
    "original notebook, other widths, 2 classes": Kind(
        lambda: NotebookNetwork((48, 40, 32, 24, 8), 2)
    ),
    "original notebook, widths that repeat": Kind(lambda: NotebookNetwork(NARROW)),
    "DataParallel": Kind(NotebookNetwork, lambda n: nn.DataParallel(n).state_dict()),
    "compiled, in model_state_dict": Kind(
        NotebookNetwork,
        lambda n: {"model_state_dict": prefixed("module._orig_mod.", n.state_dict()), "epoch": 1},
    ),
    "Lightning with a loss": Kind(NotebookNetwork, lightning),
    "AveragedModel": Kind(NotebookNetwork, averaged),
    "EMA beside the model": Kind(
        NotebookNetwork, lambda n: {"model": moved(n), "ema": {"module": n.state_dict()}}
    ),
    "the model beside EMA, by --key": Kind(
        NotebookNetwork,
        lambda n: {"net": n.state_dict(), "model_ema": moved(n)},
        given={"key": "net"},
    ),
    "encoder and decoder apart": Kind(
        lambda: RowNetwork(transposed_row()),
        lambda n: {part: n.get_submodule(part).state_dict() for part in ("encoder", "decoder")},
    ),
    "whole regnet with fc": Kind(WholeRegnet, lambda n: {"net": prefixed("net.", n.state_dict())}),
    "encoder under two names": Kind(shared_twice),
    "one Sequential": Kind(in_one_row),
    "transposed 2 x 2 without bias": Kind(lambda: RowNetwork(transposed_row(2, bias=False))),
    "transposed 3 x 3 with norm": Kind(lambda: RowNetwork(transposed_row(3, norm=True))),
    "transposed 4 x 4 with norm, no bias": Kind(
        lambda: RowNetwork(transposed_row(4, norm=True, bias=False))
    ),
    "bilinear Upsample": Kind(lambda: RowNetwork(enlarging_row("bilinear"))),
    "nearest Upsample, stated": Kind(
        lambda: RowNetwork(enlarging_row("nearest")), stated={"decoder_layers": NEAREST}
    ),
    "own names, safetensors": Kind(WholeRegnet, ending=".safetensors"),
    "own names, encoder by order": Kind(NamedNetwork),
    "timm's names": Kind(lambda: RowNetwork(transposed_row()), timm_names),
    "U-Net with bias and norm, --recipe default": Kind(
        SkipNetwork, given={"stated": frozenset({"recipe"})}, stated={"recipe": "default"}
    ),
    "ours without mean and std": Kind(ours(), without_norm),
    "ours of other widths": Kind(ours(NARROW), lambda n: n.get_submodule("network").state_dict()),
}


def save(kind: Kind, network: nn.Module, folder: Path) -> Path:
    """The network's weights in a file of its kind."""
    path = folder / f"weights{kind.ending}"
    content = kind.content(copy.deepcopy(network))
    if kind.ending == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in content.items()}, path)
    else:
        torch.save(content, path)
    return path
