"""Untrained checkpoints and their exports, shared by all tests."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import nn

from lits_export.export import ExportResult, ExportSettings, export_model
from lits_export.parity.slabs import phantom_slabs
from lits_train.network.checkpoint import Checkpoint, save_checkpoint
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.network.slab_segmenter import SlabSegmenter
from lits_train.settings.recipe import RECIPES
from support.made_once import made_once
from support.networks.export_gates import GATES


def write_checkpoint(recipe_name: str, folder: Path) -> Path:
    """A small network of a recipe, untrained, whose masks are neither empty nor full."""
    torch.manual_seed(3)
    recipe = RECIPES[recipe_name].override(size=64)
    network = SegmentationNetwork(recipe).eval()
    slab_hu = next(phantom_slabs(recipe.context_slices)).slab_hu
    with torch.no_grad():
        logits = SlabSegmenter(recipe, network).logits(torch.from_numpy(slab_hu))
        deviation = 8 * logits.std(dim=(0, 2, 3))
        transposed = isinstance(network.head, nn.ConvTranspose2d)  # outputs are its second axis
        network.head.weight /= deviation.view((1, -1, 1, 1) if transposed else (-1, 1, 1, 1))
        assert network.head.bias is not None
        medians = logits.transpose(0, 1).flatten(1).median(dim=1).values
        network.head.bias.sub_(medians).div_(deviation)
    path = folder / "checkpoint.pth"
    save_checkpoint(Checkpoint(recipe, network.state_dict(), {"epochs": 0}), path)
    return path


class Exports(Mapping[str, ExportResult]):
    """A checkpoint's exports by precision, each made when it is first asked for."""

    def __init__(self, checkpoint: Path) -> None:
        self._checkpoint = checkpoint

    def __getitem__(self, precision: str) -> ExportResult:
        settings = ExportSettings(precision, tolerance=GATES[precision], providers=("cpu",))
        return made_once(
            self._checkpoint.with_name(precision),
            lambda folder: export_model(self._checkpoint, folder / "model.onnx", settings),
        )

    def __iter__(self) -> Iterator[str]:
        return iter(GATES)

    def __len__(self) -> int:
        return len(GATES)
