"""A self-contained page to scroll through the slices of a scan and its masks."""

import base64
import importlib.resources
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lits_runtime.files.atomic import atomic_path
from lits_tools.view.chosen_slices import extent, largest_lesion
from lits_tools.view.display import (
    AGREED_COLOUR,
    LESION_COLOUR,
    LIVER_COLOUR,
    PREDICTED_COLOUR,
    PRESETS_HU,
    REFERENCE_COLOUR,
    WINDOW_HU,
)
from lits_tools.view.planes import PLANES, Plane
from lits_tools.view.view_data import ViewData

DISPLAY_HU = (-260.0, 360.0)
"""HU of the darkest and the brightest of the 256 grey values in the page: steps of 2.4 HU."""
JPEG_QUALITY = 88
CODE_STEP = 28
"""Grey values between codes of the label image; a code is predicted + 3 * reference, 0 to 8."""
_MARGIN_MM = 10.0


def viewer_page(
    view: ViewData, *, plane: str = "axial", window_hu: tuple[float, float] = WINDOW_HU
) -> str:
    """The page as HTML text, with the slices that hold labels and 10 mm on either side.

    Args:
        view: what to show; see `open_view`.
        plane: a key of `PLANES`.
        window_hu: HU shown as black and as white when the page opens.
    """
    data = json.dumps(_page_data(view, PLANES[plane], window_hu)).replace("<", "\\u003c")
    page = importlib.resources.files("lits_tools.view").joinpath("viewer.html")
    return page.read_text("utf-8").replace("__DATA__", data)


def _page_data(view: ViewData, cut: Plane, window_hu: tuple[float, float]) -> dict[str, Any]:
    low, high = extent(view, cut)
    margin = round(_MARGIN_MM / view.spacing_mm[cut.axis])
    total = view.volume_hu.shape[cut.axis]
    numbers = range(max(low - margin, 0), min(high + margin + 1, total))
    height, width = cut.cut(view.labels, 0).shape
    return {
        "name": view.name,
        "caption": "; ".join(view.captions),
        "plane": cut.name,
        "letters": cut.letters,
        "width": width,
        "height": height,
        "pixel_mm": cut.pixel_mm(view.spacing_mm),
        "hu": DISPLAY_HU,
        "code_step": CODE_STEP,
        "window": window_hu,
        "presets": PRESETS_HU,
        "total": total,
        "start": largest_lesion(view, cut) - numbers[0],
        "has_reference": view.reference is not None,
        "colours": {
            "liver": LIVER_COLOUR,
            "lesion": LESION_COLOUR,
            "predicted": PREDICTED_COLOUR,
            "reference": REFERENCE_COLOUR,
            "agreed": AGREED_COLOUR,
        },
        "slices": [_slice(view, cut, number) for number in numbers],
    }


def save_viewer(
    view: ViewData,
    path: Path,
    *,
    plane: str = "axial",
    window_hu: tuple[float, float] = WINDOW_HU,
) -> None:
    """Write `viewer_page` to a file."""
    with atomic_path(path) as temporary:
        temporary.write_text(viewer_page(view, plane=plane, window_hu=window_hu), "utf-8")


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
