"""Random numbers for the samples of a batch, from generators of each sample's own."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BLOCK = 64
"""Uniform numbers of a sample that are drawn and copied to the device at once."""
_FEW = 512
"""Up to so many numbers of a sample the host draws: a launch for each sample would take longer."""


class RandomNumbers:
    """Random numbers that depend on a sample's seed only, and not on its batch or process."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self.device = device
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.on_host = [np.random.default_rng(seed) for seed in seeds]
        """For decisions of the host, which then need not wait for the device."""
        self._block, self._left = torch.empty(0), 0

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """float32 (n, *shape) between low and high."""
        count = math.prod(shape)
        if count <= _FEW:
            values = self._next(count).view(-1, *shape)
        else:
            values = self._of_device(torch.rand, shape)
        return low + (high - low) * values

    def normal(self, *shape: int) -> Tensor:
        """float32 (n, *shape), standard normal."""
        if math.prod(shape) > _FEW:
            return self._of_device(torch.randn, shape)
        return self.copied(np.stack([rng.standard_normal(shape) for rng in self.on_host]))

    def chosen(self, probability: float) -> list[int]:
        """Indices of samples, each chosen with this probability."""
        return [i for i, rng in enumerate(self.on_host) if rng.random() < probability]

    def index(self, places: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
        """Indices of samples or pixels on the device."""
        return self._sent(torch.tensor(places, dtype=torch.int64))

    def copied(self, values: NDArray[Any]) -> Tensor:
        """Numbers of the host as float32 on the device."""
        return self._sent(torch.from_numpy(values.astype(np.float32)))

    def of(self, samples: Sequence[int]) -> "RandomNumbers":
        """The random numbers of some of the samples."""
        some = RandomNumbers((), self.device)
        some.generators = [self.generators[i] for i in samples]
        some.on_host = [self.on_host[i] for i in samples]
        return some

    def _of_device(self, draw: Any, shape: tuple[int, ...]) -> Tensor:
        return torch.stack([draw(shape, generator=g, device=self.device) for g in self.generators])

    def _next(self, count: int) -> Tensor:
        """The next `count` uniform numbers of each sample, (n, count)."""
        if self._left < count:
            size = max(_BLOCK, count)
            self._block = self.copied(np.stack([rng.random(size) for rng in self.on_host]))
            self._left = size
        first = self._block.shape[1] - self._left
        self._left -= count
        return self._block[:, first : first + count]

    def _sent(self, values: Tensor) -> Tensor:
        """A tensor copied to the device without waiting for it."""
        if self.device.type == "cuda":
            values = values.pin_memory()
        return values.to(self.device, non_blocking=True)
