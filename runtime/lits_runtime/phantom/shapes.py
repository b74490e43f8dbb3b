"""Soft-edged shapes in patient millimetres and the slice that they are painted on.

Coordinates: x to the patient's left, y to posterior, z to superior. Arrays of a slice are
(rows, columns): rows run anterior to posterior, columns right to left. A distance is in mm and
positive inside its shape.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Window = tuple[slice, slice]

ANGLES = 4096
WHOLE: Window = (slice(None), slice(None))


def smooth_min(first: Array, second: Array, radius_mm: float) -> Array:
    """Return the smaller of two distances, the corner between them rounded to `radius_mm`."""
    blend = np.maximum(radius_mm - np.abs(first - second), 0)
    result: Array = np.minimum(first, second) - blend * blend * (0.25 / radius_mm)
    return result


class Plane:
    """A grid of in-plane positions, shared by all slices of a phantom.

    `x` is (1, columns), `y` is (rows, 1), both in mm; `rho` and `angle` are (rows, columns): the
    distance from the body's axis and the index of the direction in a table of `ANGLES` directions
    that starts at anterior and has posterior in its middle.
    """

    def __init__(self, x: Array, y: Array) -> None:
        self.x, self.y = x[None, :], y[:, None]
        self.rho: Array = np.hypot(self.x, self.y)
        turn = np.arctan2(self.x, self.y) * (ANGLES / (2 * np.pi)) + ANGLES / 2
        self.angle: NDArray[np.intp] = turn.astype(np.intp) % ANGLES

    def window(self, x_mm: float, y_mm: float, half_x_mm: float, half_y_mm: float) -> Window:
        """Return the part of the grid around a centre; empty where the grid ends before."""
        columns = np.searchsorted(self.x[0], (x_mm - half_x_mm, x_mm + half_x_mm))
        rows = np.searchsorted(self.y[:, 0], (y_mm - half_y_mm, y_mm + half_y_mm))
        return slice(int(rows[0]), int(rows[1])), slice(int(columns[0]), int(columns[1]))

    def within(self, table: Array, window: Window = WHOLE) -> Array:
        """Return the distance to an outline given as a radius in mm for each direction."""
        distance: Array = table.take(self.angle[window]) - self.rho[window]
        return distance


@dataclass
class Canvas:
    """One axial slice while it is painted; `liver` is the share of each voxel that is liver."""

    plane: Plane
    z: float
    edge_mm: float
    hu: Array
    liver: Array
    lesion: Array

    def paint(
        self, distance: Array, hu: float | Array, window: Window = WHOLE, soft_mm: float = 0.0
    ) -> Array:
        """Blend `hu` over the window where `distance` is positive; return the cover, 0 to 1."""
        cover: Array = distance * (1.0 / (self.edge_mm + soft_mm))
        cover += 0.5
        np.clip(cover, 0, 1, out=cover)
        region = self.hu[window]
        region += cover * (hu - region)
        return cover

    def replace(self, distance: Array, hu: float | Array, window: Window = WHOLE) -> Array:
        """Paint something that is not liver."""
        cover = self.paint(distance, hu, window)
        self.liver[window] *= 1 - cover
        return cover


class Waves:
    """A smooth random field around 0: products of sines, cheap because each is an outer product."""

    def __init__(
        self, rng: np.random.Generator, amplitude: float, shortest_mm: float, longest_mm: float
    ) -> None:
        count = 6
        self.wave = 2 * np.pi / rng.uniform(shortest_mm, longest_mm, (count, 3))
        self.phase = rng.uniform(0, 2 * np.pi, (count, 3))
        self.turn = rng.uniform(-1, 1, (count, 2))
        self.amplitude = amplitude * 2 / np.sqrt(count) * rng.uniform(0.5, 1.2, count)

    def at(self, plane: Plane, z: float, window: Window = WHOLE) -> Array:
        """Return the field (rows, columns) at height `z` mm."""
        x, y = plane.x[0, window[1]], plane.y[window[0], 0]
        lift = self.wave[:, 2:] * z
        along_x = np.sin(self.wave[:, :1] * x + self.phase[:, :1] + self.turn[:, :1] * lift)
        along_y = np.sin(self.wave[:, 1:2] * y + self.phase[:, 1:2] + self.turn[:, 1:] * lift)
        weight = self.amplitude * np.cos(0.5 * lift[:, 0] + self.phase[:, 2])
        field: Array = ((along_y * weight[:, None]).T @ along_x).astype(np.float32)
        return field


class Grain:
    """A random field with mean 0 and standard deviation `amplitude`, without visible period."""

    _SIZE = 320

    def __init__(self, rng: np.random.Generator, amplitude: float, size_mm: float) -> None:
        self.step_mm = max(0.85, size_mm / 4)
        along_x = np.fft.rfftfreq(self._SIZE, self.step_mm)
        along_y = np.fft.fftfreq(self._SIZE, self.step_mm)
        square = along_x[None, :] ** 2 + along_y[:, None] ** 2
        smooth = np.exp(-2 * (np.pi * size_mm / 2) ** 2 * square)
        self.size_mm = size_mm
        self.tiles = []
        for _ in range(2):
            white = rng.standard_normal((self._SIZE, self._SIZE), np.float32)
            tile = np.fft.irfft2(np.fft.rfft2(white) * smooth, (self._SIZE, self._SIZE))
            self.tiles.append((tile * (amplitude / tile.std())).astype(np.float32))

    def at(self, plane: Plane, z: float, window: Window = WHOLE) -> Array:
        """Return the field (rows, columns) at height `z` mm."""
        # A turning mixture of two independent tiles changes along z as fast as in the plane.
        turn = z / (1.5 * self.size_mm)
        per_mm = 1 / self.step_mm
        columns = np.floor(plane.x[0, window[1]] * per_mm).astype(np.intp) % self._SIZE
        rows = np.floor(plane.y[window[0], 0] * per_mm).astype(np.intp) % self._SIZE
        first, second = (t.take(rows, axis=0).take(columns, axis=1) for t in self.tiles)
        field: Array = first * float(np.cos(turn)) + second * float(np.sin(turn))
        return field


class Blob:
    """An ellipsoid turned at random by up to `tilt` radians about each axis."""

    def __init__(
        self,
        centre: tuple[float, float, float],
        radii: tuple[float, float, float],
        rng: np.random.Generator,
        tilt: float = 0.2,
    ) -> None:
        self.centre, self.radii = centre, np.asarray(radii)
        turn = np.eye(3)
        for axis, angle in enumerate(rng.uniform(-tilt, tilt, 3)):
            first, second = (axis + 1) % 3, (axis + 2) % 3
            step = np.eye(3)
            step[first, first] = step[second, second] = np.cos(angle)
            step[first, second], step[second, first] = -np.sin(angle), np.sin(angle)
            turn = turn @ step
        self.turn = turn
        self.half = np.sqrt(((turn.T * self.radii) ** 2).sum(1))

    def moved(self, by_mm: tuple[float, float, float]) -> Blob:
        """Return the same ellipsoid elsewhere."""
        other = copy.copy(self)
        x, y, z = (at + step for at, step in zip(self.centre, by_mm, strict=True))
        other.centre = (x, y, z)
        return other

    def crosses(self, z: float, margin_mm: float = 0.0) -> bool:
        """Return whether the ellipsoid meets the slice at height `z` mm."""
        return bool(abs(z - self.centre[2]) < self.half[2] + margin_mm)

    def window(self, plane: Plane, margin_mm: float = 5.0) -> Window:
        """Return the part of the plane that holds the ellipsoid."""
        half_x, half_y = float(self.half[0]) + margin_mm, float(self.half[1]) + margin_mm
        return plane.window(self.centre[0], self.centre[1], half_x, half_y)

    def distance(self, plane: Plane, z: float, window: Window, grow_mm: float = 0.0) -> Array:
        """Return the distance (rows, columns) to the surface moved outwards by `grow_mm`."""
        x = plane.x[:, window[1]] - self.centre[0]
        y = plane.y[window[0]] - self.centre[1]
        dz = z - self.centre[2]
        near: Array = np.zeros((1, 1), np.float32)
        far: Array = near
        for axis in range(3):
            radius = max(float(self.radii[axis]) + grow_mm, 1.0)
            a, b, c = (float(v) for v in self.turn[:, axis] / radius)
            part = (x * a + (y * b + c * dz)) ** 2
            near = near + part
            far = far + part * (1.0 / radius**2)
        near, far = np.sqrt(near), np.sqrt(far) + np.float32(1e-6)
        distance: Array = near * (1 - near) / far
        # The quotient is exact on the surface only and falls to 0 at the centre.
        return np.where(near < 0.5, (1 - near) * float(self.radii.min() + grow_mm), distance)


@dataclass(frozen=True)
class Branch:
    """A straight piece of a vessel or bowel: two ends and two radii, in mm."""

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    radius: float
    end_radius: float

    def crosses(self, z: float) -> bool:
        """Return whether the piece meets the slice at height `z` mm."""
        low, high = sorted((float(self.start[2]), float(self.end[2])))
        return low - self.radius < z < high + self.radius

    def window(self, plane: Plane) -> Window:
        """Return the part of the plane that holds the piece."""
        middle, half = (self.start + self.end) / 2, np.abs(self.end - self.start) / 2
        margin = self.radius + 4
        return plane.window(
            float(middle[0]), float(middle[1]), float(half[0]) + margin, float(half[1]) + margin
        )

    def distance(self, plane: Plane, z: float, window: Window) -> Array:
        """Return the distance (rows, columns) to the surface of the piece."""
        run_x, run_y, run_z = (float(v) for v in self.end - self.start)
        x = plane.x[:, window[1]] - float(self.start[0])
        y = plane.y[window[0]] - float(self.start[1])
        dz = z - float(self.start[2])
        length = max(run_x**2 + run_y**2 + run_z**2, 1e-3)
        share = np.clip((x * run_x + (y * run_y + dz * run_z)) * (1 / length), 0, 1)
        off = (x - share * run_x) ** 2 + (y - share * run_y) ** 2 + (dz - share * run_z) ** 2
        distance: Array = self.radius + share * (self.end_radius - self.radius) - np.sqrt(off)
        return distance


def chain(points: NDArray[np.float64], radius: float, end_radius: float) -> list[Branch]:
    """Join points (n, 3) by pieces whose radius runs from `radius` to `end_radius`."""
    radii = [float(r) for r in np.linspace(radius, end_radius, len(points))]
    return [
        Branch(points[i], points[i + 1], radii[i], radii[i + 1]) for i in range(len(points) - 1)
    ]


def grow(
    rng: np.random.Generator,
    start: NDArray[np.float64],
    heading: NDArray[np.float64],
    length: float,
    radius: float,
    generations: int,
) -> list[Branch]:
    """Grow a vessel tree that forks at each generation, thinner and shorter each time."""
    heading = heading / np.linalg.norm(heading)
    middle = start + heading * (length / 2) + rng.normal(0, length * 0.06, 3)
    end = start + heading * length
    tree = chain(np.array([start, middle, end]), radius, radius * 0.8)
    if generations > 0:
        side = rng.normal(0, 1, 3)
        side -= heading * (side @ heading)
        side /= np.linalg.norm(side)
        for spread in (rng.uniform(0.35, 0.8), -rng.uniform(0.35, 0.8)):
            shorter, thinner = length * rng.uniform(0.6, 0.9), radius * rng.uniform(0.55, 0.8)
            tree += grow(rng, end, heading + side * spread, shorter, thinner, generations - 1)
    return tree
