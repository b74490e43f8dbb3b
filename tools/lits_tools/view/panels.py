"""The seven views: what is drawn over one slice."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Ellipse
from matplotlib.patheffects import AbstractPathEffect, withStroke
from numpy.typing import NDArray

from lits_runtime.labels import LESION, LIVER, lesion_mask, liver_mask
from lits_tools.view.display import (
    AGREED_COLOUR,
    LESION_COLOUR,
    LIVER_COLOUR,
    MARKED_COLOUR,
    PREDICTED_COLOUR,
    REFERENCE_COLOUR,
    REFERENCE_LESION_COLOUR,
    REFERENCE_LIVER_COLOUR,
    WINDOW_HU,
)
from lits_tools.view.planes import Plane
from lits_tools.view.view_data import ViewData

_LIVER_WIDTH, _LESION_WIDTH = 0.7, 1.4
_MARGIN_MM = 15.0
_RING_MM = 6.0
"""Between a small lesion and the ring around it."""
_HALO: list[AbstractPathEffect] = [withStroke(linewidth=2, foreground="black")]


@dataclass(frozen=True)
class Panel:
    """One slice of a view, and how to show it."""

    view: ViewData
    plane: Plane
    number: int
    """Slice, from 0."""
    window_hu: tuple[float, float] = WINDOW_HU

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """Predicted labels of the slice, top row first."""
        return self.plane.cut(self.view.labels, self.number)

    @cached_property
    def reference(self) -> NDArray[np.uint8] | None:
        """Labels of the reference, if there is one."""
        reference = self.view.reference
        return None if reference is None else self.plane.cut(reference, self.number)

    @property
    def reference_or_labels(self) -> NDArray[np.uint8]:
        """The reference, or the prediction if there is none."""
        return self.labels if self.reference is None else self.reference

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Height and width of a pixel."""
        return self.plane.pixel_mm(self.view.spacing_mm)

    @property
    def title(self) -> str:
        """Plane and slice number, counted from 1."""
        slices = self.view.volume_hu.shape[self.plane.axis]
        return f"{self.plane.name} {self.number + 1} of {slices}"


def draw_ct(axes: Axes, panel: Panel) -> None:
    """The CT alone."""
    height_mm, width_mm = panel.pixel_mm
    low, high = panel.window_hu
    picture = panel.plane.cut(panel.view.volume_hu, panel.number)
    axes.imshow(picture, "gray", vmin=low, vmax=high, aspect=height_mm / width_mm)


def draw_predicted(axes: Axes, panel: Panel) -> None:
    """The predicted mask alone, on black."""
    _draw_mask(axes, panel, panel.labels)


def draw_reference(axes: Axes, panel: Panel) -> None:
    """The reference alone, on black."""
    _draw_mask(axes, panel, panel.reference_or_labels)


def draw_overlay_predicted(axes: Axes, panel: Panel) -> None:
    """The predicted mask over the CT."""
    _draw_overlay(axes, panel, panel.labels)


def draw_overlay_reference(axes: Axes, panel: Panel) -> None:
    """The reference over the CT."""
    _draw_overlay(axes, panel, panel.reference_or_labels)


def draw_contours(axes: Axes, panel: Panel) -> None:
    """Outlines of both over the CT: thin for the liver, thick for lesions."""
    draw_ct(axes, panel)
    if panel.reference is not None:
        _outline(axes, panel.reference, (REFERENCE_LIVER_COLOUR, REFERENCE_LESION_COLOUR), "--")
    _outline(axes, panel.labels, (LIVER_COLOUR, LESION_COLOUR), "-")
    _mark_small(axes, panel)


def draw_difference(axes: Axes, panel: Panel) -> None:
    """Lesion voxels of both masks, and of only one of them, over the CT.

    If neither mask has a lesion in the whole volume, liver voxels instead.
    """
    draw_ct(axes, panel)
    view = panel.view
    lesions = lesion_mask(view.labels).any() or lesion_mask(view.reference_or_labels).any()
    mask_of = lesion_mask if lesions else liver_mask
    pred, gt = mask_of(panel.labels), mask_of(panel.reference_or_labels)
    _fill(axes, pred & gt, AGREED_COLOUR, 0.3)
    _fill(axes, pred & ~gt, PREDICTED_COLOUR, 0.9)
    _fill(axes, gt & ~pred, REFERENCE_COLOUR, 0.9)
    _line(axes, liver_mask(panel.reference_or_labels), AGREED_COLOUR, "-", 0.5)
    _mark_small(axes, panel)


def draw_context(axes: Axes, panel: Panel) -> None:
    """Lesions of both masks, with everything but the (reference's) liver darkened."""
    draw_ct(axes, panel)
    liver, lesions = liver_mask(panel.reference_or_labels), lesion_mask(panel.labels)
    _fill(axes, ~liver, "black", 0.75)
    _line(axes, liver, LIVER_COLOUR, "-", _LIVER_WIDTH)
    _fill(axes, lesions, PREDICTED_COLOUR, 0.45)
    _line(axes, lesions, PREDICTED_COLOUR, "-", _LESION_WIDTH)
    if panel.reference is not None:
        _line(axes, lesion_mask(panel.reference), REFERENCE_COLOUR, "--", _LESION_WIDTH)
    _mark_small(axes, panel)
    zoom_to_liver(axes, panel)


