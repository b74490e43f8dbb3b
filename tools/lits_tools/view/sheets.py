"""Figures of one or several views: a sheet, a montage, an animation."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lits_runtime.files.atomic import atomic_path
from lits_tools.view.chosen_slices import extent, largest_lesion, through_liver, worst_disagreement
from lits_tools.view.display import (
    AGREED_COLOUR,
    DPI,
    GIF_DPI,
    LESION_COLOUR,
    LIVER_COLOUR,
    MARKED_COLOUR,
    PREDICTED_COLOUR,
    REFERENCE_COLOUR,
    REFERENCE_LESION_COLOUR,
    REFERENCE_LIVER_COLOUR,
    WINDOW_HU,
)
from lits_tools.view.lesion_list import SMALL_MM
from lits_tools.view.panels import VIEWS, Draw, Panel, decorate
from lits_tools.view.planes import PLANES, Plane
from lits_tools.view.view_data import ViewData

CHOICES = ("auto", "largest", "worst", "montage")
_PANEL_INCH = {1: 6.0, 2: 4.5, 3: 3.6, 4: 3.2}
"""Width of a panel by the number of panels side by side."""
_MONTAGE_SLICES = 12
_FRAMES, _FRAME_MS = 60, 150
_UNMARKED = {"ct", "predicted", "reference"}
"""Views in which small lesions are not marked."""


def sheet(
    view: ViewData,
    *,
    views: Sequence[str] | None = None,
    slices: str | int = "auto",
    plane: str = "axial",
    window_hu: tuple[float, float] = WINDOW_HU,
) -> Figure:
    """Draw views of slices on one sheet.

    Args:
        view: what to draw; see `open_view`.
        views: keys of `VIEWS`; None: all that the data allow, or contours in a montage.
        slices: a slice number from 1; "largest" lesion; "worst" disagreement; "auto" for both;
            "montage" for evenly spaced slices of the liver.
        plane: "axial" (slice 1 is inferior), "coronal" (anterior) or "sagittal" (right).
        window_hu: HU shown as black and as white.

    Raises:
        ValueError: there is no such view, slice or plane, or a view needs a reference.
    """
    cut = PLANES[plane]
    names = list(views or (["contours"] if slices == "montage" else _possible(view)))
    pictures = [picture for name in names for picture in _pictures(view, name, bool(views))]
    numbers = chosen_slices(view, cut, slices)
    panels = [Panel(view, cut, number, window_hu) for number in numbers]
    cells = [(panel, title, draw) for panel in panels for title, draw in pictures]
    columns = _columns(len(pictures), len(cells))
    figure = _draw_cells(cells, columns)
    _annotate(figure, view, names)
    return figure


def chosen_slices(view: ViewData, plane: Plane, slices: str | int) -> list[int]:
    """Numbers, from 0, of the slices that `sheet` draws.

    Raises:
        ValueError: there is no such slice.
    """
    count = view.volume_hu.shape[plane.axis]
    if slices == "montage":
        return through_liver(view, plane, _MONTAGE_SLICES)
    if slices in ("auto", "largest", "worst"):
        largest, worst = largest_lesion(view, plane), worst_disagreement(view, plane)
        wanted = {"auto": [largest, worst], "largest": [largest], "worst": [worst]}[str(slices)]
        return list(dict.fromkeys(wanted))
    if not str(slices).isdigit() or not 1 <= int(slices) <= count:
        raise ValueError(
            f"slice {slices!r}: expected 1 to {count} ({plane.first} is 1) or {', '.join(CHOICES)}"
        )
    return [int(slices) - 1]


def save_figure(figure: Figure, path: Path, *, dpi: int = DPI) -> None:
    """Write a figure atomically, in the format of the file's ending."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi, facecolor=figure.get_facecolor())


