"""How fast training data comes: prepared arrays against memory, and against slicing .nii.gz."""

import itertools
import logging
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from torch.utils.data import DataLoader, RandomSampler

from lits_runtime.errors import DatasetError
from lits_tools.benchmark.runtime import Figure, line
from lits_train.data.cases import Case, find_cases, usable_cases
from lits_train.network.preprocessing import Preprocessing, resized_slab
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
    """What to measure."""

    data: Path
    """Pairs; those in .nii.gz are sliced."""
    folder: Path
    """For prepared data."""
    recipe: Recipe
    device: str = "cpu"
    workers: int = 0
    steps: int = 30
    """Of training, from either side in turn."""
    turns: int = 5
    """Of reading slices."""
    items: int = 10
    """Slices read from .nii.gz in a turn."""

    def measure(self) -> list[Figure]:
        """All figures; each ratio is the median of turns in which both sides took their part."""
        pairs = find_cases(self.data)
        prepare(pairs, self.folder, self.recipe.size)
        dataset = SliceDataset(open_cases(self.folder), self.recipe)
        figures = [*self._against_memory(dataset), *self._against_nibabel(dataset, pairs)]
        for figure in figures:
            logger.info("%s", line(figure))
        return figures

    def _loader(self, dataset: SliceDataset) -> DataLoader[Sample]:
        """As lits-train makes it."""
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
        real = _forever(loader)
        held = itertools.cycle([next(real) for _ in range(min(8, len(loader)))])
        seconds = _in_turn(
            {
                "real": lambda: step.take(next(real)),
                "held": lambda: step.take(next(held)),
                "loading": lambda: next(real),
            },
            self.steps,
        )
        rates = {name: 1 / statistics.median(times) for name, times in seconds.items()}
        ratios = [held / real for real, held in zip(seconds["real"], seconds["held"], strict=True)]
        return [
            Figure("training steps, data in memory", rates["held"], "1/s", ""),
            Figure("training steps, prepared data", rates["real"], "1/s", ""),
            Figure("batches loaded, without training", rates["loading"], "1/s", ""),
            Figure("prepared over in memory", statistics.median(ratios), "", "at least 0.9"),
        ]

    def _against_nibabel(self, dataset: SliceDataset, pairs: Sequence[Case]) -> list[Figure]:
        compressed, _ = usable_cases([case for case in pairs if case.volume.suffix == ".gz"])
        sliced = _NibabelSlices(compressed, self.recipe)
        kept = _NibabelSlices(compressed, self.recipe, keep_open=True)
        many = 10 * self.items
        seconds = _in_turn(
            {
                "prepared": lambda: _read(dataset, many),
                "nibabel": lambda: _read(sliced, self.items),
                "kept open": lambda: _read(kept, self.items),
            },
            self.turns,
        )
        prepared = [many / spent for spent in seconds["prepared"]]
        figures = [Figure("slices from prepared arrays", statistics.median(prepared), "1/s", "")]
        for name, bound in (("nibabel", "at least 20"), ("kept open", "")):
            rates = [self.items / spent for spent in seconds[name]]
            ratios = [one / other for one, other in zip(prepared, rates, strict=True)]
            how = "opened for each item" if name == "nibabel" else "kept open"
            figures += [
                Figure(f"slices from .nii.gz, {how}", statistics.median(rates), "1/s", ""),
                Figure(f"prepared over .nii.gz, {how}", statistics.median(ratios), "", bound),
            ]
        return figures


class _NibabelSlices:
    """The plain way: an item slices the compressed volume and mask with nibabel and resizes."""

    def __init__(self, cases: Sequence[Case], recipe: Recipe, *, keep_open: bool = False) -> None:
        self.recipe, self.keep_open = recipe, keep_open
        self.index = [(case, k) for case in cases for k in range(case.slices)]
        self._open: dict[Path, Any] = {}

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int) -> Any:
        case, number = self.index[item]
        slabs = [self._slab(path, number) for path in (case.volume, case.segmentation)]
        return resized_slab(slabs[0], slabs[1], self.recipe.size)

    def _slab(self, path: Path, number: int) -> Any:
        image: Any = self._open.get(path) or nib.load(path)
        if self.keep_open:
            self._open[path] = image
        around = self.recipe.context_slices
        low, high = max(number - around, 0), number + around + 1
        stored = np.asanyarray(image.dataobj[:, :, low:high])
        return np.ascontiguousarray(stored.T, dtype=np.float32)


class _Step:
    """One training step, as the loop takes it."""

    def __init__(self, recipe: Recipe, device: str) -> None:
        self.recipe, self.device = recipe, torch.device(device)
        self.preprocessing = Preprocessing(recipe)
        self.network = SegmentationNetwork(recipe).to(self.device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=recipe.learning_rate)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.device.type == "cuda")

    def take(self, batch: Sample) -> None:
        """Take a step, to its end."""
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
    """Read items in a random order, the same in each turn."""
    for item in random.Random(count).choices(range(len(items)), k=count):
        items[item]


def _in_turn(sides: dict[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """Seconds of each side in each turn, after one turn that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, side in sides.items():
            began = time.perf_counter()
            side()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return seconds
