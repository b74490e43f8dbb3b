"""Axial slices as pictures: windowed, with labels and figures drawn in."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lits_runtime.labels import lesion_mask, liver_mask
from lits_runtime.volumes.dicom_objects.segments import COLOURS_RGB

WINDOW_HU = (-100.0, 240.0)
"""HU shown as black and as white."""
LEAST_SIDE = 512
"""Pixels of the shorter side: smaller slices are enlarged, so that text can be read."""
_FILL = 0.3
"""Opacity of lesions."""
_TEXT_OF_SIDE = 1 / 32


@dataclass(frozen=True)
class Frame:
    """How a slice becomes a picture."""

    size: tuple[int, int]
    """(width, height) of the picture."""
    pixel_mm: float
    """Its pixels are square."""

    @classmethod
    def of(cls, height: int, width: int, row_mm: float, column_mm: float) -> "Frame":
        """The picture of a slice whose pixels may not be square.

        >>> Frame.of(512, 512, 0.7, 0.7)
        Frame(size=(512, 512), pixel_mm=0.7)
        >>> Frame.of(64, 128, 2.0, 1.0)
        Frame(size=(512, 512), pixel_mm=0.25)
        """
        pixel_mm = min(row_mm, column_mm)
        shorter = min(height * row_mm, width * column_mm) / pixel_mm
        if shorter < LEAST_SIDE:
            pixel_mm *= shorter / LEAST_SIDE
        size = round(width * column_mm / pixel_mm), round(height * row_mm / pixel_mm)
        return cls(size, pixel_mm)


def picture(
    slice_hu: NDArray[np.float32], labels: NDArray[np.uint8], frame: Frame, lines: Sequence[str]
) -> NDArray[np.uint8]:
    """An axial slice, (height, width, 3), patient's right on the left.

    Args:
        slice_hu: (rows, columns), canonical.
        labels: the same.
        frame: of the series.
        lines: of text, for the upper left corner.
    """
    low, high = WINDOW_HU
    grey = np.clip((slice_hu - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    shown = Image.fromarray(grey).resize(frame.size, Image.Resampling.BILINEAR)
    marked = Image.fromarray(labels).resize(frame.size, Image.Resampling.NEAREST)
    rgb = np.repeat(np.asarray(shown)[:, :, None], 3, 2)
    _draw_labels(rgb, np.asarray(marked))
    image = Image.fromarray(rgb)
    _write(image, lines)
    return np.asarray(image)


def _draw_labels(rgb: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    lesion = lesion_mask(labels)
    colour = np.array(COLOURS_RGB["lesion"])
    rgb[lesion] = (1 - _FILL) * rgb[lesion] + _FILL * colour
    rgb[_border(liver_mask(labels))] = COLOURS_RGB["liver"]
    rgb[_border(lesion)] = colour


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a mask with a neighbour outside it."""
    padded = np.pad(mask, 1)
    within = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    border: NDArray[np.bool_] = mask & ~within
    return border


def _write(image: Image.Image, lines: Sequence[str]) -> None:
    """Lines at the upper left, and the patient's sides at the edges, white on black outlines."""
    draw = ImageDraw.Draw(image)
    width, height = image.size
    size = round(min(width, height) * _TEXT_OF_SIDE)
    font = ImageFont.load_default(size)
    for number, line in enumerate(lines):
        _text(draw, (size // 2, size // 2 + number * size * 5 // 4), line, font, "la")
    _text(draw, (size // 2, height // 2), "R", font, "lm")
    _text(draw, (width - size // 2, height // 2), "L", font, "rm")


def _text(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    anchor: str,
) -> None:
    draw.text(at, text, (255, 255, 255), font, anchor, stroke_width=2, stroke_fill=(0, 0, 0))
