"""Scores and costs of the variants of an ablation, as a table in Markdown."""

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
from lits_tools.benchmark.model import Implementation
from lits_tools.bundled.data import volumes
from lits_tools.bundled.settings import TrialData
from lits_tools.bundled.trial import MODEL_NAME, SCORES_NAME
from lits_train.network.checkpoint import LAST_NAME, load_checkpoint
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.settings.recipe import Recipe

SLICES, BATCH, TURNS = 48, 4, 5
"""Speed is measured on so many slices, in slabs of `BATCH`; the variants take turns."""


@dataclass(frozen=True)
class Row:
    """One run of a variant, scored on the two cases that no variant has seen."""

    variant: str
    liver_dice: float
    """Of the case with lesions, like the lesion scores."""
    lesion_dice: float
    lesion_ml: float
    """Predicted."""
    lesion_ml_gt: float
    """In the reference."""
    healthy_liver_dice: float
    false_lesion_ml: float
    """Predicted in the healthy liver."""
    validation_liver_dice: float
    """Mean over the validation cases, which no variant has seen either."""
    minutes: float
    gmac: float
    """Multiply-accumulate operations for one slice, in billions."""
    slices_per_s: float
    """Of the fp32 file in the runtime on the CPU."""


def rows(output: Path, folders: Mapping[str, Sequence[str]], data: TrialData) -> list[Row]:
    """A row for each finished run.

    Args:
        output: working folder of the ablation.
        folders: the folders of a variant's runs within `output`, by variant.
        data: of the trials.

    Raises:
        DatasetError: no run is finished.
    """
    done = {
        variant: kept
        for variant, names in folders.items()
        if (kept := [output / name for name in names if (output / name / SCORES_NAME).exists()])
    }
    if not done:
        raise DatasetError(f"{output}: no variant is finished here; train one first")
    (scan,) = volumes(output / "sources", (data.lesion_case,))
    rates = speeds({variant: runs[0] / MODEL_NAME for variant, runs in done.items()}, scan)
    return [
        _row(variant, run, rates[variant], data) for variant, runs in done.items() for run in runs
    ]


def _row(variant: str, run: Path, slices_per_s: float, data: TrialData) -> Row:
    scores: dict[str, Any] = json.loads((run / SCORES_NAME).read_text())
    lesions, healthy = (scores["cases"][case_id] for case_id in data.unseen)
    return Row(
        variant,
        lesions["liver_dice"],
        lesions["lesion_dice"],
        lesions["lesion_ml"],
        lesions["lesion_ml_gt"],
        healthy["liver_dice"],
        healthy["lesion_ml"],
        scores["validation_dice"]["liver"],
        scores["minutes"],
        gmac(load_checkpoint(run / LAST_NAME).recipe),
        slices_per_s,
    )


def gmac(recipe: Recipe) -> float:
    """Multiply-accumulate operations of a recipe's network for one slice, in billions."""
    network = SegmentationNetwork(recipe).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, recipe.size, recipe.size))
    return float(counter.get_total_flops()) / 2e9


def speeds(models: Mapping[str, Path], scan: Path) -> dict[str, float]:
    """Slices per second of models on the CPU: the median over turns."""
    opened = {name: Segmenter.open(path, provider="cpu") for name, path in models.items()}
    implementations = {
        name: Implementation(name, segmenter.labels, segmenter)
        for name, segmenter in opened.items()
    }
    volume = Scan.open(scan).load()
    rates: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(TURNS + 1):
        for name, implementation in implementations.items():
            slabs = _slabs(volume, opened[name].metadata.context_slices)
            seconds = implementation.seconds(slabs)
            if turn:  # the first is a warm-up
                rates[name].append(len(slabs) * BATCH / seconds)
    return {name: statistics.median(turns) for name, turns in rates.items()}


def markdown(table: Sequence[Row]) -> str:
    """A line for each variant: the mean over its runs and, in brackets, their range."""
    names = [field.name for field in fields(Row)]
    lines = [f"| {' | '.join([*names, 'runs'])} |", "|---" * (len(names) + 1) + "|"]
    for variant in dict.fromkeys(row.variant for row in table):
        runs = [row for row in table if row.variant == variant]
        cells = [_cell([getattr(row, name) for row in runs]) for name in names[1:]]
        lines.append(f"| {' | '.join([variant, *cells, str(len(runs))])} |")
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    """The figure of several runs.

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
