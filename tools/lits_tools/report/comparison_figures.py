"""The figures of a comparison: Dice by case, differences, and lesions by size."""

from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lits_tools.report.comparison_tables import ROWS, SIZE_TITLES
from lits_tools.report.panels import four_panels, name_cases, one_panel
from lits_tools.scores.comparison import Comparison
from lits_tools.scores.lesion_match import SIZES
from lits_tools.view.display import SERIES

_SHOWN = (
    *("liver_dice", "liver_surface_dice_1mm", "lesion_dice", "lesion_dice_global"),
    *("lesion_surface_dice_1mm", "lesion_recall_iou0", "lesion_precision_iou0"),
    *("lesion_recall_iou50", "lesion_precision_iou50"),
)
"""Scores between 0 and 1 where more is better: their differences share one axis."""


def comparison_figures(comparison: Comparison) -> list[Figure]:
    """Figures of Dice by case, differences, detection by size, and Dice of single lesions."""
    return [one_panel(partial(draw, comparison=comparison)) for draw in _DRAWINGS]


def comparison_sheet(comparison: Comparison) -> Figure:
    """All of `comparison_figures` on one sheet."""
    return four_panels([partial(draw, comparison=comparison) for draw in _DRAWINGS])


def _series(number: int) -> tuple[str, str]:
    return SERIES[number % len(SERIES)]


def _draw_dice(axes: Axes, comparison: Comparison) -> None:
    dice = np.array(
        [
            [case.values()["lesion_dice"] for case in evaluation.cases]
            for evaluation in comparison.evaluations
        ]
    )
    order = np.argsort(np.nan_to_num(dice[0]), kind="stable")
    axes.vlines(range(len(order)), dice.min(0)[order], dice.max(0)[order], color="#bbb", zorder=1)
    for number, (name, values) in enumerate(zip(comparison.names, dice, strict=True)):
        colour, marker = _series(number)
        axes.plot(values[order], marker, color=colour, markersize=5, label=name, alpha=0.9)
    axes.set_ylim(-0.03, 1.03)
    name_cases(
        axes, [comparison.case_ids[i] for i in order], f"lesion Dice of {comparison.names[0]}"
    )
    axes.set_ylabel("lesion Dice")
    axes.set_title("Lesion Dice by case", fontsize=11)
    axes.legend(frameon=False, fontsize=9)


def _draw_differences(axes: Axes, comparison: Comparison) -> None:
    names = [name for name in _SHOWN if not np.isnan(comparison.scores[name].differences[0].value)]
    others = len(comparison.names) - 1
    for number in range(others):
        colour, marker = _series(number + 1)
        found = [comparison.scores[name].differences[number] for name in names]
        places = np.arange(len(names)) + (number - (others - 1) / 2) * 0.22
        axes.hlines(places, [d.low for d in found], [d.high for d in found], color=colour)
        values = [d.value for d in found]
        axes.plot(values, places, marker, color=colour, label=comparison.names[number + 1])
    axes.axvline(0, color="#666", linewidth=0.8)
    axes.set_yticks(range(len(names)), [ROWS[name] for name in names], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(
        f"difference from {comparison.names[0]}, 95 % interval (right: better)", fontsize=9
    )
    axes.set_title("Paired differences", fontsize=11)
    if others > 1:
        axes.legend(frameon=False, fontsize=8)


def _draw_recall(axes: Axes, comparison: Comparison) -> None:
    width = 0.8 / len(comparison.names)
    for number, name in enumerate(comparison.names):
        colour, _ = _series(number)
        found = [
            comparison.scores[f"lesion_recall_iou0_{size}"].estimates[number] for size in SIZES
        ]
        places = np.arange(len(SIZES)) + (number - (len(comparison.names) - 1) / 2) * width
        values = np.array([estimate.value for estimate in found])
        axes.bar(places, np.nan_to_num(values), width * 0.9, color=colour, label=name)
        for place, estimate in zip(places, found, strict=True):
            if np.isnan(estimate.value):
                axes.text(place, 0.01, "-", ha="center", color=colour)
            elif not np.isnan(estimate.low):
                axes.vlines(place, estimate.low, estimate.high, color="black", linewidth=1)
    counts = [
        sum(low <= lesion.diameter_mm < high for lesion in comparison.lesions)
        for low, high in SIZES.values()
    ]
    titles = [f"{SIZE_TITLES[size]}\nn = {n}" for size, n in zip(SIZES, counts, strict=True)]
    axes.set_xticks(range(len(SIZES)), titles)
    axes.set_ylim(0, 1.2)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_title("Recall of lesions, IoU > 0 (line: 95 % interval)", fontsize=11)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper center")


def _draw_lesions(axes: Axes, comparison: Comparison) -> None:
    for number, name in enumerate(comparison.names):
        colour, marker = _series(number)
        axes.plot(
            [lesion.diameter_mm for lesion in comparison.lesions],
            [lesion.dice[number] for lesion in comparison.lesions],
            marker,
            color=colour,
            markersize=4,
            alpha=0.7,
            label=name,
        )
    for lesion in comparison.lesions:
        axes.vlines(lesion.diameter_mm, min(lesion.dice), max(lesion.dice), color="#ccc", zorder=1)
    axes.set_xscale("log")
    ticks = [2, 5, 10, 20, 50, 100, 200]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    largest = max((lesion.diameter_mm for lesion in comparison.lesions), default=100)
    smallest = min((lesion.diameter_mm for lesion in comparison.lesions), default=2)
    axes.set_xlim(smallest * 0.85, largest * 1.15)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("longest axial diameter of the reference lesion, mm")
    axes.set_ylabel("Dice (0: missed)")
    axes.set_title("Dice of each reference lesion", fontsize=11)
    axes.legend(frameon=False, fontsize=8)


_DRAWINGS = (_draw_dice, _draw_differences, _draw_recall, _draw_lesions)
