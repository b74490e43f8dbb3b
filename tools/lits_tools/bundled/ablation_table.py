"""The scores of an ablation beside what each variant costs, as a table in Markdown."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from lits_runtime.errors import DatasetError
from lits_runtime.segment.segmenter import Segmenter
from lits_runtime.volumes.scan import Scan
from lits_tools.benchmark.model import Way
from lits_tools.bundled.data import volumes
from lits_tools.bundled.trial import MODEL_NAME, SCORES_NAME
from lits_train.network.checkpoint import LAST_NAME, load_checkpoint
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.settings.recipe import Recipe

SLICES, BATCH, TURNS = 48, 4, 5
"""What speed is measured on, in slabs of `BATCH`, each variant in turn."""


@dataclass(frozen=True)
class Row:
    """One run of a variant. Cases 44 and 1003 are seen by none of them."""

    variant: str
    liver_44: float
    lesion_44: float
    """Dice."""
    lesion_44_ml: float
    """Claimed; there are 164 ml."""
    liver_1003: float
    false_ml_1003: float
    """Claimed in a healthy liver."""
    validation_liver: float
    """Mean Dice of the patients of MSD that none of them has seen either, and of a phantom."""
    minutes: float
    gmac: float
    """Multiplications for one slice, in thousands of millions."""
    slices_per_s: float
    """Of the fp32 file through the runtime on the CPU."""


def rows(output: Path, folders: Mapping[str, Sequence[str]]) -> list[Row]:
    """A row for each run that is done.

    Args:
        output: of the ablation.
        folders: names of the folders of a variant's runs within `output`, by variant.

    Raises:
        DatasetError: none is done.
    """
    done = {
        variant: kept
        for variant, names in folders.items()
        if (kept := [output / name for name in names if (output / name / SCORES_NAME).exists()])
    }
    if not done:
        raise DatasetError(f"{output}: none of the variants is done here; train them first")
    (scan,) = volumes(output / "sources", ("44",))
    rates = speeds({variant: runs[0] / MODEL_NAME for variant, runs in done.items()}, scan)
    return [_row(variant, run, rates[variant]) for variant, runs in done.items() for run in runs]


def _row(variant: str, run: Path, slices_per_s: float) -> Row:
    told: dict[str, Any] = json.loads((run / SCORES_NAME).read_text())
    unseen, healthy = told["cases"]["44"], told["cases"]["1003"]
    return Row(
        variant,
        unseen["liver_dice"],
        unseen["lesion_dice"],
        unseen["lesion_ml"],
        healthy["liver_dice"],
        healthy["lesion_ml"],
        told["validation_dice"]["liver"],
        told["minutes"],
        gmac(load_checkpoint(run / LAST_NAME).recipe),
        slices_per_s,
    )


def gmac(recipe: Recipe) -> float:
    """Multiplications that a recipe's network takes for one slice, in thousands of millions."""
    network = SegmentationNetwork(recipe).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, recipe.size, recipe.size))
    return float(counter.get_total_flops()) / 2e9


def speeds(models: Mapping[str, Path], scan: Path) -> dict[str, float]:
    """Slices per second of models on the CPU: the median of turns that each takes in turn."""
    opened = {name: Segmenter.open(path, provider="cpu") for name, path in models.items()}
    ways = {name: Way(name, segmenter.labels, segmenter) for name, segmenter in opened.items()}
    volume = Scan.open(scan).load()
    rates: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(TURNS + 1):
        for name, way in ways.items():
            slabs = _slabs(volume, opened[name].metadata.context_slices)
            seconds = way.seconds(slabs)
            if turn:  # the first is not counted
                rates[name].append(len(slabs) * BATCH / seconds)
    return {name: statistics.median(turns) for name, turns in rates.items()}


def written(table: Sequence[Row]) -> str:
    """A line for each variant, in Markdown: means over its runs, and in brackets their range."""
    names = [field.name for field in fields(Row)]
    lines = [f"| {' | '.join([*names, 'runs'])} |", "|---" * (len(names) + 1) + "|"]
    for variant in dict.fromkeys(row.variant for row in table):
        runs = [row for row in table if row.variant == variant]
        cells = [_cell([getattr(row, name) for row in runs]) for name in names[1:]]
        lines.append(f"| {' | '.join([variant, *cells, str(len(runs))])} |")
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    """One figure for several runs.

    >>> _cell([0.25, 0.75]), _cell([0.5, 0.5])
    ('0.500 (0.250 to 0.750)', '0.500')
    """
    digits = 3 if max(values) < 1 else 2 if max(values) < 10 else 0
    mean, low, high = (
        f"{value:.{digits}f}" for value in (statistics.mean(values), min(values), max(values))
    )
    return mean if low == high else f"{mean} ({low} to {high})"


def _slabs(volume: Scan, context: int) -> list[NDArray[np.float32]]:
    slices = volume.geometry.canonical_shape[0]
    first = max((slices - SLICES) // 2, 0)
    starts = range(first, min(first + SLICES, slices - BATCH + 1), BATCH)
    return [volume.read_slab(start, start + BATCH, context) for start in starts]
