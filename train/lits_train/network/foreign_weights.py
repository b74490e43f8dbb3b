"""Weights without settings, as others save them: matched with a network that computes the same."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from lits_runtime.errors import CheckpointError
from lits_runtime.messages import brief
from lits_train.limits import shown
from lits_train.network.native_decoder import native_settings
from lits_train.network.segmentation_network import ENCODER_CHANNELS, SegmentationNetwork
from lits_train.settings.recipe import BASELINE, Recipe
from lits_train.weights.layers import Unit
from lits_train.weights.match import Match, find_match
from lits_train.weights.state_dict import misfit
from lits_train.weights.tables import table

logger = logging.getLogger(__name__)

CLASSES = {1: ("lesion",), 2: ("liver", "lesion")}
"""What output channels mean, unless the user says it."""


@dataclass(frozen=True)
class Given:
    """What a file of weights alone does not say."""

    recipe: Recipe = BASELINE
    """Input, classes and thresholds; the decoder's settings are read from the file."""
    stated: frozenset[str] = frozenset()
    """Settings that the user stated one by one; "recipe" if the recipe was named."""
    key: str = ""
    """Where the weights are in the file, or how the names to take begin."""
    transposed: bool = False
    """The network was trained on transposed slices: rows to the left, columns to posterior."""
    module: str = ""
    """FILE.py:NAME of a function that makes the network; its code is run."""


@dataclass(frozen=True)
class Matched:
    """Weights that fit a network of ours."""

    recipe: Recipe
    state_dict: dict[str, Tensor]


def match_weights(name: str, content: Any, given: Given) -> Matched:
    """Fit the weights in a file's content to a network that computes what theirs did.

    Args:
        name: of the file, for messages.
        content: of the file.
        given: what the file does not say.

    Raises:
        CheckpointError: the layers cannot be matched; a table of them has been logged.
    """
    match = find_match(
        content, given.key, given.recipe.decoder_layers, _encoder(), ENCODER_CHANNELS
    )
    recipe = _recipe(match, given)
    network = SegmentationNetwork(recipe)
    state = _fitted(network, match, given)
    if difference := misfit(state, network.state_dict()):
        raise CheckpointError(f"the weights do not fit: {difference}")
    for line in _told(name, match, recipe, given):
        logger.info("%s", line)
    logger.debug("%s\ndecoder_layers: %s", _table(match, network), ",".join(match.decoder.layers))
    return Matched(recipe, state)


@cache
def _encoder() -> dict[str, Tensor]:
    """The tensors of our encoder, for their names and shapes."""
    return SegmentationNetwork(BASELINE).encoder.state_dict()


def _recipe(match: Match, given: Given) -> Recipe:
    recipe, layers = given.recipe, match.decoder.layers
    channels = next(int(layer.split()[1]) for layer in reversed(layers) if " " in layer)
    classes = recipe.classes if "classes" in given.stated else CLASSES.get(channels, ())
    if len(classes) != channels:
        raise CheckpointError(
            f"its head has {channels} output channels, expected 1 (lesion) or 2 (liver, lesion), "
            "each read by a sigmoid; --set classes=... names others, --module can reduce them"
        )
    thresholds = recipe.thresholds if len(recipe.thresholds) == channels else (0.5,) * channels
    settings = native_settings(layers)
    _require_agreement(settings or {"decoder_channels": layers}, given)
    if settings is None:
        settings = {"decoder_layers": tuple(layers)}
    else:
        settings["decoder_layers"] = ()
    try:
        recipe = recipe.override(classes=classes, thresholds=thresholds, **settings)
    except ValueError as error:
        raise CheckpointError(f"its decoder is not known here: {error}") from error
    _require_input(recipe, given)
    return recipe


def _require_agreement(read: Mapping[str, Any], given: Given) -> None:
    """Refuse settings that were stated, and that the shapes in the file contradict."""
    for name, found in read.items():
        stated = getattr(given.recipe, name)
        if name in given.stated and stated != found:
            raise CheckpointError(
                f"{name} {shown(stated)} was given, but the shapes in the file say {shown(found)}: "
                "leave it out"
            )


def _require_input(recipe: Recipe, given: Given) -> None:
    """Refuse to take a network of the default recipe's form for one of the baseline's input."""
    if recipe.skip_connections and "recipe" not in given.stated:
        raise CheckpointError(
            "weights of the default recipe's network without its settings: give the checkpoint "
            "that lits-train wrote, or name the recipe (--recipe default, with --config or --set "
            "for what differed)"
        )


