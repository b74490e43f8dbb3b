"""Figures of an evaluation: scores by case, volumes, lesions by size, and worst slices."""

import io
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lits_runtime.volumes.label_volume import LabelVolume
from lits_runtime.volumes.scan import Scan, ScanSource
from lits_tools.report.panels import four_panels, name_cases, one_panel
from lits_tools.scores.evaluate import Evaluation
from lits_tools.scores.lesion_match import SIZES
from lits_tools.view.chosen_slices import worst_disagreement
from lits_tools.view.display import LESION_COLOUR, LIVER_ON_WHITE
from lits_tools.view.panels import Panel, decorate, draw_difference, zoom_to_liver
from lits_tools.view.planes import PLANES
from lits_tools.view.view_data import ViewData, read_hu

_AIR_HU = np.int16(-1000)


def score_figures(evaluation: Evaluation) -> list[Figure]:
    """Figures of Dice, surface distances, lesion volumes, and detection by size."""
    return [one_panel(partial(draw, evaluation=evaluation)) for draw in _DRAWINGS]


def score_sheet(evaluation: Evaluation) -> Figure:
    """All of `score_figures` on one sheet."""
    return four_panels([partial(draw, evaluation=evaluation) for draw in _DRAWINGS])


def worst_slice(
    pred: LabelVolume, gt: LabelVolume, title: str, scan: "ScanSource | None" = None
) -> bytes:
    """PNG of the axial slice in which two masks differ most, over the CT if there is a scan."""
    shape = gt.labels.shape
    volume_hu = read_hu(Scan.open(scan)) if scan else np.broadcast_to(_AIR_HU, shape)
    view = ViewData(title, volume_hu, pred.labels, gt.labels, gt.spacing_mm, gt.geometry.voxel_ml)
    axial = PLANES["axial"]
    panel = Panel(view, axial, worst_disagreement(view, axial))
    figure = Figure((3.4, 3.2), facecolor="black", layout="constrained")
    axes = figure.subplots()
    draw_difference(axes, panel)
    zoom_to_liver(axes, panel)
    decorate(axes, panel, panel.title)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100, facecolor="black")
    return stream.getvalue()


def _draw_dice(axes: Axes, evaluation: Evaluation) -> None:
    cases = sorted(
        evaluation.cases, key=lambda case: case.lesion.overlap.dice if case.lesion else 0
    )
    for colour, name in ((LIVER_ON_WHITE, "liver"), (LESION_COLOUR, "lesion")):
        scores = [getattr(case, name) for case in cases]
        dice = [score.overlap.dice if score else np.nan for score in scores]
        axes.plot(range(len(cases)), dice, "o", color=colour, markersize=5, label=name)
        if any(scores):
            axes.axhline(float(np.nanmean(dice)), color=colour, linewidth=0.8, linestyle=":")
    axes.set_ylim(-0.03, 1.03)
    name_cases(axes, [case.case_id for case in cases], "lesion Dice")
    axes.set_ylabel("Dice")
    axes.set_title("Dice by case (dotted line: mean)", fontsize=11)
    axes.legend(frameon=False, fontsize=9)


def _draw_distance(axes: Axes, evaluation: Evaluation) -> None:
    values: list[list[float]] = []
    for name in ("assd_mm", "hd95_mm"):
        for structure in ("liver", "lesion"):
            scores = [getattr(case, structure) for case in evaluation.cases]
            found = [getattr(score.surface, name) for score in scores if score]
            values.append([v for v in found if np.isfinite(v)])
    for place, found in enumerate(values):
        colour = (LIVER_ON_WHITE, LESION_COLOUR)[place % 2]
        spread = np.linspace(-0.15, 0.15, len(found)) if len(found) > 1 else np.zeros(len(found))
        axes.plot(place + spread, found, "o", color=colour, markersize=4, alpha=0.7)
        if found:
            axes.hlines(float(np.median(found)), place - 0.3, place + 0.3, color=colour)
    axes.set_xticks(range(4), ["liver\nASSD", "lesion\nASSD", "liver\nHD95", "lesion\nHD95"])
    axes.set_ylabel("mm")
    axes.set_ylim(bottom=0)
    axes.set_title("Surface distances where finite (line: median)", fontsize=11)


def _draw_volumes(axes: Axes, evaluation: Evaluation) -> None:
    pairs = [
        (
            case.lesion.overlap.reference * case.voxel_ml,
            case.lesion.overlap.predicted * case.voxel_ml,
        )
        for case in evaluation.cases
        if case.lesion
    ]
    high = max((max(pair) for pair in pairs), default=0) * 1.3 + 1
    axes.plot([0, high], [0, high], color="#999", linewidth=0.8)
    for pair in pairs:
        axes.plot(*pair, "o", color=LESION_COLOUR, markersize=5)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_xlim(-0.1, high)
    axes.set_ylim(-0.1, high)
    axes.set_xlabel("reference, ml")
    axes.set_ylabel("predicted, ml")
    axes.set_title("Lesion volume", fontsize=11)


def _draw_sizes(axes: Axes, evaluation: Evaluation) -> None:
    names = [f"_{size}" for size in SIZES]
    series = (
        ("recall", "iou0", LIVER_ON_WHITE, 1.0),
        ("recall", "iou50", LIVER_ON_WHITE, 0.45),
        ("precision", "iou0", LESION_COLOUR, 1.0),
        ("precision", "iou50", LESION_COLOUR, 0.45),
    )
    for offset, (kind, iou, colour, alpha) in enumerate(series):
        values = [evaluation.pooled[f"lesion_{kind}_{iou}{name}"].value for name in names]
        places = np.arange(len(names)) + (offset - 1.5) * 0.2
        label = f"{kind}, IoU > {'0' if iou == 'iou0' else '0.5'}"
        axes.bar(places, np.nan_to_num(values), 0.18, color=colour, alpha=alpha, label=label)
        for place, value in zip(places, values, strict=True):
            if np.isnan(value):
                axes.text(place, 0.01, "-", ha="center", color=colour)
    axes.set_xticks(range(len(names)), ["under 10 mm", "10 to 20 mm", "over 20 mm"])
    axes.set_ylim(0, 1.32)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_title("Lesion detection by longest axial diameter", fontsize=11)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper center")


_DRAWINGS = (_draw_dice, _draw_distance, _draw_volumes, _draw_sizes)
