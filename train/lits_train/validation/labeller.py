"""What finds the classes in a slab: a network in torch, or anything that keeps the contract."""

import hashlib
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lits_train.network.slab_segmenter import SlabSegmenter

Thresholds = tuple[float, ...]


class Labeller(Protocol):
    """Slabs of HU to probabilities."""

    classes: tuple[str, ...]
    thresholds: Thresholds
    """Its own, one for each class."""
    context_slices: int

    def probability(self, slab_hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, classes, height, width), of a slab (n + 2 * context_slices, height, width)."""

    def digest(self) -> str:
        """Of the weights and of all that decides the labels."""


class NetworkLabeller:
    """A network in torch, through the module that the export traces."""

    def __init__(self, segmenter: SlabSegmenter) -> None:
        """Use a module in evaluation mode, on its device."""
        self._segmenter = segmenter
        recipe = segmenter.recipe
        self.classes, self.thresholds = recipe.classes, recipe.thresholds
        self.context_slices = recipe.context_slices

    @torch.no_grad()
    def probability(self, slab_hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Labeller`."""
        device = self._segmenter.logit_thresholds.device
        writable = torch.from_numpy(np.require(slab_hu, requirements="W"))
        logits = self._segmenter.logits(writable.to(device))
        probability: NDArray[np.float32] = logits.sigmoid().cpu().numpy()
        return probability

    def digest(self) -> str:
        """See `Labeller`."""
        digest = hashlib.sha256(repr(self._segmenter.recipe).encode())
        for name, tensor in self._segmenter.network.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
