"""A picture of one axial slice of a scan, with its liver and lesions in colour."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from lits_runtime.labels import COLOURS, LABEL_VALUES, LESION, LIVER
from lits_runtime.volumes.scan import Scan

_WINDOW_HU = (-100.0, 240.0)
"""HU shown as black and as white."""
_FILLED = 0.35
"""Of a colour, inside its outline."""
_LEAST_PIXELS = 768
"""Of the picture's longer side."""
_SLAB = 16


def draw_overlay(scan: Path, mask: Path, mask_kind: str) -> Image.Image:
    """The slice with most lesion, or without any that with most liver, in radiological convention.

    Args:
        scan: file or folder that the mask is of.
        mask: on the same grid.
        mask_kind: what it holds, one of `segment.options.MASK_KINDS`.

    Raises:
        VolumeError: one of them cannot be read.
    """
    number, labels = _fullest_slice(Scan.open(mask), LABEL_VALUES.get(mask_kind))
    opened = Scan.open(scan)
    slices, height, width = opened.geometry.canonical_shape
    (hu,) = opened.read_slab(number, number + 1)
    _, row_mm, column_mm = opened.geometry.canonical_spacing_mm
    scale = _LEAST_PIXELS / max(height * row_mm, width * column_mm)
    size = round(width * column_mm * scale), round(height * row_mm * scale)
    grey = Image.fromarray(_grey(hu)).resize(size, Image.Resampling.BICUBIC)
    larger = Image.fromarray(labels).resize(size, Image.Resampling.NEAREST)
    picture = Image.fromarray(_coloured(np.asarray(grey), np.asarray(larger)))
    _write(picture, f"{number + 1} / {slices}")
    return picture


def _fullest_slice(mask: Scan, only: int | None) -> tuple[int, NDArray[np.uint8]]:
    """Number and labels of the slice with most lesion, then most liver; the middle one if empty."""
    slices = mask.geometry.canonical_shape[0]
    best, found = (-1, -1, 0), None
    for slab in mask.slabs(_SLAB):
        labels = mask.slab_hu(slab).astype(np.uint8)
        if only is not None:
            labels[labels > 0] = only
        counts = [np.count_nonzero(labels == value, axis=(1, 2)) for value in (LESION, LIVER)]
        for place, (lesion, liver) in enumerate(zip(*counts, strict=True)):
            number = slab.start + place
            key = int(lesion), int(liver), -abs(number - slices // 2)
            if key > best or found is None:
                best, found = key, (number, labels[place].copy())
    assert found is not None
    return found


def _grey(hu: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = _WINDOW_HU
    share = (np.clip(hu, low, high) - low) / (high - low)
    grey: NDArray[np.uint8] = np.rint(share * 255).astype(np.uint8)
    return grey


def _coloured(grey: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB: each region tinted, with an outline of its full colour inside."""
    picture = np.repeat(grey[..., None].astype(np.float32), 3, axis=2)
    for name, value in LABEL_VALUES.items():
        region = labels >= value  # the outline of the liver goes around its lesions
        outline = region & ~_eroded(region)
        colour = np.array(ImageColor.getrgb(COLOURS[name]), np.float32)
        inside = labels == value
        picture[inside] += _FILLED * (colour - picture[inside])
        picture[outline] = colour
    return np.rint(picture).astype(np.uint8)


def _eroded(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    padded = np.pad(region, 1)
    inner = padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
    both: NDArray[np.bool_] = region & inner
    return both


def _write(picture: Image.Image, number: str) -> None:
    """Sides of the patient, and which slice it is."""
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(20)
    width, height = picture.size
    for text, place, anchor in (
        ("R", (8, height / 2), "lm"),
        ("L", (width - 8, height / 2), "rm"),
        (number, (8, height - 8), "ls"),
    ):
        draw.text(place, text, "white", font, anchor, stroke_width=2, stroke_fill="black")
