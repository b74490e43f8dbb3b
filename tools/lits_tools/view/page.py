"""A self-contained page: a list of lesions, and three planes of a scan with its masks."""

import base64
import importlib.resources
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lits_runtime.files.atomic import atomic_path
from lits_runtime.labels import LESION
from lits_tools.view.chosen_slices import extent, largest_lesion
from lits_tools.view.display import (
    AGREED_COLOUR,
    LESION_COLOUR,
    LIVER_COLOUR,
    MARKED_COLOUR,
    PREDICTED_COLOUR,
    PRESETS_HU,
    REFERENCE_COLOUR,
    REFERENCE_LESION_COLOUR,
    REFERENCE_LIVER_COLOUR,
    WINDOW_HU,
)
from lits_tools.view.lesion_list import SMALL_MM
from lits_tools.view.planes import PLANES, Plane
from lits_tools.view.view_data import ViewData

DISPLAY_HU = (-260.0, 360.0)
"""HU of the darkest and the brightest of the 256 grey values in the page: steps of 2.4 HU."""
JPEG_QUALITY = 88
CODE_STEP = 28
"""Grey values between codes of the label image; a code is predicted + 3 * reference, 0 to 8."""
_MARGIN_MM = 10.0
_LISTED = 200
"""Lesions in the list, the largest first: a noisy mask has thousands."""
_COLOURS = {
    "liver": LIVER_COLOUR,
    "lesion": LESION_COLOUR,
    "liver_gt": REFERENCE_LIVER_COLOUR,
    "lesion_gt": REFERENCE_LESION_COLOUR,
    "predicted": PREDICTED_COLOUR,
    "reference": REFERENCE_COLOUR,
    "agreed": AGREED_COLOUR,
    "marked": MARKED_COLOUR,
}


def viewer_page(view: ViewData, *, window_hu: tuple[float, float] = WINDOW_HU) -> str:
    """The page as HTML text, with the axial slices that hold labels and 10 mm on either side.

    Args:
        view: what to show; see `open_view`.
        window_hu: HU shown as black and as white when the page opens.
    """
    data = json.dumps(_page_data(view, window_hu)).replace("<", "\\u003c")
    folder = importlib.resources.files("lits_tools.view")
    page, script = (folder.joinpath(f"viewer.{kind}").read_text("utf-8") for kind in ("html", "js"))
    return page.replace("__SCRIPT__", script).replace("__DATA__", data)


def _page_data(view: ViewData, window_hu: tuple[float, float]) -> dict[str, Any]:
    axial = PLANES["axial"]
    low, high = extent(view, axial)
    margin = round(_MARGIN_MM / view.spacing_mm[0])
    total, height, width = view.volume_hu.shape
    first, last = max(low - margin, 0), min(high + margin, total - 1)
    return {
        "name": view.name,
        "captions": view.captions,
        "first": first,
        "shape": [last - first + 1, height, width],
        "total": [total, height, width],
        "spacing_mm": view.spacing_mm,
        "hu": DISPLAY_HU,
        "code_step": CODE_STEP,
        "window": window_hu,
        "presets": PRESETS_HU,
        "start": _start(view),
        "has_reference": view.reference is not None,
        "lesions": [asdict(lesion) | {"small": lesion.small} for lesion in view.lesions[:_LISTED]],
        "unlisted": max(len(view.lesions) - _LISTED, 0),
        "small_mm": SMALL_MM,
        "planes": [vars(plane) for plane in PLANES.values()],
        "colours": _COLOURS,
        "slices": [_slice(view, axial, number) for number in range(first, last + 1)],
    }


def _start(view: ViewData) -> list[int]:
    """The slice with the largest lesion, and the middle of its lesions or of what else it shows."""
    number = largest_lesion(view, PLANES["axial"])
    for shown in (view.reference_or_labels[number], view.labels[number]):
        for places in (np.argwhere(shown == LESION), np.argwhere(shown)):
            if len(places):
                return [number, *places.mean(axis=0).round().astype(int).tolist()]
    return [number, *(size // 2 for size in view.labels.shape[1:])]


def save_viewer(view: ViewData, path: Path, *, window_hu: tuple[float, float] = WINDOW_HU) -> None:
    """Write `viewer_page` to a file."""
    with atomic_path(path) as temporary:
        temporary.write_text(viewer_page(view, window_hu=window_hu), "utf-8")


def _slice(view: ViewData, plane: Plane, number: int) -> dict[str, Any]:
    low, high = DISPLAY_HU
    picture = (plane.cut(view.volume_hu, number) - low) / (high - low)
    grey = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    codes = plane.cut(view.labels, number)
    if view.reference is not None:
        codes = codes + np.uint8(3) * plane.cut(view.reference, number)
    return {
        "number": number + 1,
        "ct": _image(grey, "jpeg", quality=JPEG_QUALITY),
        "labels": _image(codes * np.uint8(CODE_STEP), "png", optimize=True),
    }


def _image(grey: NDArray[np.uint8], kind: str, **options: Any) -> str:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(grey)).save(stream, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