def _fitted(network: SegmentationNetwork, match: Match, given: Given) -> dict[str, Tensor]:
    """The state dict of our network with the weights that were found."""
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state |= {f"encoder.{name}": tensor for name, tensor in match.encoder.tensors.items()}
    state |= {name: tensor.reshape(1, 3, 1, 1) for name, tensor in match.norm.items()}
    places = _convolutions(network)
    if len(places) != len(match.units):
        raise CheckpointError(
            f"decoder_layers have {len(places)} convolutions, and the file has {len(match.units)}"
        )
    for place, unit in zip(places, match.units, strict=True):
        _fill(state, *place, unit)
    for name, tensor in state.items():
        if given.transposed and name.endswith(".weight") and tensor.dim() == 4:
            state[name] = tensor.transpose(2, 3)
    return {name: tensor.detach().contiguous() for name, tensor in state.items()}


def _fill(state: dict[str, Tensor], name: str, norm_name: str, unit: Unit) -> None:
    """Put a convolution of the file, with bias and norm, in the place of one of ours."""
    if bool(unit.norm) != bool(norm_name):
        which = "no norm behind" if unit.norm else "a norm behind"
        raise CheckpointError(f"decoder_layers have {which} {brief(unit.name)}, unlike the file")
    state[f"{name}.weight"] = unit.weight
    if norm_name:
        width = unit.norm["running_mean"]
        norm = {"weight": torch.ones_like(width), "bias": torch.zeros_like(width)} | unit.norm
        state |= {f"{norm_name}.{leaf}": tensor for leaf, tensor in norm.items()}
    if f"{name}.bias" not in state and unit.bias is not None:
        # The norm subtracts its mean: a bias before it is a smaller mean.
        state[f"{norm_name}.running_mean"] = state[f"{norm_name}.running_mean"] - unit.bias
    elif f"{name}.bias" in state:
        none = torch.zeros_like(state[f"{name}.bias"])
        state[f"{name}.bias"] = none if unit.bias is None else unit.bias


def _convolutions(network: SegmentationNetwork) -> list[tuple[str, str]]:
    """Decoder and head in order: the names of each convolution and of its norm."""
    places: list[tuple[str, str]] = []
    for name, module in network.named_modules():
        if not name.startswith(("decoder.", "head")):
            continue
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            places.append((name, ""))
        elif isinstance(module, nn.BatchNorm2d):
            places[-1] = (places[-1][0], name)
    return places


def _told(name: str, match: Match, recipe: Recipe, given: Given) -> list[str]:
    """What was found and what was assumed, a line each."""
    how = "by names" if match.encoder.by_name else "by order and shape"
    ignored = f"; ignored: {', '.join(map(brief, match.ignored[:5]))}" if match.ignored else ""
    window = "each slice's own range" if recipe.window_hu is None else f"{recipe.window_hu} HU"
    norm = "mean and std of the file" if match.norm else f"input_norm {recipe.input_norm}"
    turned = "transposed slices" if given.transposed else "upright slices (else --transposed)"
    inputs = [
        f"{recipe.size} x {recipe.size}",
        f"window {window}",
        norm,
        f"{recipe.context_slices} context slices",
        f"classes {', '.join(recipe.classes)}",
        turned,
    ]
    lines = [
        f"{name}: weights alone{match.found.place}: encoder {how}, {len(match.units)} "
        f"convolutions behind it by order and shape{ignored}",
        f"assumed, unless given by --recipe, --config or --set: {', '.join(inputs)}",
    ]
    if match.decoder.assumed:
        lines.append(f"assumed of its decoder: {'; '.join(match.decoder.assumed)}")
    return lines


def _table(match: Match, network: SegmentationNetwork) -> str:
    """How layers were matched."""
    stages: dict[str, str] = {}
    for ours, source in match.encoder.sources.items():
        stages.setdefault(f"encoder.{ours.partition('.')[0]}", source)
    rows = [(ours, f"{source}, ...", "RegNetY-400MF") for ours, source in stages.items()]
    for names, unit in zip(_convolutions(network), match.units, strict=True):
        found = f"{unit.name} {unit.norm_name}".strip()
        rows.append((" ".join(names).strip(), found, unit.shape))
    return table(("network", "file", "shape"), rows)
