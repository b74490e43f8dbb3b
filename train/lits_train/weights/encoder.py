"""The RegNetY-400MF in a state dict from elsewhere, by the names of its blocks or by order."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lits_runtime.errors import CheckpointError
from lits_runtime.messages import brief

STEM_SHAPE = (32, 3, 3, 3)
_COUNTER = "num_batches_tracked"
_BLOCK = re.compile(r"(?:.*\.)?block(\d)-(\d+)\.(.+)")
"""torchvision's name of a block, whatever holds it: our own network, or `trunk_output`."""
_TIMM_BLOCK = re.compile(r"(?:.*\.)?s(\d)\.b(\d+)\.(conv\d|downsample|se)\.(.+)")
_TIMM_PARTS = {"conv1": "f.a", "conv2": "f.b", "conv3": "f.c", "downsample": "proj", "se": "f.se"}


@dataclass(frozen=True)
class Encoder:
    """An encoder that was found."""

    tensors: dict[str, Tensor]
    """By the names of our network, without "encoder."."""
    sources: dict[str, str]
    """The file's name of each of them that the file holds."""
    used: frozenset[str]
    """Names in the file that are the encoder's, also where it is there twice."""
    by_name: bool
    """Matched by the names of blocks; otherwise by order and shape."""


def find_encoder(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Encoder:
    """The encoder's tensors in a state dict.

    Args:
        state: tensors by name, in the order of the file.
        expected: those of our encoder, by name, in the order of the network.

    Raises:
        CheckpointError: there is none, or there are several, or its shapes differ.
    """
    found: dict[str, list[str]] = {}
    for name, ours in _by_name(state):
        if ours in expected:
            found.setdefault(ours, []).append(name)
    by_name = any("block" in ours for ours in found)
    if not by_name:
        found = {ours: [name] for ours, name in _by_order(state, expected).items()}
    if several := [names for names in found.values() if not _same(state, names)]:
        raise CheckpointError(
            f"holds several encoders ({', '.join(map(brief, several[0][:3]))}); name the part to "
            "take with --key"
        )
    sources = {ours: names[0] for ours, names in found.items()}
    if wrong := _wrong(state, sources, expected):
        raise CheckpointError(f"not weights of RegNetY-400MF: {wrong}")
    counter = torch.zeros((), dtype=torch.long)
    tensors = {
        ours: state[sources[ours]].reshape(expected[ours].shape) if ours in sources else counter
        for ours in expected
    }
    used = frozenset(name for names in found.values() for name in names)
    return Encoder(tensors, sources, used, by_name)


def _wrong(
    state: Mapping[str, Tensor], sources: Mapping[str, str], expected: Mapping[str, Tensor]
) -> str:
    missing = [ours for ours in expected if ours not in sources and not ours.endswith(_COUNTER)]
    if missing:
        return f"{len(missing)} of {len(expected)} tensors missing ({missing[0]}, ...)"
    for ours, name in sources.items():
        if state[name].numel() != expected[ours].numel() or (
            state[name].dim() and state[name].shape != expected[ours].shape
        ):
            shape = tuple(state[name].shape)
            return f"{brief(name)} {shape}, expected {tuple(expected[ours].shape)}"
    return ""


def _same(state: Mapping[str, Tensor], names: list[str]) -> bool:
    first = state[names[0]]
    return all(
        state[name].shape == first.shape and torch.equal(state[name], first) for name in names[1:]
    )


def _by_name(state: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Names in the file that name a place in the encoder, and our names of them."""
    for name, tensor in state.items():
        if match := _BLOCK.fullmatch(name):
            yield name, f"{match[1]}.block{match[1]}-{match[2]}.{match[3]}"
        elif match := _TIMM_BLOCK.fullmatch(name):
            stage, block, part, rest = match.groups()
            rest = rest.replace("conv.", "0.").replace("bn.", "1.")
            yield name, f"{stage}.block{stage}-{int(block) - 1}.{_TIMM_PARTS[part]}.{rest}"
        elif tuple(tensor.shape) == STEM_SHAPE:
            yield from _stem(state, name)


def _stem(state: Mapping[str, Tensor], name: str) -> Iterator[tuple[str, str]]:
    for convolution, norm in (("0.weight", "1."), ("conv.weight", "bn.")):
        start = name.removesuffix(convolution)
        if f"{start}{norm}running_mean" in state and start != name:
            yield name, "0.0.weight"
            for leaf in ("weight", "bias", "running_mean", "running_var", _COUNTER):
                if f"{start}{norm}{leaf}" in state:
                    yield f"{start}{norm}{leaf}", f"0.1.{leaf}"


def _by_order(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, str]:
    """Our names, and those of the tensors that follow each other in the file with their shapes."""
    names = [name for name in state if not name.endswith(_COUNTER)]
    ours = [name for name in expected if not name.endswith(_COUNTER)]
    shapes = [tuple(expected[name].shape) for name in ours]
    for start, name in enumerate(names):
        row = names[start : start + len(ours)]
        if tuple(state[name].shape) == STEM_SHAPE and shapes == [
            tuple(state[one].shape) for one in row
        ]:
            return dict(zip(ours, row, strict=True))
    raise CheckpointError(
        "no RegNetY-400MF in it: neither blocks of its names, nor tensors of its shapes in its "
        "order"
    )
