"""Checkpoints that no command may take: damaged, of others, or made to do harm."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_safetensors
from torchvision.models import regnet_y_400mf

from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.settings.recipe import BASELINE, DEFAULT

RECIPE = BASELINE.override(size=32)


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def torch_bytes(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


WEIGHTS = SegmentationNetwork(RECIPE).state_dict()
CONTENT: dict[str, Any] = {
    "format_version": 1,
    "recipe": RECIPE.to_json(),
    "state_dict": WEIGHTS,
    "training": {},
    "resume": {},
}
GOOD = torch_bytes(CONTENT)
GOOD_SAFE = save_safetensors(dict(WEIGHTS), {"recipe": json.dumps(RECIPE.to_json())})


def changed(**parts: Any) -> bytes:
    return torch_bytes(CONTENT | parts)


def with_weights(**tensors: Any) -> bytes:
    return changed(state_dict=WEIGHTS | {name.replace("__", "."): t for name, t in tensors.items()})


def with_recipe(**settings: Any) -> bytes:
    return changed(recipe=RECIPE.to_json() | settings)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in WEIGHTS.items() if key != name}


def flipped_in(part: str) -> bytes:
    """One bit of a part of the archive's content."""
    content = bytearray(GOOD)
    with zipfile.ZipFile(io.BytesIO(GOOD)) as archive:
        (entry,) = (entry for entry in archive.infolist() if entry.filename.endswith(part))
    content[entry.header_offset + 30 + len(entry.filename) + entry.file_size // 2 + 64] ^= 16
    return bytes(content)


def compressed_zeros() -> bytes:
    """16 MB that pack into 16 kB."""
    buffer = io.BytesIO()
    source = io.BytesIO(torch_bytes({"state_dict": {"w": torch.zeros(2**22)}}))
    packed = zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED)
    with packed, zipfile.ZipFile(source) as plain:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    return buffer.getvalue()


def endless() -> list[Any]:
    """A kilobyte of pickle that is 2 ** 60 numbers to whoever walks through it."""
    value: list[Any] = [0]
    for _ in range(60):
        value = [value, value]
    return value


def own_part() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


HOSTILE_CHECKPOINTS: dict[str, Callable[[Path], bytes]] = {
    "empty": lambda _: b"",
    "text": lambda _: b"no weights\n" * 9,
    "truncated": lambda _: GOOD[: len(GOOD) // 2],
    "without its last byte": lambda _: GOOD[:-1],
    "flipped bit in the pickle": lambda _: flipped_in("/data.pkl"),
    "flipped bit in a tensor": lambda _: flipped_in("/data/2"),
    "code in place of weights": lambda canary: changed(state_dict=Payload(canary)),
    "code beside the weights": lambda canary: changed(resume={"hook": Payload(canary)}),
    "code in a bare pickle": lambda canary: pickle.dumps(Payload(canary), protocol=2),
    "code in a bare pickle, protocol 5": lambda canary: pickle.dumps(Payload(canary), protocol=5),
    "a whole module": lambda _: torch_bytes(torch.nn.Linear(2, 2)),
    "compressed zeros": lambda _: compressed_zeros(),
    "a list": lambda _: torch_bytes([1, 2, 3]),
    "one tensor": lambda _: torch_bytes(torch.zeros(3)),
    "missing key": lambda _: changed(state_dict=without("head.weight")),
    "extra key": lambda _: with_weights(more=torch.zeros(3)),
    "another shape": lambda _: with_weights(head__bias=torch.zeros(5)),
    "weights not finite": lambda _: with_weights(head__bias=torch.full((1,), torch.nan)),
    "sparse weights": lambda _: with_weights(head__bias=torch.ones(1).to_sparse()),
    "weights without values": lambda _: with_weights(head__bias=torch.zeros(1, device="meta")),
    "a number in place of a tensor": lambda _: with_weights(head__bias=3.0),
    "newer format": lambda _: changed(format_version=99),
    "format without a number": lambda _: changed(format_version="one"),
    "recipe of another version": lambda _: with_recipe(wings=2),
    "recipe that is no recipe": lambda _: changed(recipe=[1]),
    "recipe of a billion channels": lambda _: with_recipe(decoder_channels=[10**9]),
    "recipe of words": lambda _: with_recipe(decoder_channels=["many"]),
    "recipe for slices of a gigametre": lambda _: with_recipe(size=2**30),
    "recipe with a word for a window": lambda _: with_recipe(window_hu="x"),
    "recipe of endless digits": lambda _: with_recipe(epochs=10**4000),
    "recipe of lists within lists": lambda _: with_recipe(thresholds=endless()),
    "training facts without end": lambda _: changed(training={"cases": endless()}),
    "a list that holds itself": lambda _: changed(resume={"progress": own_part()}),
    "a tensor of a terabyte over one number": lambda _: changed(
        resume={"optimizer": torch.zeros(1).expand(2**38)}
    ),
    "weights of a terabyte over one number": lambda _: with_weights(
        head__bias=torch.zeros(1).expand(2**38)
    ),
    "training facts with tensors": lambda _: changed(training={"loss": torch.zeros(1)}),
    "regnet alone": lambda _: torch_bytes(regnet_y_400mf().state_dict()),
    "default recipe without settings": lambda _: torch_bytes(
        SegmentationNetwork(DEFAULT).state_dict()
    ),
    "bare with a missing key": lambda _: torch_bytes(without("encoder.0.1.bias")),
    "safetensors truncated": lambda _: GOOD_SAFE[: len(GOOD_SAFE) // 2],
    "safetensors with a wrong header": lambda _: GOOD_SAFE.replace(b'"F32"', b'"F64"', 1),
    "safetensors with a broken recipe": lambda _: save_safetensors(dict(WEIGHTS), {"recipe": "{"}),
    "safetensors of others": lambda _: save_safetensors({"w": torch.zeros(3)}),
}
UNREADABLE = tuple(HOSTILE_CHECKPOINTS)[:13]
"""Those that are no weights for anything, an encoder included."""
