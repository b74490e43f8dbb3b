"""Slices per second of one network: torch, and the files of each precision, in turn."""

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

from lits_export.export import MAX_SIZE
from lits_export.parity.compare import compare
from lits_export.parity.slabs import CheckSlab
from lits_runtime.segment.segmenter import Segmenter
from lits_runtime.system.processors import usable_processors
from lits_runtime.system.threads import ordered_map
from lits_tools.benchmark.node_placement import count, fallen_back, placement
from lits_tools.benchmark.runtime import Figure
from lits_train.network.checkpoint import load_checkpoint
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.network.slab_segmenter import SlabSegmenter

logger = logging.getLogger(__name__)

BATCHES = {"cpu": (1, 2, 4, 8, 16), "gpu": (8, 16, 32, 64)}
"""Slices per call that torch and files are tried with; the best of each counts."""
LEAST_INT8 = 1.3
"""int8 over fp32 on the CPU."""

Work = Callable[[NDArray[np.float32]], object]


@dataclass(frozen=True)
class Way:
    """One way to segment slabs."""

    name: str
    work: Work
    parallel: Segmenter | None = None
    """Whose threads work on several slabs side by side, as in the runtime; None: one by one."""

    def seconds(self, slabs: Sequence[NDArray[np.float32]]) -> float:
        """Time for all slabs."""
        began = time.perf_counter()
        if self.parallel is None:
            for slab_hu in slabs:
                self.work(slab_hu)
        else:
            lanes = self.parallel.lanes
            for _ in ordered_map(self.parallel.engine.pool(), self.work, slabs, 2 * lanes):
                pass
        return time.perf_counter() - began


