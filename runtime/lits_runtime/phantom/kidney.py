"""A kidney of the phantom, in its fat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lits_runtime.phantom.shapes import WHOLE, Array, Blob, Canvas, Plane, Waves, Window
from lits_runtime.phantom.torso import FAT_HU


@dataclass(frozen=True)
class Kidney:
    """Cortex, pyramids and the sinus with its fat and pelvis."""

    outer: Blob
    sinus: Blob
    lobes: Waves
    bumps: Waves
    """Of the surface."""
    cortex_hu: float

    def fat(self, plane: Plane, z: float, within: Array, window: Window = WHOLE) -> Array:
        """Return the distance (rows, columns) to the surface of the fat around the kidney.

        `within` is the distance to the cavity's wall, over the whole plane.
        """
        behind = self.outer.moved((0.0 if self.outer.centre[0] > 0 else 8.0, 18.0, 0.0))
        around = np.maximum(
            self.outer.distance(plane, z, window, 4), behind.distance(plane, z, window, 4)
        )
        distance: Array = np.minimum(around, within[window] - 2)
        return distance

    def paint(self, canvas: Canvas, within: Array) -> None:
        """Paint the fat, and the kidney into it."""
        plane, z = canvas.plane, canvas.z
        if not self.outer.crosses(z, 7):
            return
        window = self.outer.window(plane, 12)
        canvas.replace(self.fat(plane, z, within, window), FAT_HU, window)
        bumps = 0.6 * self.bumps.at(plane, z, window)
        distance = np.minimum(self.outer.distance(plane, z, window) + bumps, within[window] - 5)
        canvas.replace(distance, self.cortex_hu, window)
        pyramids = distance - 7.5 + np.minimum(self.lobes.at(plane, z, window), 3)
        canvas.replace(pyramids, self.cortex_hu * 0.72, window)
        hollow = self.sinus.distance(plane, z, window) + 0.7 * self.lobes.at(plane, z, window)
        canvas.replace(np.minimum(hollow, distance + 9), -75.0, window)
        canvas.replace(hollow - 5.5, 45.0, window)
