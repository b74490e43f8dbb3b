"""Slices per second of one network: in PyTorch, and as a file of each precision."""

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from lits_export.export import MAX_SIZE, ExportSettings, export_model
from lits_export.parity.compare import compare
from lits_export.parity.engines import open_engine
from lits_export.parity.slabs import CheckSlab
from lits_export.parity.tolerance import TOLERANCES, Tolerance
from lits_runtime.segment.segmenter import Segmenter
from lits_runtime.system.processors import usable_processors
from lits_runtime.system.threads import ordered_map
from lits_tools.benchmark.measured.figures import Figure
from lits_tools.benchmark.node_placement import count, fallen_back, placement
from lits_train.network.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.network.slab_segmenter import SlabSegmenter
from lits_train.settings.recipe import RECIPES

logger = logging.getLogger(__name__)

BATCHES = {"cpu": (1, 2, 4, 8, 16), "gpu": (8, 16, 32, 64)}
"""Slices per call that are tried; the fastest for each implementation counts."""
LEAST_INT8 = 1.3
"""Speed of int8 over fp32 on the CPU."""
_ANY = Tolerance(probability=None, dice=0.0)

SlabFunction = Callable[[NDArray[np.float32]], object]


@dataclass(frozen=True)
class Implementation:
    """One implementation of the network that segments slabs."""

    name: str
    segment: SlabFunction
    parallel: Segmenter | None = None
    """Whose threads segment several slabs at once, as in the runtime; None: one after another."""

    def seconds(self, slabs: Sequence[NDArray[np.float32]]) -> float:
        """Time for all slabs."""
        began = time.perf_counter()
        if self.parallel is None:
            for slab_hu in slabs:
                self.segment(slab_hu)
        else:
            lanes = self.parallel.lanes
            for _ in ordered_map(self.parallel.engine.pool(), self.segment, slabs, 2 * lanes):
                pass
        return time.perf_counter() - began


