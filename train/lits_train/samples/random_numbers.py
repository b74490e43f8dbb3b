"""Random numbers for the samples of a batch, each from a generator of its own."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Draws:
    """What a sample draws depends on its seed alone: not on its batch, nor on its process."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self.device = device
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.on_host = [np.random.default_rng(seed) for seed in seeds]
        """For what the host decides: nobody waits for the device to know it."""

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """float32 (n, *shape) between low and high."""
        drawn = [torch.rand(shape, generator=g, device=self.device) for g in self.generators]
        return low + (high - low) * torch.stack(drawn)

    def normal(self, *shape: int) -> Tensor:
        """float32 (n, *shape), standard normal."""
        drawn = [torch.randn(shape, generator=g, device=self.device) for g in self.generators]
        return torch.stack(drawn)

    def chosen(self, probability: float) -> list[int]:
        """The samples on which something happens that has this probability."""
        return [i for i, rng in enumerate(self.on_host) if rng.random() < probability]

    def of(self, samples: Sequence[int]) -> "Draws":
        """Draws for some of the samples only."""
        draws = Draws((), self.device)
        draws.generators = [self.generators[i] for i in samples]
        draws.on_host = [self.on_host[i] for i in samples]
        return draws
