"""Speed of the training data: prepared arrays compared with memory and with slicing .nii.gz."""

import itertools
import logging
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, RandomSampler

from lits_runtime.errors import DatasetError
from lits_tools.benchmark.measured.baseline import SlicedVolumes
from lits_tools.benchmark.measured.figures import Figure, line
from lits_train.data.cases import Case, find_cases, usable_cases
from lits_train.network.preprocessing import Preprocessing
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.prepared.convert import prepare
from lits_train.prepared.slices import open_cases
from lits_train.samples.dataset import Sample, SliceDataset
from lits_train.settings.recipe import Recipe
from lits_train.training.losses import segmentation_loss
from lits_train.training.network_inputs import class_targets, known_pixels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoaderBenchmark:
    """What to measure, and on which data."""

    data: Path
    """LiTS cases; those in .nii.gz are sliced as well."""
    folder: Path
    """For prepared data."""
    recipe: Recipe
    device: str = "cpu"
    workers: int = 0
    steps: int = 30
    """Training steps from each source."""
    turns: int = 5
    """Repetitions of reading slices."""
    items: int = 10
    """Slices of .nii.gz in one repetition."""

    def measure(self) -> list[Figure]:
        """All figures; sources take turns, and a ratio is the median of those within a turn."""
        cases = find_cases(self.data)
        prepare(cases, self.folder, self.recipe.size)
        dataset = SliceDataset(open_cases(self.folder), self.recipe)
        figures = [*self._against_memory(dataset), *self._against_slicing(dataset, cases)]
        for figure in figures:
            logger.info("%s", line(figure))
        return figures

    def _loader(self, dataset: SliceDataset) -> DataLoader[Sample]:
        """The loader of lits-train."""
        return DataLoader(
            dataset,
            batch_size=self.recipe.batch_size,
            sampler=RandomSampler(dataset),
            drop_last=True,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=self.device.startswith("cuda"),
        )

    def _against_memory(self, dataset: SliceDataset) -> list[Figure]:
        loader = self._loader(dataset)
        if not len(loader):
            raise DatasetError(f"{self.data}: fewer slices than a batch of {loader.batch_size}")
        step = _Step(self.recipe, self.device)
        loaded = _forever(loader)
        in_memory = itertools.cycle([next(loaded) for _ in range(min(8, len(loader)))])
        seconds = _in_turn(
            {
                "prepared": lambda: step.take(next(loaded)),
                "memory": lambda: step.take(next(in_memory)),
                "loading": lambda: next(loaded),
            },
            self.steps,
        )
        rates = {name: 1 / statistics.median(times) for name, times in seconds.items()}
        turns = zip(seconds["memory"], seconds["prepared"], strict=True)
        ratio = statistics.median(memory / prepared for memory, prepared in turns)
        return [
            Figure("training steps, data in memory", rates["memory"], "1/s"),
            Figure("training steps, prepared data", rates["prepared"], "1/s"),
            Figure("batches loaded, without training", rates["loading"], "1/s"),
            Figure("prepared over in memory", ratio, bound="at least 0.9"),
        ]

    def _against_slicing(self, dataset: SliceDataset, cases: Sequence[Case]) -> list[Figure]:
        compressed, _ = usable_cases([case for case in cases if case.volume.suffix == ".gz"])
        reopened = SlicedVolumes(compressed, self.recipe)
        kept_open = SlicedVolumes(compressed, self.recipe, keep_open=True)
        many = 10 * self.items
        seconds = _in_turn(
            {
                "prepared": lambda: _read(dataset, many),
                "opened for each item": lambda: _read(reopened, self.items),
                "kept open": lambda: _read(kept_open, self.items),
            },
            self.turns,
        )
        prepared = [many / spent for spent in seconds["prepared"]]
        figures = [Figure("slices from prepared arrays", statistics.median(prepared), "1/s")]
        for name, bound in (("opened for each item", "at least 20"), ("kept open", "")):
            rates = [self.items / spent for spent in seconds[name]]
            ratios = [fast / slow for fast, slow in zip(prepared, rates, strict=True)]
            figures += [
                Figure(f"slices from .nii.gz, {name}", statistics.median(rates), "1/s"),
                Figure(f"prepared over .nii.gz, {name}", statistics.median(ratios), bound=bound),
            ]
        return figures


class _Step:
    """One training step, as in the training loop."""

    def __init__(self, recipe: Recipe, device: str) -> None:
        self.recipe, self.device = recipe, torch.device(device)
        self.preprocessing = Preprocessing(recipe)
        self.network = SegmentationNetwork(recipe).to(self.device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=recipe.learning_rate)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.device.type == "cuda")

    def take(self, batch: Sample) -> None:
        """Take a step and wait until the device is done."""
        hu, range_hu, labels, liver_only = (
            tensor.to(self.device, non_blocking=True)
            for tensor in (batch["hu"], batch["range_hu"], batch["labels"], batch["liver_only"])
        )
        scaled = self.preprocessing.of_batch(hu, range_hu)
        middle = labels[:, self.recipe.context_slices]
        masks = class_targets(middle, self.recipe.classes)
        with torch.autocast(self.device.type, enabled=self.device.type == "cuda"):
            logits = self.network(scaled)
        known = known_pixels(middle, liver_only, self.recipe.classes)
        loss = segmentation_loss(logits, masks, known, self.recipe)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def _forever(loader: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def _read(items: Any, count: int) -> None:
    """Read random items, the same in each turn."""
    for item in random.Random(count).choices(range(len(items)), k=count):
        items[item]


def _in_turn(actions: dict[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """Seconds of each action in each turn, after a warm-up turn."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(turns + 1):
        for name, action in actions.items():
            began = time.perf_counter()
            action()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return seconds
