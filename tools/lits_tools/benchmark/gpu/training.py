"""Steps per second of training: augmentation, network, loss and optimiser, without loading."""

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import nn

from lits_tools.benchmark.gpu.waits import count_waits
from lits_tools.benchmark.measured.figures import Figure
from lits_train.network.preprocessing import Preprocessing
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.samples.augment import augment
from lits_train.samples.dataset import Sample
from lits_train.settings.recipe import RECIPES, Recipe
from lits_train.training.losses import segmentation_loss
from lits_train.training.network_inputs import network_inputs

_DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Training:
    """Training of one recipe on slices in memory."""

    name: str
    """Of the recipe."""
    device: str
    size: int | None
    """Working size; None: the recipe's."""
    batch_size: int | None
    """None: the recipe's."""
    steps: int

    def speeds(self) -> list[Figure]:
        """Each precision with channels last, fp32 with channels first, and without augmentation."""
        precisions = ["fp32"] if self.device == "cpu" else list(_DTYPES)
        variants = {f"{one}, channels last": _Variant(one) for one in precisions}
        variants["fp32, channels first"] = _Variant("fp32", channels_last=False)
        variants["fp32, channels last, no augmentation"] = _Variant("fp32", augmented=False)
        return [
            Figure(f"{self.name}, {title}", self._rate(variant), "steps/s")
            for title, variant in variants.items()
        ]

    def compiled(self) -> list[Figure]:
        """With torch.compile in bf16, and the seconds that compiling takes."""
        began = time.perf_counter()
        step = _Step(self.recipe, self.device, _Variant("bf16", compiled=True))
        step.take(self.batch, 0)
        seconds = time.perf_counter() - began
        return [
            Figure(f"{self.name}, bf16, compiling and first step", seconds, "s"),
            Figure(f"{self.name}, bf16, compiled", self._rate_of(step), "steps/s"),
        ]

    def waits(self) -> list[Figure]:
        """How often the host waits for the device in augmentation, and in a whole step.

        On a CPU it is counted how often it would, without the optimiser: that keeps
        its counters on the host, also where the weights are on a GPU.
        """
        precision = "bf16" if self.device == "cuda" else "fp32"
        step = _Step(self.recipe, self.device, _Variant(precision))
        step.take(self.batch, 0)
        waits = _waits_on_cuda if self.device == "cuda" else count_waits
        augmented = waits(lambda: augment(self.batch, self.recipe, self._seeds(1)))
        title, taken = ("a whole step", step.take)
        if self.device == "cpu":
            title, taken = ("a step without its optimiser", step.backward)
        whole = waits(lambda: taken(self.batch, 1))
        counted = {"augmentation": augmented, title: whole}
        return [Figure(f"waits in {title}", count) for title, count in counted.items()]

    @property
    def recipe(self) -> Recipe:
        """The recipe at the measured size."""
        recipe = RECIPES[self.name]
        return replace(
            recipe,
            size=self.size or recipe.size,
            batch_size=self.batch_size or recipe.batch_size,
        )

    @cached_property
    def batch(self) -> Sample:
        """Random tissue around a square liver, on the device."""
        recipe, generator = self.recipe, torch.Generator().manual_seed(0)
        n, side = recipe.batch_size, recipe.size
        slices = 1 + 2 * recipe.context_slices * recipe.neighbour_reach
        labels = torch.zeros(n, slices, side, side, dtype=torch.uint8)
        labels[..., side // 4 : side // 2, side // 4 : side // 2] = 1
        hu = 20 * torch.randn(n, slices, side, side, generator=generator) + 60 + 40 * labels
        middle = labels[:, slices // 2]
        sample = Sample(
            hu=hu,
            range_hu=torch.stack([hu.amin((2, 3)), hu.amax((2, 3))], -1),
            labels=labels,
            shares=torch.stack([middle >= 1, middle == 2], 1).to(torch.uint8) * 255,
            spacing_mm=torch.tensor([[2.0, 1.5, 1.5]]).repeat(n, 1),
            adjacent=torch.ones(n, dtype=torch.bool),
            liver_only=torch.zeros(n, dtype=torch.bool),
            case=torch.zeros(n, dtype=torch.int64),
            slice=torch.arange(n),
        )
        return {key: value.to(self.device) for key, value in sample.items()}  # type: ignore[attr-defined, return-value]

    def _seeds(self, number: int) -> list[int]:
        return [1000 * number + i for i in range(self.recipe.batch_size)]

    def _rate(self, variant: "_Variant") -> float:
        step = _Step(self.recipe, self.device, variant)
        step.take(self.batch, 0)
        return self._rate_of(step)

    def _rate_of(self, step: "_Step") -> float:
        seconds = []
        for number in range(1, self.steps + 1):
            began = time.perf_counter()
            step.take(self.batch, number)
            if self.device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
        return 1 / statistics.median(seconds)


def _waits_on_cuda(action: Callable[[], object]) -> int:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            action()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in caught)


@dataclass(frozen=True)
class _Variant:
    """One way to take a step."""

    precision: str
    channels_last: bool = True
    augmented: bool = True
    compiled: bool = False


class _Step:
    """One training step, as in the training loop but for its checks."""

    def __init__(self, recipe: Recipe, device: str, variant: _Variant) -> None:
        self.recipe, self.device, self.variant = recipe, device, variant
        self.layout = torch.channels_last if variant.channels_last else torch.contiguous_format
        self.preprocessing = Preprocessing(recipe)
        torch.manual_seed(0)
        network: nn.Module = SegmentationNetwork(recipe).to(device)
        self.network = network.to(memory_format=self.layout)
        if variant.compiled:
            self.network.compile()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-4)
        self.scaler = torch.amp.GradScaler(device, enabled=variant.precision == "fp16")

    def take(self, batch: Sample, number: int) -> None:
        """Take step `number`."""
        self.backward(batch, number)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def backward(self, batch: Sample, number: int) -> None:
        """Step `number` up to its gradients."""
        if self.variant.augmented:
            seeds = [1000 * number + i for i in range(self.recipe.batch_size)]
            batch = augment(batch, self.recipe, seeds)
        else:
            batch = _nearest(batch, self.recipe.context_slices)
        scaled, targets, known = network_inputs(batch, self.preprocessing, self.recipe)
        dtype = _DTYPES[self.variant.precision]
        with torch.autocast(self.device, dtype, enabled=dtype is not None):
            logits = self.network(scaled.contiguous(memory_format=self.layout))
        loss = segmentation_loss(logits, targets, known, self.recipe)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()


def _nearest(batch: Sample, context_slices: int) -> Sample:
    """A batch with adjacent slices only, of those among which augmentation chooses."""
    middle = batch["hu"].shape[1] // 2
    around = slice(middle - context_slices, middle + context_slices + 1)
    near = {name: batch[name][:, around] for name in ("hu", "labels", "range_hu")}
    return {**batch, **near}  # type: ignore[typeddict-item]
