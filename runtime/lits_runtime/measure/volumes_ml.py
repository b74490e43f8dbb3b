"""Volumes by class, tumour burden, and the sides at which the liver leaves the field of view."""

import numpy as np
from numpy.typing import NDArray

from lits_runtime.labels import lesion_mask
from lits_runtime.volumes.geometry import Geometry


class Tally:
    """Counts voxels by label, and notes where labels meet the edge of the field of view."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self.voxels = np.zeros(3, np.int64)
        self.lowest_hu, self.highest_hu = float("inf"), float("-inf")
        self._edges: set[str] = set()

    def add(self, start: int, labels: NDArray[np.uint8]) -> None:
        """Count labels (n, height, width) from canonical slice `start` on."""
        lesion = np.count_nonzero(lesion_mask(labels))
        liver = np.count_nonzero(labels) - lesion  # many times faster than bincount
        self.voxels += (labels.size - liver - lesion, liver, lesion)
        if not liver and not lesion:
            return
        for name, edge in (
            ("left", labels[:, :, -1]),
            ("right", labels[:, :, 0]),
            ("front", labels[:, 0]),
            ("back", labels[:, -1]),
        ):
            if edge.any():
                self._edges.add(name)
        if start == 0 and labels[0].any():
            self._edges.add("feet")
        if start + len(labels) == self._geometry.canonical_shape[0] and labels[-1].any():
            self._edges.add("head")

    def see(self, lowest_hu: float, highest_hu: float) -> None:
        """Widen the range of values."""
        self.lowest_hu = min(self.lowest_hu, lowest_hu)
        self.highest_hu = max(self.highest_hu, highest_hu)

    def volumes_ml(self, classes: tuple[str, ...]) -> dict[str, float]:
        """By class; the liver includes its lesions."""
        _, liver, lesion = (self.voxels * self._geometry.voxel_ml).tolist()
        volumes = {"liver": liver + lesion, "lesion": lesion}
        return {name: volumes[name] for name in classes}

    def liver_cut(self) -> tuple[str, ...]:
        """Sides of the field of view that labels reach, in a fixed order."""
        sides = ("head", "feet", "left", "right", "front", "back")
        return tuple(side for side in sides if side in self._edges)


def burden_percent(volumes_ml: dict[str, float]) -> float | None:
    """Lesion volume over liver volume; None if the model has no liver, or found none.

    >>> burden_percent({"liver": 1500.0, "lesion": 30.0})
    2.0
    """
    if not volumes_ml.get("liver") or "lesion" not in volumes_ml:
        return None
    return 100 * volumes_ml["lesion"] / volumes_ml["liver"]
