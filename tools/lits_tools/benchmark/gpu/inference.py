"""Exported files on a provider: seconds of a whole CT, speed, parity, and where nodes ran."""

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lits_runtime.model.bundled import bundled_model
from lits_runtime.phantom.ct import make_phantom
from lits_runtime.segment.segmenter import Segmenter
from lits_runtime.volumes.scan import Scan
from lits_tools.benchmark.measured.figures import Figure
from lits_tools.benchmark.measured.scan import MATRIX, benchmark_scan
from lits_tools.benchmark.model import ModelBenchmark, exported, untrained

_PHANTOM_SLICES = 40


@dataclass(frozen=True)
class Inference:
    """Measurements of inference, in one working folder."""

    folder: Path
    matrix: int
    slices: int
    """Of the whole CT."""
    runs: int
    precisions: tuple[str, ...] = ("fp32", "fp16")
    """Of the files; "fp32" is what the others are compared with."""
    recipes: tuple[str, ...] = ("default", "baseline")

    def whole(self, provider: str) -> list[Figure]:
        """Seconds from file to file with the bundled model; the first includes what is set up."""
        scan, mask, seconds = self._scan, self.folder / f"mask-{provider}.nii.gz", []
        began = time.perf_counter()
        with Segmenter.open(bundled_model(), provider=provider) as segmenter:
            opened = time.perf_counter() - began
            for _ in range(self.runs + 1):
                began = time.perf_counter()
                segmenter.segment_file(scan, mask, force=True)
                seconds.append(time.perf_counter() - began)
        size = f"{MATRIX} x {MATRIX} x {self.slices}"
        return [
            Figure(f"{provider}: session", opened, "s"),
            Figure(f"{provider}: first CT of {size}", seconds[0], "s"),
            Figure(f"{provider}: next CT of {size}", float(np.median(seconds[1:])), "s"),
        ]

    def files(self, provider: str) -> list[Figure]:
        """Each recipe's files: speed, parity with PyTorch in fp32, nodes that fell back."""
        figures = []
        for checkpoint in untrained(self.folder):
            recipe = checkpoint.stem.removeprefix("untrained-")
            if recipe not in self.recipes:
                continue
            models = exported(checkpoint, None, self.folder, False, self.precisions)
            measured = min(64, self.slices)
            found = ModelBenchmark(
                checkpoint, models, self._volume_hu, provider, self.runs, measured
            )
            for figure in found.measure():
                title = f"{recipe}, {provider}: {figure.name}"
                figures.append(Figure(title, figure.value, figure.unit, figure.bound))
        return figures

    @cached_property
    def _scan(self) -> Path:
        path = self.folder / "ct.nii.gz"
        benchmark_scan(path, self.slices)
        return path

    @cached_property
    def _volume_hu(self) -> NDArray[np.float32]:
        phantom = make_phantom(1, matrix=self.matrix, slices=_PHANTOM_SLICES, lesions=3)
        opened = Scan.open((phantom.volume_hu, phantom.affine)).load()
        return opened.read_slab(0, opened.geometry.canonical_shape[0])
