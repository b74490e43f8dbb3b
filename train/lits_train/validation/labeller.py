"""What labels slabs of a volume: a network in torch, or anything else that keeps the contract."""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lits_train.network.slab_segmenter import SlabSegmenter

Thresholds = tuple[float, ...]


class Labeller(Protocol):
    """Slabs of HU to labels at several thresholds at once."""

    classes: tuple[str, ...]
    thresholds: Thresholds
    """Its own, one for each class."""
    context_slices: int

    def labels(
        self, slab_hu: NDArray[np.float32], thresholds: Sequence[Thresholds]
    ) -> dict[Thresholds, NDArray[np.uint8]]:
        """Labels (n, height, width) of a slab (n + 2 * context_slices, height, width)."""

    def probability(self, slab_hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (n, classes, height, width) of a slab."""

    def digest(self) -> str:
        """Of the weights and of all that decides the labels."""


class NetworkLabeller:
    """A network in torch, through the module that the export traces."""

    def __init__(self, segmenter: SlabSegmenter) -> None:
        """Label with a module in evaluation mode, on its device."""
        self._segmenter = segmenter
        recipe = segmenter.recipe
        self.classes, self.thresholds = recipe.classes, recipe.thresholds
        self.context_slices = recipe.context_slices

    @torch.no_grad()
    def labels(
        self, slab_hu: NDArray[np.float32], thresholds: Sequence[Thresholds]
    ) -> dict[Thresholds, NDArray[np.uint8]]:
        """See `Labeller`."""
        logits, found = self._logits(slab_hu), {}
        for key in thresholds:
            least = torch.tensor(key, dtype=torch.float32, device=logits.device).logit()
            masks = logits >= least.view(1, -1, 1, 1)
            found[key] = self._segmenter.merge(masks).cpu().numpy()
        return found

    @torch.no_grad()
    def probability(self, slab_hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Labeller`."""
        probability: NDArray[np.float32] = self._logits(slab_hu).sigmoid().cpu().numpy()
        return probability

    def _logits(self, slab_hu: NDArray[np.float32]) -> torch.Tensor:
        writable = torch.from_numpy(np.require(slab_hu, requirements="W"))
        return self._segmenter.logits(writable.to(self._segmenter.logit_thresholds.device))

    def digest(self) -> str:
        """See `Labeller`."""
        digest = hashlib.sha256(repr(self._segmenter.recipe).encode())
        for name, tensor in self._segmenter.network.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
