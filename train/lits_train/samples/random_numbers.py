"""Random numbers for the samples of a batch, from one generator per sample."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class RandomNumbers:
    """Random numbers that depend on a sample's seed only, and not on its batch or process."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self.device = device
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.on_host = [np.random.default_rng(seed) for seed in seeds]
        """For decisions of the host, which then need not wait for the device."""

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """float32 (n, *shape) between low and high."""
        values = [torch.rand(shape, generator=g, device=self.device) for g in self.generators]
        return low + (high - low) * torch.stack(values)

    def normal(self, *shape: int) -> Tensor:
        """float32 (n, *shape), standard normal."""
        values = [torch.randn(shape, generator=g, device=self.device) for g in self.generators]
        return torch.stack(values)

    def chosen(self, probability: float) -> list[int]:
        """Indices of samples, each chosen with this probability."""
        return [i for i, rng in enumerate(self.on_host) if rng.random() < probability]

    def index(self, samples: Sequence[int]) -> Tensor:
        """Indices of samples on the device, copied there without waiting for it."""
        index = torch.tensor(samples, dtype=torch.int64)
        if self.device.type == "cuda":
            index = index.pin_memory()
        return index.to(self.device, non_blocking=True)

    def of(self, samples: Sequence[int]) -> "RandomNumbers":
        """The random numbers of some of the samples."""
        some = RandomNumbers((), self.device)
        some.generators = [self.generators[i] for i in samples]
        some.on_host = [self.on_host[i] for i in samples]
        return some
