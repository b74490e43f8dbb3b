"""A figure of the slice where file and network differ most."""

from pathlib import Path

import numpy as np

from lits_export.parity.compare import WorstSlice
from lits_runtime.files.atomic import atomic_path
from lits_train.settings.recipe import Recipe
from lits_train.training.pictures import WINDOW_HU


def draw_worst_slice(worst: WorstSlice, recipe: Recipe, path: Path) -> None:
    """Per class the CT with both outlines, and the difference of the probabilities.

    Args:
        worst: slice and probabilities.
        recipe: of the network, for classes and thresholds.
        path: .png, .pdf or another ending that matplotlib knows; replaced if it exists.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = len(recipe.classes)
    figure = Figure(figsize=(12, 5.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, 2, squeeze=False)
    slice_hu = worst.slab_hu[recipe.context_slices]
    for channel, (name, threshold) in enumerate(
        zip(recipe.classes, recipe.thresholds, strict=True)
    ):
        gt, pred = worst.probability_gt[channel], worst.probability_pred[channel]
        plain, compared = panels[channel]
        low, high = WINDOW_HU
        plain.imshow(slice_hu, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        for probability, colour, style in ((gt, "yellow", "solid"), (pred, "red", "dashed")):
            if probability.min() < threshold <= probability.max():
                levels = {"levels": [threshold], "linewidths": 0.9, "linestyles": style}
                plain.contour(probability, colors=colour, **levels)
        plain.set_title(f"{name}: network (yellow), file (red)")
        difference = np.nan_to_num(pred - gt, nan=1.0, posinf=1.0, neginf=-1.0)
        most = max(float(np.abs(difference).max()), 1e-9)
        shown = compared.imshow(difference, cmap="coolwarm", vmin=-most, vmax=most)
        figure.colorbar(shown, ax=compared, shrink=0.8)
        compared.set_title(f"{name}: file minus network, largest {most:.2e}")
        for panel in (plain, compared):
            panel.set_axis_off()
    figure.suptitle(f"slice {worst.index} of {worst.slab}")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