@dataclass(frozen=True)
class ModelBenchmark:
    """What to measure: one checkpoint and its files."""

    checkpoint: Path
    models: dict[str, Path]
    """By precision; "fp32" is what the others are compared with."""
    volume_hu: NDArray[np.float32]
    """(slices, height, width), canonical orientation."""
    provider: str = "cpu"
    runs: int = 7
    slices: int = 64
    """Timed at once, about."""

    def measure(self) -> list[Figure]:
        """Slices per second of each way at its best batch, ratios over fp32, node placement."""
        ways = self._ways()
        batches = {way.name: self._best_batch(way) for way in ways}
        turns: dict[str, list[float]] = {way.name: [] for way in ways}
        for turn in range(self.runs + 1):
            for way in ways:
                slabs, slices = self._slabs(batches[way.name])
                rate = slices / way.seconds(slabs)
                if turn:  # the first is not counted
                    turns[way.name].append(rate)
        figures = []
        for name, rates in turns.items():
            told = f"{name}, best batch {batches[name]}"
            figures.append(Figure(told, statistics.median(rates), "slices/s", ""))
            if name != "ONNX fp32":
                least = self.provider == "cpu" and name == "ONNX int8"
                pairs = zip(rates, turns["ONNX fp32"], strict=True)
                ratio = statistics.median(one / fp32 for one, fp32 in pairs)
                bound = f"at least {LEAST_INT8}" if least else ""
                figures.append(Figure(f"{name} over ONNX fp32", ratio, "", bound))
        return figures + self._sizes() + self._parity() + self._placement()

    def _ways(self) -> list[Way]:
        loaded = load_checkpoint(self.checkpoint)
        network = SlabSegmenter(loaded.recipe, loaded.network()).eval()
        ways = torch_ways(network, self.provider)
        for name, path in self.models.items():
            segmenter = Segmenter.open(path, provider=self.provider)
            parallel = segmenter if segmenter.lanes > 1 else None
            ways.append(Way(f"ONNX {name}", segmenter.labels, parallel))
        return ways

    @cached_property
    def _context_slices(self) -> int:
        return Segmenter.open(self.models["fp32"], provider="cpu").metadata.context_slices

    def _sizes(self) -> list[Figure]:
        whole = self.models["fp32"].stat().st_size
        return [
            Figure(
                f"{name}: file over fp32's",
                path.stat().st_size / whole,
                "",
                f"at most {MAX_SIZE[name]:g}",
            )
            for name, path in self.models.items()
            if name != "fp32"
        ]

    def _placement(self) -> list[Figure]:
        """Nodes that the provider left to the CPU."""
        if self.provider == "cpu":
            return []
        slabs, _ = self._slabs(2)
        figures = []
        for name, path in self.models.items():
            nodes = placement(path.read_bytes(), self.provider, slabs[0])
            logger.info("%s: %s", name, {on: dict(found) for on, found in count(nodes).items()})
            fallen = len(fallen_back(nodes))
            figures.append(Figure(f"{name}: nodes that fell to the CPU", fallen, "", "at most 0"))
        return figures

    def _parity(self) -> list[Figure]:
        """Against the network in float32 on the CPU, on every fourth slice."""
        loaded = load_checkpoint(self.checkpoint)
        reference = SlabSegmenter(loaded.recipe, loaded.network()).eval()
        segmenters = [Segmenter.open(path, provider=self.provider) for path in self.models.values()]
        width = 1 + 2 * self._context_slices
        slabs = (
            CheckSlab(f"slice {start}", self.volume_hu[start : start + width], 0.001)
            for start in range(0, len(self.volume_hu) - width + 1, 4)
        )
        results = compare(reference, segmenters, slabs)
        return [
            figure
            for precision, (report, _) in zip(self.models, results, strict=True)
            for name, parity in report.classes.items()
            for figure in (
                Figure(f"{precision}: {name}, Dice with torch fp32", parity.dice, "", ""),
                Figure(f"{precision}: {name}, largest", parity.largest_difference, "", ""),
            )
        ]

    def _slabs(self, batch: int) -> tuple[list[NDArray[np.float32]], int]:
        """Slabs of `batch` slices each, about `slices` in all, and how many slices that is."""
        context, count = self._context_slices, max(2, self.slices // batch)
        last = len(self.volume_hu) - batch - 2 * context
        starts = [int(start) for start in np.linspace(0, max(last, 0), count)]
        slabs = [self.volume_hu[start : start + batch + 2 * context] for start in starts]
        return slabs, sum(len(slab) - 2 * context for slab in slabs)

    def _best_batch(self, way: Way) -> int:
        rates = {}
        for batch in BATCHES["cpu" if self.provider == "cpu" else "gpu"]:
            slabs, slices = self._slabs(batch)
            way.seconds(slabs[:1])  # the first of a shape sets up
            rates[batch] = slices / way.seconds(slabs)
        return max(rates, key=lambda batch: rates[batch])


def torch_ways(segmenter: SlabSegmenter, provider: str) -> list[Way]:
    """Torch eager on the provider's device; on CUDA also with autocast, and compiled."""
    device = torch.device("cpu" if provider == "cpu" else "cuda")
    torch.set_num_threads(usable_processors())
    segmenter = segmenter.to(device)
    network = segmenter.network

    def work(
        slab_hu: NDArray[np.float32], lowered: bool, run: SegmentationNetwork
    ) -> NDArray[np.uint8]:
        segmenter.network = run
        with torch.inference_mode(), torch.autocast(device.type, torch.float16, enabled=lowered):
            logits = segmenter.logits(torch.from_numpy(slab_hu).to(device))
            labels = segmenter.merge(logits >= segmenter.logit_thresholds)
        found: NDArray[np.uint8] = labels.cpu().numpy()
        return found

    ways = [Way("torch eager", lambda slab_hu: work(slab_hu, False, network))]
    if device.type == "cuda":
        compiled = cast(SegmentationNetwork, torch.compile(network))
        ways.append(Way("torch autocast", lambda slab_hu: work(slab_hu, True, network)))
        ways.append(Way("torch autocast, compiled", lambda slab_hu: work(slab_hu, True, compiled)))
    return ways
