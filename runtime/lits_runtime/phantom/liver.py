"""The phantom's liver: outline, vessels and lesions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lits_runtime.phantom.shapes import (
    WHOLE,
    Array,
    Blob,
    Branch,
    Canvas,
    Grain,
    Plane,
    Waves,
    Window,
    chain,
    grow,
    smooth_min,
)
from lits_runtime.phantom.torso import Torso


@dataclass(frozen=True)
class Lesion:
    """A deformed ellipsoid darker than the liver; `core_hu` and `rim_hu` are differences to it."""

    body: Blob
    bumps: Waves
    drop_hu: float
    core_hu: float
    rim_hu: float
    margin_mm: float


class Liver:
    """Liver under the right dome of the diaphragm, its left lobe across the midline."""

    def __init__(self, rng: np.random.Generator, torso: Torso) -> None:
        self.torso = torso
        self.length = rng.uniform(140, 205)
        self.shift = rng.uniform(-14, 18, 2)
        self.turn = rng.uniform(-0.22, 0.22)
        self.bend = rng.uniform(-0.0012, 0.0032)
        self.left_reach = rng.uniform(25, 100)
        self.left_end = rng.uniform(0.45, 0.75)
        self.inset = rng.uniform(0.5, 3.5)
        self.tip = rng.uniform(-114, -88) * torso.half_width / 128
        self.underside = Waves(rng, rng.uniform(2.5, 5.5), 34, 95)
        self.outline = Waves(rng, rng.uniform(2, 4.5), 55, 160)
        self.hu = rng.uniform(64, 122)
        self.texture = Grain(rng, 3.5, 9)
        self.lesion_texture = Grain(rng, 5, 4)
        self.vessel_hu = self.hu + rng.uniform(28, 80)
        self.fissure_x = rng.uniform(2, 24)
        self.fissure_mm = rng.uniform(0.3, 3.5)
        self.vessels = self._vessels(rng)
        self.lesions: list[Lesion] = []

    def _vessels(self, rng: np.random.Generator) -> list[Branch]:
        hilum = np.array([-24.0, 12.0, -88.0]) + rng.normal(0, 5, 3)
        trunk = np.array([4.0, self.torso.spine_y - 38, -128.0])
        fork = hilum + np.array([-22.0, -2.0, 8.0])
        left = hilum + np.array([26.0, -26.0, 10.0])
        tree = chain(np.array([trunk, hilum, fork]), 7.0, 6.0)
        tree += chain(np.array([hilum, left]), 5.5, 4.5)
        for heading in ((-1, 0.5, 0.5), (-1, 0.6, -0.6), (-0.8, -0.7, 0.4), (-0.7, -0.7, -0.5)):
            tree += grow(rng, fork, np.array(heading), rng.uniform(26, 38), 5.2, 5)
        for heading in ((0.9, -0.6, 0.2), (0.2, -1, -0.4)):
            tree += grow(rng, left, np.array(heading), rng.uniform(20, 28), 3.6, 3)
        cava = np.array([-22.0, self.torso.spine_y - 30, -22.0])
        for heading in ((-1, 0.1, -0.35), (-0.7, -0.8, -0.4), (0.3, -1, -0.3)):
            tree += grow(rng, cava, np.array(heading), rng.uniform(36, 46), 5.4, 5)
        return tree

    def _underside(self, z: float) -> tuple[float, float, float]:
        """Return a point (x, y) on the surface that faces the gut, and where it faces, in rad."""
        stops = (-0.1, 0.3, 0.6, 1.0)
        x = np.interp(-z / self.length, stops, (40, 14, -30, self.tip)) + self.shift[0]
        y = np.interp(-z / self.length, stops, (48, 32, 18, 18)) + self.shift[1]
        phi = np.interp(-z / self.length, stops, (1.0, 0.97, 0.7, 0.2)) + self.turn
        return float(x), float(y), float(phi)

    def fossa(self, share: float) -> tuple[float, float, float]:
        """Return the gallbladder's place in mm, at a share of the liver's height from its top."""
        z = -share * self.length
        x, y, phi = self._underside(z)
        along, away = 34.0, 9.0
        return (
            x + along * float(np.sin(phi)) + away * float(np.cos(phi)),
            y - along * float(np.cos(phi)) + away * float(np.sin(phi)),
            z,
        )

    def distance(
        self, plane: Plane, z: float, within: Array, chest_mm: Array, window: Window = WHOLE
    ) -> Array:
        """Return the distance (rows, columns) to the surface.

        `within` is the distance to the cavity's wall and `chest_mm` the height over the
        diaphragm, both over the whole plane.
        """
        x0, y0, phi = self._underside(z)
        x, y = plane.x[:, window[1]] - x0, plane.y[window[0]] - y0
        along = x * float(np.sin(phi)) - y * float(np.cos(phi))
        visceral = -x * float(np.cos(phi)) - y * float(np.sin(phi))
        visceral = visceral - np.minimum(along * along, 4000) * self.bend
        visceral = visceral + self.underside.at(plane, z, window)
        retreat = max(0.0, -z / self.length - self.left_end) * 420
        # The heart and the left dome, which holds the stomach, leave the top to the right lobe.
        reach = min(self.left_reach, 8 - 1.3 * z) - retreat
        left = (reach - plane.x[:, window[1]]) * 0.8
        under = -chest_mm[window] * 0.75 - 0.8
        bottom = (z + self.length) * 0.9
        distance = smooth_min(visceral, np.broadcast_to(left, visceral.shape), 22)
        distance = smooth_min(distance, under, 9)
        distance = smooth_min(distance, np.full_like(distance, bottom), 14)
        distance += self.outline.at(plane, z, window)
        return smooth_min(distance, within[window] - self.inset, 4)

    def add_lesions(
        self, rng: np.random.Generator, plane: Plane, heights: list[float], room: Array, count: int
    ) -> None:
        """Place lesions inside the liver, centred on slices out of `heights` (z in mm).

        Their centres lie on slices so that each is seen however far apart the slices are. `room`
        is the distance in mm (slices, rows, columns) to the nearest place outside the liver, or
        to what is painted over it.
        """
        depth = room.copy()
        for _ in range(count):
            radius = float(np.clip(np.exp(rng.normal(2.65, 0.45)), 5, 35))
            radius = min(radius, max(5.0, float(depth.max()) * 0.95))
            choice = rng.random()
            needed = min(radius * 0.85, float(depth.max()) * 0.95)
            places = np.argwhere(depth >= needed)
            at = places[int(choice * len(places))]
            centre = (float(plane.x[0, at[2]]), float(plane.y[at[1], 0]), heights[at[0]])
            self.lesions.append(self._lesion(rng, centre, radius))
            apart = np.hypot(plane.x - centre[0], plane.y - centre[1])
            for index, z in enumerate(heights):
                gap = np.hypot(apart, z - centre[2]) - radius - 4
                # Keeps a fallback: where the liver is full, lesions may touch.
                depth[index] = np.minimum(depth[index], np.maximum(gap, depth[index] * 0.2))

    def _lesion(
        self, rng: np.random.Generator, centre: tuple[float, float, float], radius: float
    ) -> Lesion:
        radii = radius * rng.uniform(0.8, 1.15, 3)
        kind = rng.random()
        return Lesion(
            body=Blob(centre, (float(radii[0]), float(radii[1]), float(radii[2])), rng, 0.8),
            bumps=Waves(rng, 0.09 * radius, 1.3 * radius, 4 * radius),
            drop_hu=float(rng.uniform(32, 60)),
            core_hu=float(rng.uniform(12, 28)) if kind < 0.35 and radius > 10 else 0.0,
            rim_hu=float(rng.uniform(15, 40)) if kind > 0.7 and radius > 9 else 0.0,
            margin_mm=float(rng.uniform(0.04, 0.18)) * min(radius, 14.0),
        )

    def paint(self, canvas: Canvas, within: Array, chest_mm: Array) -> None:
        """Paint the liver, its vessels and its lesions, and note their cover on the canvas."""
        torso, plane, z = self.torso, canvas.plane, canvas.z
        if not -self.length - 5 < z < 12:
            return
        reach_x, reach_y = torso.half_width + 12, torso.half_depth + 12
        middle = (self.left_reach + 15 - reach_x) / 2
        window = plane.window(middle, 0, (self.left_reach + 15 + reach_x) / 2, reach_y)
        distance = self.distance(plane, z, within, chest_mm, window)
        if distance.size == 0 or float(distance.max()) < 0:
            return
        texture = self.texture.at(plane, z, window)
        canvas.liver[window] = canvas.paint(distance, self.hu + texture, window)
        full = np.full_like(canvas.hu, -9)
        full[window] = distance
        self._paint_fissure(canvas, full)
        for vessel in self.vessels:
            if vessel.crosses(z):
                part = vessel.window(plane)
                tube = np.minimum(vessel.distance(plane, z, part), full[part] - 2)
                canvas.paint(tube, self.vessel_hu, part)
        for lesion in self.lesions:
            if lesion.body.crosses(z, 6):
                self._paint_lesion(canvas, lesion, full)

    def _paint_fissure(self, canvas: Canvas, full: Array) -> None:
        share = -canvas.z / self.length
        if not 0.28 < share < 0.75:
            return
        front, z = -float(self.torso.half_depth), canvas.z
        deep = 0.55 - 1.2 * abs(share - 0.55)
        start, end = np.array([self.fissure_x, front, z]), np.array([-4.0, front * (1 - deep), z])
        piece = Branch(start, end, self.fissure_mm, self.fissure_mm * 0.4)
        window = piece.window(canvas.plane)
        canvas.replace(piece.distance(canvas.plane, z, window), -60.0, window)

    def _paint_lesion(self, canvas: Canvas, lesion: Lesion, full: Array) -> None:
        plane, z = canvas.plane, canvas.z
        window = lesion.body.window(plane, 8)
        distance = lesion.body.distance(plane, z, window)
        distance = distance + lesion.bumps.at(plane, z, window)
        distance = np.minimum(distance, full[window] - 1.0)
        if distance.size == 0:
            return
        soft = lesion.margin_mm
        value = self.hu - lesion.drop_hu + self.lesion_texture.at(plane, z, window)
        if lesion.rim_hu:
            canvas.paint(distance + 2.0, self.hu + lesion.rim_hu * 0.5, window, 2.0)
        canvas.paint(distance, value, window, soft)
        if lesion.core_hu:
            core = distance - 0.4 * float(lesion.body.radii.min())
            canvas.paint(core, value - lesion.core_hu, window, 3.0)
        cover = np.clip(distance / canvas.edge_mm + 0.5, 0, 1)
        canvas.lesion[window] = np.maximum(canvas.lesion[window], cover)
