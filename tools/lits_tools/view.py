"""Figures of a mask over its scan, laid out as a radiologist expects them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lits_runtime.atomic import atomic_path
from lits_runtime.errors import VolumeError
from lits_runtime.volume import Geometry, Scan

COLOURS = {1: "#f0e442", 2: "#d55e00"}
"""Liver yellow, lesion vermilion: apart for colour-blind readers too (Okabe and Ito, 2008)."""
WINDOW_HU = (-100.0, 240.0)


def overlay_sheet(
    scan: Scan, mask: Scan, *, window_hu: tuple[float, float] = WINDOW_HU, columns: int = 3
) -> Figure:
    """Axial slices through the liver, plain above and with the mask below.

    Args:
        scan: the CT volume.
        mask: its labels (0 background, 1 liver, 2 lesion) on the same grid.
        window_hu: HU shown as black and white.
        columns: number of slices; the one with the largest lesion is among them.

    Raises:
        VolumeError: scan and mask differ in shape.
    """
    if scan.geometry.shape != mask.geometry.shape:
        raise VolumeError(
            f"scan is {scan.geometry.shape} and mask {mask.geometry.shape}: not the same grid"
        )
    slices = scan.geometry.canonical_shape[0]
    labels = np.concatenate(
        [mask.load().read_slab(s, s + 1).astype(np.uint8) for s in range(slices)]
    )
    figure = Figure(figsize=(4 * columns, 8.4), layout="constrained", facecolor="black")
    rows = figure.subplots(2, columns, squeeze=False)
    scan.load()
    for column, number in enumerate(chosen_slices(labels, columns)):
        slice_hu = scan.read_slab(number, number + 1)[0]
        for row in (0, 1):
            axes = rows[row, column]
            axes.imshow(
                slice_hu,
                "gray",
                vmin=window_hu[0],
                vmax=window_hu[1],
                aspect=_aspect(scan.geometry),
            )
            axes.axis("off")
        _draw_labels(rows[1, column], labels[number])
        rows[0, column].set_title(f"slice {number + 1} of {slices}", color="white")
        for x, letter in ((0.02, "R"), (0.95, "L")):
            rows[0, column].text(x, 0.5, letter, color="white", transform=rows[0, column].transAxes)
    figure.suptitle(_caption(labels, scan.geometry), color="white")
    return figure


def save_figure(figure: Figure, path: Path, *, dpi: int = 100) -> None:
    """Write a figure atomically; the format is that of the file's ending."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi)


def chosen_slices(labels: NDArray[np.uint8], count: int) -> Sequence[int]:
    """Slices that show the finding: the largest lesion, then even steps through the liver.

    Args:
        labels: uint8 (slices, height, width).
        count: how many to choose, in ascending order.
    """
    lesion = (labels == 2).sum(axis=(1, 2))
    liver = np.flatnonzero((labels > 0).any(axis=(1, 2)))
    low, high = (int(liver[0]), int(liver[-1])) if len(liver) else (0, len(labels) - 1)
    even = [round(low + (high - low) * (i + 1) / (count + 1)) for i in range(count)]
    if lesion.any():
        largest = int(lesion.argmax())
        even[int(np.argmin([abs(number - largest) for number in even]))] = largest
    return sorted(even)


def _draw_labels(axes: Axes, labels: NDArray[np.uint8]) -> None:
    for value, colour in COLOURS.items():
        mask = labels == value
        if mask.any():
            shown = np.ma.masked_where(~mask, mask)
            axes.imshow(shown, ListedColormap([colour]), alpha=0.35, interpolation="nearest")
            axes.contour(labels >= value, [0.5], colors=colour, linewidths=0.8)


def _aspect(geometry: Geometry) -> float:
    """Height of a canonical pixel over its width."""
    _, rows, columns = geometry.canonical_axes
    return geometry.spacing_mm[rows] / geometry.spacing_mm[columns]


def _caption(labels: NDArray[np.uint8], geometry: Geometry) -> str:
    liver_ml = int((labels > 0).sum()) * geometry.voxel_ml
    lesion_ml = int((labels == 2).sum()) * geometry.voxel_ml
    return f"liver {liver_ml:.0f} ml, of which lesions {lesion_ml:.1f} ml"
