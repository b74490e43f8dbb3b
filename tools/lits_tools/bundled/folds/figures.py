"""Figures of cross-validations: learning curves, and the worst slices of the worst cases."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lits_runtime.files.atomic import atomic_path
from lits_runtime.labels import MASKS, lesion_mask
from lits_train.settings.run import METRICS_NAME

WINDOW_HU = (0.0, 160.0)
_STYLES = {"liver": 0.7, "lesion": 1.1}
"""Line width by class."""
_REFERENCE, _PREDICTED = "#56b4e9", "#e69f00"
SLICES = 3
"""Of each case, those with most wrong lesion."""
MARGIN = 12
"""Pixels around the liver."""


def draw_curves(runs: Mapping[str, Path], path: Path) -> None:
    """Loss and validation Dice of runs over their steps, as PNG."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    loss, liver, lesion = figure.subplots(1, 3)
    for name, folder in runs.items():
        lines = [json.loads(line) for line in (folder / METRICS_NAME).read_text().splitlines()]
        loss.plot(*_curve(lines, "loss"), marker=".", label=name)
        for axes, label in ((liver, "liver"), (lesion, "lesion")):
            axes.plot(*_curve(lines, label), marker=".", label=name)
    for axes, title in ((loss, "loss"), (liver, "liver Dice"), (lesion, "lesion Dice")):
        axes.set(title=f"{title}, {'training' if title == 'loss' else 'validation'}", xlabel="step")
        axes.grid(alpha=0.3)
        # Runs without validation have no Dice to draw.
        axes.set_visible(any(len(line.get_xdata()) for line in axes.lines))
    loss.legend()
    save(figure, path)


def _curve(lines: Sequence[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of an entry of the metrics, or of a class's validation Dice."""
    points = [
        (line["step"], value)
        for line in lines
        if (value := line.get(name, line.get("validation_dice", {}).get(name))) is not None
    ]
    return [step for step, _ in points], [value for _, value in points]


@dataclass(frozen=True)
class Slice:
    """A slice with its labels, as it is drawn."""

    number: int
    hu: NDArray[np.float32]
    labels_gt: NDArray[np.uint8]
    labels_pred: NDArray[np.uint8]


def worst_slices(
    hu: NDArray[np.float32], labels_gt: NDArray[np.uint8], labels_pred: NDArray[np.uint8]
) -> list[Slice]:
    """The slices of a volume with most wrong lesion, no two side by side, cut to the liver."""
    wrong = (lesion_mask(labels_gt) != lesion_mask(labels_pred)).sum(axis=(1, 2))
    apart, chosen = max(len(wrong) // 20, 2), list[int]()
    for number in np.argsort(-wrong, kind="stable").tolist():
        if wrong[number] and all(abs(number - other) >= apart for other in chosen):
            chosen.append(number)
    box = _around(labels_gt + labels_pred)
    return [
        Slice(number, hu[number][box], labels_gt[number][box], labels_pred[number][box])
        for number in sorted(chosen[:SLICES])
    ]


def _around(labels: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Rows and columns of all labels of a volume, with a margin."""
    seen = np.asarray(labels.any(axis=0))
    ends = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not seen.any():
        return slice(None), slice(None)
    rows, columns = (slice(max(int(at[0]) - MARGIN, 0), int(at[-1]) + MARGIN) for at in ends)
    return rows, columns


def draw_worst(cases: Mapping[str, Sequence[Slice]], path: Path) -> None:
    """A row for each case, named by its title: slices plain and with contours, as PNG."""
    columns = 2 * SLICES
    figure = Figure(figsize=(2.6 * columns, 2.8 * len(cases)), layout="constrained")
    rows = figure.subplots(len(cases), columns, squeeze=False)
    for row, (title, slices) in zip(rows, cases.items(), strict=True):
        for axes in row:
            axes.axis("off")
        row[0].set_title(title, loc="left", fontsize=9)
        for place, one in enumerate(slices):
            for axes, contours in ((row[2 * place], False), (row[2 * place + 1], True)):
                _draw(axes, one, contours)
    figure.suptitle("Blue: reference. Orange: prediction. Thin: liver. Window 0 to 160 HU.")
    save(figure, path, dpi=100)


def _draw(axes: Axes, one: Slice, contours: bool) -> None:
    low, high = WINDOW_HU
    axes.imshow(one.hu, cmap="gray", vmin=low, vmax=high)
    if not contours:
        axes.text(3, 3, str(one.number), color="white", va="top", fontsize=8)
        return
    for labels, colour in ((one.labels_gt, _REFERENCE), (one.labels_pred, _PREDICTED)):
        for name, mask in MASKS.items():
            if (drawn := mask(labels)).any() and not drawn.all():
                axes.contour(drawn, [0.5], colors=colour, linewidths=_STYLES[name])


def save(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Write a figure as PNG."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi)
