"""Slices of a canonical volume in the three planes, turned as a radiologist looks at them."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from lits_tools.scores.surface import Spacing


@dataclass(frozen=True)
class Plane:
    """One of the three directions in which a volume is cut."""

    name: str
    axis: int
    """Of the canonical array (slices, height, width) along which one scrolls."""
    rows: int
    """Array axis that runs down the picture."""
    columns: int
    """Array axis that runs from left to right in it."""
    flip_rows: bool
    """Whether the array runs upwards: slices do, from inferior to superior."""
    letters: str
    """Where the picture's left, right, top and bottom lie: patient's right on the left."""
    first: str
    """Where slice 1 lies."""

    def cut(self, volume: NDArray[Any], number: int) -> NDArray[Any]:
        """The slice `number`, from 0, of an array (slices, height, width), top row first."""
        picture: NDArray[Any] = volume.take(number, axis=self.axis)
        return picture[::-1] if self.flip_rows else picture

    def pixel_mm(self, spacing_mm: Spacing) -> tuple[float, float]:
        """Height and width of the picture's pixels."""
        return spacing_mm[self.rows], spacing_mm[self.columns]


PLANES = {
    plane.name: plane
    for plane in (
        Plane("axial", 0, 1, 2, False, "RLAP", "inferior"),
        Plane("coronal", 1, 0, 2, True, "RLSI", "anterior"),
        Plane("sagittal", 2, 0, 1, True, "APSI", "right"),
    )
}
