"""Slices of a canonical volume in the three planes, oriented as a radiologist expects them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command takes the names of the planes and starts without NumPy
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Plane:
    """One of the three directions in which a volume is cut."""

    name: str
    axis: int
    """The axis of the canonical array (slices, height, width) that the plane is cut along."""
    rows: int
    """Array axis that runs down the picture."""
    columns: int
    """Array axis that runs from left to right in it."""
    flip_rows: bool
    """Whether `rows` runs up the patient, as slices do from inferior to superior."""
    letters: str
    """The patient's sides at the picture's left, right, top and bottom: right is on the left."""
    first: str
    """The side of slice 1."""

    def cut(self, volume: "NDArray[Any]", number: int) -> "NDArray[Any]":
        """The slice `number`, from 0, of an array (slices, height, width), top row first."""
        picture: NDArray[Any] = volume.take(number, axis=self.axis)
        return picture[::-1] if self.flip_rows else picture

    def pixel_mm(self, spacing_mm: tuple[float, float, float]) -> tuple[float, float]:
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