def save_animation(
    view: ViewData,
    path: Path,
    *,
    views: Sequence[str] | None = None,
    plane: str = "axial",
    window_hu: tuple[float, float] = WINDOW_HU,
    dpi: int = GIF_DPI,
) -> None:
    """Write a GIF that plays through the slices of the liver, at most 60 of them, and back.

    Args:
        view: what to draw.
        path: ends in .gif.
        views: keys of `VIEWS`; None: the contours.
        plane: a key of `PLANES`.
        window_hu: HU shown as black and as white.
        dpi: resolution of the frames; a frame of one panel is 6 inches wide.
    """
    from PIL import Image

    low, high = extent(view, PLANES[plane])
    step = max(1, -(-(high + 1 - low) // _FRAMES))
    frames = []
    for number in range(low, high + 1, step):
        figure = sheet(
            view, views=views or ["contours"], slices=number + 1, plane=plane, window_hu=window_hu
        )
        picture = Image.open(io.BytesIO(_png(figure, dpi))).convert("RGB")
        frames.append(picture.quantize(128))
    frames += frames[-2:0:-1]
    with atomic_path(path) as temporary:
        frames[0].save(
            temporary, save_all=True, append_images=frames[1:], duration=_FRAME_MS, loop=0
        )


def _png(figure: Figure, dpi: int) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, facecolor=figure.get_facecolor())
    return stream.getvalue()


def _possible(view: ViewData) -> list[str]:
    return [name for name in VIEWS if _pictures(view, name, False)]


def _pictures(view: ViewData, name: str, required: bool) -> list[tuple[str, Draw]]:
    if name not in VIEWS:
        raise ValueError(f"view {name!r}: expected one of {', '.join(VIEWS)}")
    possible = [(t, d) for t, d, needs in VIEWS[name] if view.reference is not None or not needs]
    if required and not possible:
        raise ValueError(f"the view {name!r} needs a reference")
    return possible


def _columns(pictures: int, cells: int) -> int:
    """Panels side by side: those of a slice in rows of at most four, a montage as a block."""
    if pictures > 1:
        return -(-pictures // -(-pictures // 4))
    return min(4, cells)


def _draw_cells(cells: Sequence[tuple[Panel, str, Draw]], columns: int) -> Figure:
    rows = -(-len(cells) // columns)
    figure = Figure(facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    one_kind = len({title for _, title, _ in cells}) == 1
    tallest = 0.0
    for axes, (panel, title, draw) in zip(grid.flat, cells, strict=False):
        draw(axes, panel)
        decorate(axes, panel, panel.title if one_kind else f"{title}, {panel.title}")
        height, width = panel.labels.shape
        tallest = max(tallest, height * panel.pixel_mm[0] / (width * panel.pixel_mm[1]))
    for axes in grid.flat[len(cells) :]:
        axes.set_axis_off()
    wide = _PANEL_INCH.get(columns, min(_PANEL_INCH.values()))
    high = min(max(tallest, 0.4), 2.5) * wide + 0.3
    figure.set_size_inches(columns * wide, rows * high + 0.9)
    return figure


def _annotate(figure: Figure, view: ViewData, names: Sequence[str]) -> None:
    figure.suptitle("\n".join([view.name, *view.captions]), color="white", fontsize=10)
    if handles := _legend(view, set(names)):
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=min(len(handles), 7),
            fontsize=8,
            facecolor="black",
            edgecolor="none",
            labelcolor="white",
        )


def _legend(view: ViewData, names: set[str]) -> list[Patch | Line2D]:
    handles: list[Patch | Line2D] = []
    if names & {"predicted", "reference", "overlay"}:
        handles += [
            Patch(color=LIVER_COLOUR, label="liver"),
            Patch(color=LESION_COLOUR, label="lesion"),
        ]
    if "contours" in names:
        handles += _contour_lines(view)
    if "context" in names:
        handles.append(Line2D([], [], color=PREDICTED_COLOUR, label="predicted"))
        if view.reference is not None:
            handles.append(
                Line2D([], [], color=REFERENCE_COLOUR, linestyle="--", label="reference")
            )
    if "difference" in names:
        handles += [
            Patch(color=PREDICTED_COLOUR, label="false positive"),
            Patch(color=REFERENCE_COLOUR, label="false negative"),
            Patch(color=AGREED_COLOUR, label="both"),
        ]
    if names - _UNMARKED and any(lesion.small for lesion in view.lesions):
        ring: dict[str, Any] = {"marker": "o", "markersize": 9, "fillstyle": "none"}
        label = f"lesion under {SMALL_MM:g} mm"
        handles.append(Line2D([], [], color=MARKED_COLOUR, linestyle="", label=label, **ring))
    return handles


def _contour_lines(view: ViewData) -> list[Patch | Line2D]:
    named: list[tuple[str, Literal["-", "--"], str]]
    if view.reference is None:
        named = [(LIVER_COLOUR, "-", "liver"), (LESION_COLOUR, "-", "lesion")]
    else:
        named = [
            (LIVER_COLOUR, "-", "liver, predicted"),
            (REFERENCE_LIVER_COLOUR, "--", "liver, reference"),
            (LESION_COLOUR, "-", "lesion, predicted"),
            (REFERENCE_LESION_COLOUR, "--", "lesion, reference"),
        ]
    return [Line2D([], [], color=c, linestyle=style, label=label) for c, style, label in named]