def decorate(axes: Axes, panel: Panel, title: str) -> None:
    """Add the title, letters for the patient's sides, and a scale bar."""
    axes.set_title(title, color="white", fontsize=10)
    axes.set_facecolor("black")
    axes.set_xticks([])
    axes.set_yticks([])
    letters: dict[str, Any] = {"color": "white", "fontsize": 9, "fontweight": "bold"}
    places = (
        (0.02, 0.5, "left"),
        (0.98, 0.5, "right"),
        (0.5, 0.98, "center"),
        (0.5, 0.02, "center"),
    )
    for letter, (x, y, side) in zip(panel.plane.letters, places, strict=True):
        vertical = {0.98: "top", 0.02: "bottom"}.get(y, "center")
        text = axes.text(x, y, letter, ha=side, va=vertical, transform=axes.transAxes, **letters)
        text.set_path_effects(_HALO)
    _scale_bar(axes, panel)


def _scale_bar(axes: Axes, panel: Panel) -> None:
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    width_mm = (right - left) * panel.pixel_mm[1]
    length_mm = next((n for n in (100, 50, 20, 10, 5, 2) if n <= width_mm / 3), 1)
    length = length_mm / panel.pixel_mm[1]
    x, y = left + 0.04 * (right - left), bottom - 0.04 * (bottom - top)
    axes.plot([x, x + length], [y, y], color="white", linewidth=2, solid_capstyle="butt")
    above = y - 0.02 * (bottom - top)
    text = axes.text(x, above, f"{length_mm} mm", color="white", fontsize=7, va="bottom")
    text.set_path_effects(_HALO)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def zoom_to_liver(axes: Axes, panel: Panel) -> None:
    """Zoom to where the liver lies in any slice, so that the slices of a series stay aligned."""
    labels = panel.view.reference_or_labels
    liver = np.any(liver_mask(labels), axis=panel.plane.axis, keepdims=True)
    shown = panel.plane.cut(np.asarray(liver), 0)
    if not shown.any():
        return
    (top, bottom), (left, right) = (
        (np.flatnonzero(line)[[0, -1]]).tolist() for line in (shown.any(axis=1), shown.any(axis=0))
    )
    down, across = (_MARGIN_MM / mm for mm in panel.pixel_mm)
    axes.set_xlim(left - across, right + across)
    axes.set_ylim(bottom + down, top - down)


def _draw_mask(axes: Axes, panel: Panel, labels: NDArray[np.uint8]) -> None:
    height_mm, width_mm = panel.pixel_mm
    colours = ListedColormap(["black", LIVER_COLOUR, LESION_COLOUR])
    aspect = height_mm / width_mm
    axes.imshow(labels, colours, vmin=0, vmax=LESION, aspect=aspect, interpolation="nearest")


def _draw_overlay(axes: Axes, panel: Panel, labels: NDArray[np.uint8]) -> None:
    draw_ct(axes, panel)
    for value, colour in ((LIVER, LIVER_COLOUR), (LESION, LESION_COLOUR)):
        _fill(axes, labels == value, colour, 0.35)
        _line(axes, labels >= value, colour, "-", 0.8)
    _mark_small(axes, panel)


def _outline(axes: Axes, labels: NDArray[np.uint8], colours: tuple[str, str], style: str) -> None:
    _line(axes, liver_mask(labels), colours[0], style, _LIVER_WIDTH)
    _line(axes, lesion_mask(labels), colours[1], style, _LESION_WIDTH)


def _mark_small(axes: Axes, panel: Panel) -> None:
    """A ring around each small lesion of the slice."""
    plane, (height_mm, width_mm) = panel.plane, panel.pixel_mm
    last = panel.view.volume_hu.shape[plane.rows] - 1
    for lesion in panel.view.lesions:
        first, final = lesion.box[plane.axis]
        if not (lesion.small and first <= panel.number <= final):
            continue
        (top, bottom), (left, right) = lesion.box[plane.rows], lesion.box[plane.columns]
        if plane.flip_rows:
            top, bottom = last - bottom, last - top
        across_mm = (right - left + 1) * width_mm, (bottom - top + 1) * height_mm
        radius_mm = max(across_mm) / 2 + _RING_MM
        ring = Ellipse(
            ((left + right) / 2, (top + bottom) / 2),
            2 * radius_mm / width_mm,
            2 * radius_mm / height_mm,
            fill=False,
            edgecolor=MARKED_COLOUR,
            linewidth=1.5,
            path_effects=_HALO,
        )
        axes.add_patch(ring)


def _fill(axes: Axes, mask: NDArray[np.bool_], colour: str, alpha: float) -> None:
    if mask.any():
        shown = np.ma.masked_where(~mask, mask)
        aspect = axes.get_aspect()
        axes.imshow(
            shown, ListedColormap([colour]), alpha=alpha, interpolation="nearest", aspect=aspect
        )


def _line(axes: Axes, mask: NDArray[np.bool_], colour: str, style: str, width: float) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask, [0.5], colors=colour, linestyles=style, linewidths=width)


Draw = Callable[[Axes, Panel], None]

VIEWS: dict[str, tuple[tuple[str, Draw, bool], ...]] = {
    "ct": (("CT", draw_ct, False),),
    "predicted": (("predicted mask", draw_predicted, False),),
    "reference": (("reference mask", draw_reference, True),),
    "overlay": (
        ("mask over CT", draw_overlay_predicted, False),
        ("reference over CT", draw_overlay_reference, True),
    ),
    "contours": (("contours", draw_contours, False),),
    "difference": (("difference", draw_difference, True),),
    "context": (("lesions in the liver", draw_context, False),),
}
"""By name, the panels of each view: title, drawing function, and whether it needs a reference."""