@dataclass(frozen=True)
class ModelBenchmark:
    """What to measure: a checkpoint and its files."""

    checkpoint: Path
    models: dict[str, Path]
    """By precision; the others are compared with "fp32"."""
    volume_hu: NDArray[np.float32]
    """(slices, height, width), canonical orientation."""
    provider: str = "cpu"
    runs: int = 7
    slices: int = 64
    """Approximate number of slices in one measurement."""

    def measure(self) -> list[Figure]:
        """Speed of each implementation at its best batch, file sizes, parity, node placement."""
        return self._speeds() + self._sizes() + self._parity() + self._placement()

    def _speeds(self) -> list[Figure]:
        implementations = self._implementations()
        batches = {one.name: self._best_batch(one) for one in implementations}
        turns: dict[str, list[float]] = {one.name: [] for one in implementations}
        for turn in range(self.runs + 1):
            for one in implementations:
                slabs, slices = self._slabs(batches[one.name])
                rate = slices / one.seconds(slabs)
                if turn:  # the first is a warm-up
                    turns[one.name].append(rate)
        figures = []
        for name, rates in turns.items():
            title = f"{name}, best batch {batches[name]}"
            figures.append(Figure(title, statistics.median(rates), "slices/s"))
            if name != "ONNX fp32":
                bounded = self.provider == "cpu" and name == "ONNX int8"
                pairs = zip(rates, turns["ONNX fp32"], strict=True)
                ratio = statistics.median(rate / fp32 for rate, fp32 in pairs)
                bound = f"at least {LEAST_INT8}" if bounded else ""
                figures.append(Figure(f"{name} over ONNX fp32", ratio, bound=bound))
        return figures

    def _implementations(self) -> list[Implementation]:
        loaded = load_checkpoint(self.checkpoint)
        network = SlabSegmenter(loaded.recipe, loaded.network()).eval()
        implementations = in_torch(network, self.provider)
        for name, path in self.models.items():
            segmenter = Segmenter.open(path, provider=self.provider)
            parallel = segmenter if segmenter.lanes > 1 else None
            implementations.append(Implementation(f"ONNX {name}", segmenter.labels, parallel))
        return implementations

    @cached_property
    def _context_slices(self) -> int:
        return Segmenter.open(self.models["fp32"], provider="cpu").metadata.context_slices

    def _sizes(self) -> list[Figure]:
        sizes = {name: path.stat().st_size for name, path in self.models.items()}
        return [
            Figure(
                f"{name}: file size over fp32",
                size / sizes["fp32"],
                bound=f"at most {MAX_SIZE[name]:g}",
            )
            for name, size in sizes.items()
            if name != "fp32"
        ]

    def _placement(self) -> list[Figure]:
        """Nodes that fell back to the CPU."""
        if self.provider == "cpu":
            return []
        slabs, _ = self._slabs(2)
        figures = []
        for name, path in self.models.items():
            nodes = placement(path.read_bytes(), self.provider, slabs[0])
            logger.info("%s: %s", name, {on: dict(found) for on, found in count(nodes).items()})
            fallen = len(fallen_back(nodes))
            title = f"{name}: nodes that fell back to the CPU"
            figures.append(Figure(title, fallen, bound="at most 0"))
        return figures

    def _parity(self) -> list[Figure]:
        """Compared with PyTorch in float32 on the CPU, on every fourth slice."""
        loaded = load_checkpoint(self.checkpoint)
        reference = SlabSegmenter(loaded.recipe, loaded.network()).eval()
        engines = [open_engine(self.provider, path.read_bytes()) for path in self.models.values()]
        width = 1 + 2 * self._context_slices
        slabs = (
            CheckSlab(f"slice {start}", self.volume_hu[start : start + width], 0.001)
            for start in range(0, len(self.volume_hu) - width + 1, 4)
        )
        results = compare(reference, engines, slabs)
        return [
            figure
            for precision, (report, _) in zip(self.models, results, strict=True)
            for name, parity in report.classes.items()
            for figure in (
                Figure(f"{precision}: {name}, Dice with torch fp32", parity.dice),
                Figure(f"{precision}: {name}, largest difference", parity.largest_difference),
            )
        ]

    def _slabs(self, batch: int) -> tuple[list[NDArray[np.float32]], int]:
        """Slabs of `batch` slices each, about `slices` in total, and their exact total."""
        context, count = self._context_slices, max(2, self.slices // batch)
        last = len(self.volume_hu) - batch - 2 * context
        starts = [int(start) for start in np.linspace(0, max(last, 0), count)]
        slabs = [self.volume_hu[start : start + batch + 2 * context] for start in starts]
        return slabs, sum(len(slab) - 2 * context for slab in slabs)

    def _best_batch(self, implementation: Implementation) -> int:
        rates = {}
        for batch in BATCHES["cpu" if self.provider == "cpu" else "gpu"]:
            slabs, slices = self._slabs(batch)
            implementation.seconds(slabs[:1])  # the first slab of a shape is slow
            rates[batch] = slices / implementation.seconds(slabs)
        return max(rates, key=lambda batch: rates[batch])


def in_torch(segmenter: SlabSegmenter, provider: str) -> list[Implementation]:
    """PyTorch in eager mode on the provider's device; on CUDA also with autocast, and compiled."""
    device = torch.device("cpu" if provider == "cpu" else "cuda")
    torch.set_num_threads(usable_processors())
    segmenter = segmenter.to(device)

    def segmented(network: SegmentationNetwork, autocast: bool) -> SlabFunction:
        def segment(slab_hu: NDArray[np.float32]) -> NDArray[np.uint8]:
            segmenter.network = network
            with (
                torch.inference_mode(),
                torch.autocast(device.type, torch.float16, enabled=autocast),
            ):
                logits = segmenter.logits(torch.from_numpy(slab_hu).to(device))
                labels = segmenter.merge(logits >= segmenter.logit_thresholds)
            on_host: NDArray[np.uint8] = labels.cpu().numpy()
            return on_host

        return segment

    eager = segmenter.network
    implementations = [Implementation("torch eager", segmented(eager, False))]
    if device.type == "cuda":
        compiled = cast(SegmentationNetwork, torch.compile(eager))
        implementations += [
            Implementation("torch autocast", segmented(eager, True)),
            Implementation("torch autocast, compiled", segmented(compiled, True)),
        ]
    return implementations


def untrained(folder: Path) -> list[Path]:
    """A checkpoint of each recipe with random weights, made if missing: as fast as trained ones."""
    paths = []
    for name, recipe in RECIPES.items():
        path = folder / f"untrained-{name}.pth"
        if not path.exists():
            torch.manual_seed(0)
            network = SegmentationNetwork(recipe)
            save_checkpoint(Checkpoint(recipe, network.state_dict(), {"epochs": 0}), path)
        paths.append(path)
    return paths


def exported(
    checkpoint: Path,
    scan: Path | None,
    folder: Path,
    trained: bool,
    precisions: Sequence[str] = tuple(TOLERANCES),
) -> dict[str, Path]:
    """The file of each precision, exported if missing.

    Args:
        checkpoint: of lits-train.
        scan: to calibrate and compare on; None: the phantom.
        folder: of the files, which are named for the checkpoint.
        trained: whether the usual tolerances apply; the labels of an untrained network are noise.
        precisions: those to export.

    Raises:
        ParityError: the file of a trained network is out of tolerance.
    """
    models = {}
    for precision in precisions:
        usual = TOLERANCES[precision]
        models[precision] = folder / f"{checkpoint.stem}-{precision}.onnx"
        if models[precision].exists():
            continue
        check_on = () if scan is None else (scan,)
        tolerance = usual if trained else _ANY
        settings = ExportSettings(precision, check_on, tolerance, providers=("cpu",))
        export_model(checkpoint, models[precision], settings)
    return models
