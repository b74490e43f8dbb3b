"""Body wall, lungs, bones and table of the phantom."""

from __future__ import annotations

import numpy as np

from lits_runtime.phantom.shapes import (
    ANGLES,
    Array,
    Blob,
    Branch,
    Canvas,
    Grain,
    Plane,
    Window,
    grow,
)

FAT_HU = -104.0
MUSCLE_HU = 58.0

_TURN = (np.arange(ANGLES) + 0.5) * (2 * np.pi / ANGLES) - np.pi
_FROM_BACK = np.abs(_TURN)


class Torso:
    """The patient around the organs; z = 0 is the top of the right diaphragm."""

    def __init__(self, rng: np.random.Generator) -> None:
        size = rng.uniform(0.9, 1.08)
        self.half_width = 140 * size * rng.uniform(0.94, 1.06)
        self.half_depth = 99 * size * rng.uniform(0.92, 1.1)
        self.corner = rng.uniform(2.15, 2.6)
        self.fat_mm = rng.uniform(5, 26)
        self.fat_side = rng.uniform(0.7, 1.3)
        self.muscle_mm = rng.uniform(10, 15)
        self.muscle_hu = MUSCLE_HU + rng.uniform(-10, 6)
        self.wobble = rng.normal(0, 0.012, (2, 4))
        self.spine_y = self.half_depth * rng.uniform(0.6, 0.68)
        self.spine_period = rng.uniform(29, 34)
        self.spine_start = rng.uniform(0, 30)
        self.spine_size = size * rng.uniform(0.95, 1.08)
        self.bone_hu = rng.uniform(110, 210)
        self.rib_spacing = rng.uniform(25, 29)
        self.rib_start = rng.uniform(0, 28)
        self.rib_drop = rng.uniform(105, 150)
        self.dome = rng.uniform(-0.06, 0.06, 4)
        self.left_dome = rng.uniform(-22, -4)
        self.recess = rng.uniform(45, 80)
        self.texture = Grain(rng, 9, 3.5)
        self.septa = Grain(rng, 1, 7)
        self.marrow = Grain(rng, 38, 3)
        self.lung_hu = rng.uniform(-885, -820)
        self.lung_vessels = self._lung_vessels(rng)
        self.table_drop = rng.uniform(2, 9)
        self.table_bend = rng.uniform(420, 650)

    def _lung_vessels(self, rng: np.random.Generator) -> list[Branch]:
        tree: list[Branch] = []
        for side in (-1, 1):
            for _ in range(5):
                start = np.array([side * rng.uniform(0.3, 0.42) * self.half_width, 15.0, 95.0])
                start[1] += rng.uniform(-25, 25)
                heading = np.array([side * rng.uniform(0, 0.7), rng.uniform(-0.5, 0.5), -1.0])
                tree += grow(rng, start, heading, rng.uniform(35, 50), 4.2, 5)
        return tree

    def cavity(self, z: float) -> Array:
        """Return the radius in mm of the chest and abdomen's inner wall for each direction."""
        scale = 1 - 0.05 * ((z + 80) / 120) ** 2 if z > -300 else 0.83
        across = np.abs(np.sin(_TURN)) / (self.half_width * scale)
        along = np.abs(np.cos(_TURN)) / (self.half_depth * scale)
        radius = (across**self.corner + along**self.corner) ** (-1 / self.corner)
        for order in range(4):
            swing = (order + 1) * _TURN
            radius *= 1 + self.wobble[0, order] * np.sin(swing) * 0.6
            radius *= 1 + self.wobble[1, order] * np.cos(swing + z / 90)
        table: Array = radius.astype(np.float32)
        return table

    def wall(self, z: float) -> tuple[Array, Array, Array]:
        """Return the outer radii in mm of cavity, muscle and skin for each direction."""
        cavity = self.cavity(z)
        low = float(np.clip((-60 - z) / 120, 0, 1))
        muscle = self.muscle_mm + 21 * np.exp(-((_FROM_BACK / 0.72) ** 4))
        muscle += 5 * (1 - low) * np.exp(-(((_FROM_BACK - 0.9) / 0.5) ** 2))
        front, full = np.pi - _FROM_BACK, muscle.copy()
        muscle *= 1 - 0.6 * low * np.exp(-((front / 0.07) ** 2))
        muscle *= 1 - 0.35 * low * np.exp(-(((front - 0.62) / 0.12) ** 2))
        fat = self.fat_mm * (0.75 + 0.45 * low)
        fat = fat * (1 + 0.35 * (self.fat_side - 1) * np.cos(2 * _TURN))
        fat *= 1 + 0.3 * low * np.cos(front) - 0.25 * np.exp(-((_FROM_BACK / 0.12) ** 2))
        outer = cavity + muscle
        skin = cavity + full + fat + 2.5 - 5 * np.exp(-((_FROM_BACK / 0.16) ** 2))
        return cavity, outer.astype(np.float32), skin.astype(np.float32)

    def diaphragm(self, plane: Plane) -> Array:
        """Return the height in mm (rows, columns) above which the chest begins."""
        x, y = plane.x / self.half_width, plane.y / self.half_depth
        right = ((x + 0.44 + self.dome[0]) / 0.62) ** 2 + ((y + 0.08 + self.dome[1]) / 0.9) ** 2
        left = ((x - 0.46 + self.dome[2]) / 0.6) ** 2 + ((y + 0.05 + self.dome[3]) / 0.9) ** 2
        right, left = -62 * right**1.2, -62 * left**1.2 + self.left_dome
        blend = np.logaddexp(right / 9, left / 9) * 9
        reach = plane.rho / self.cavity(-40).take(plane.angle)
        height: Array = (blend - self.recess * np.minimum(reach, 1.25) ** 11).astype(np.float32)
        return height

    def paint_wall(self, canvas: Canvas) -> Array:
        """Paint skin, fat and muscle; return the distance to the cavity's wall."""
        plane, z = canvas.plane, canvas.z
        cavity, muscle, skin = self.wall(z)
        outer = plane.within(skin)
        canvas.paint(outer, 10.0)
        texture = self.texture.at(plane, z)
        septa = self.septa.at(plane, z)
        strands = 45 * np.clip(np.abs(septa) - 1.9, 0, 1)
        canvas.paint(outer - 2.2, FAT_HU + 0.6 * texture + strands)
        inside = plane.within(muscle)
        canvas.paint(inside, self.muscle_hu + texture)
        # Fat runs between the muscles along the level lines of a random field.
        canvas.paint(np.minimum(inside - 1, 0.4 - 5 * np.abs(septa)), -45.0)
        if z < -40:
            seam = np.where(_FROM_BACK > 0.75, 0.35, -3.0) * min(1.0, (-40 - z) / 40)
            depth = plane.within(((cavity + muscle) / 2).astype(np.float32))
            canvas.paint(seam.astype(np.float32).take(plane.angle) - np.abs(depth), -60.0)
        within = plane.within(cavity)
        canvas.paint(within, FAT_HU + texture + strands)
        return within

    def paint_lungs(self, canvas: Canvas, within: Array, chest_mm: Array) -> None:
        """Paint diaphragm and lungs; `chest_mm` is the height above the diaphragm."""
        if float(chest_mm.max()) < -5:
            return
        canvas.paint(np.minimum(within, chest_mm + 2.0), self.muscle_hu)
        lungs = np.minimum(within - 1.5, chest_mm)
        cover = canvas.paint(lungs, self.lung_hu + self.marrow.at(canvas.plane, canvas.z) * 0.4)
        for vessel in self.lung_vessels:
            if vessel.crosses(canvas.z):
                window = vessel.window(canvas.plane)
                distance = vessel.distance(canvas.plane, canvas.z, window)
                canvas.paint(np.where(cover[window] > 0.5, distance, -9), 40.0, window)

    def paint_ribs(self, canvas: Canvas) -> None:
        """Paint the ribs: a slice cuts each one where it descends through it."""
        z, plane = canvas.z, canvas.plane
        cavity = self.cavity(z)
        lateral = np.sin(np.clip(_FROM_BACK / 2.9, 0, 1) * np.pi / 2) ** 1.6
        height = z + self.rib_drop * lateral - 60 + np.sign(_TURN) * 3 + self.rib_start
        number = np.floor(height / self.rib_spacing)
        off = height - (number + 0.5) * self.rib_spacing
        end = np.clip(1.2 + 0.32 * (number + 4), 0.6, 2.45)
        half = 4.2 * np.sqrt(np.clip(1 - (off / 7.0) ** 2, 0, 1)) - 0.6
        half = np.where((end > _FROM_BACK) & (_FROM_BACK > 0.3) & (number > -5), half, -5)
        centre = (cavity + 4.5).astype(np.float32)
        thick = half.astype(np.float32).take(plane.angle)
        distance = thick - np.abs(plane.within(centre))
        canvas.paint(distance, 480.0)
        canvas.paint(distance - 1.7, self.bone_hu)
        cartilage = (end <= _FROM_BACK) & (_FROM_BACK < 2.75) & (number > -3)
        half = 4.5 * np.sqrt(np.clip(1 - (off / 7.0) ** 2, 0, 1)) - 0.6
        thick = np.where(cartilage, half, -5).astype(np.float32).take(plane.angle)
        canvas.paint(thick - np.abs(plane.within(centre)), 105.0)

    def paint_spine(self, canvas: Canvas) -> None:
        """Paint psoas and back muscles, then the vertebra with canal and processes."""
        z, y0, size = canvas.z, self.spine_y, self.spine_size
        phase = ((z + self.spine_start) % self.spine_period) / self.spine_period
        low = float(np.clip((-95 - z) / 110, 0, 1))
        for side in (-1, 1):
            if low > 0:
                self._oval(canvas, side * (27 + 14 * low), y0 + 2, 7 + 15 * low, 9 + 15 * low)
            self._oval(canvas, side * 27 * size, y0 + 44, 27 * size, 17 * size, -25.0)
            self._oval(canvas, side * 27 * size, y0 + 44, 26 * size, 16 * size)
        waist = 1 - 0.09 * np.sin(np.pi * min(phase / 0.82, 1))
        across, deep = 21.5 * size * waist, 16.5 * size * waist
        disc = phase > 0.82
        bone = self.marrow.at(canvas.plane, z) + self.bone_hu
        self._process(canvas, (0, y0 + 27), (0, y0 + 33 + 26 * size), 3.2, phase < 0.7)
        for side in (-1, 1):
            tip = (side * 38 * size, y0 + 27)
            self._process(canvas, (side * 14, y0 + 22), tip, 3.6, 0.4 < phase < 0.75)
            self._process(canvas, (side * 12, y0 + 14), (side * 15, y0 + 27), 4.5, phase < 0.6)
            self._process(canvas, (side * 15, y0 + 27), (0, y0 + 36), 3.2, phase < 0.8)
        if disc:
            self._oval(canvas, 0, y0, across + 1, deep + 1, 95.0)
        else:
            end_plate = 1 - min(phase, 0.82 - phase) / 0.08
            self._oval(canvas, 0, y0, across, deep, 420.0)
            window = canvas.plane.window(0, y0, across + 4, deep + 4)
            core = self._distance(canvas, window, 0, y0, across - 2, deep - 2)
            canvas.replace(core, bone[window] + 120 * max(0.0, end_plate), window)
        self._oval(canvas, 0, y0 + 24, 10.5 * size, 8 * size, -40.0)
        self._oval(canvas, 0, y0 + 24, 8.5 * size, 6.5 * size, 38.0)

    def _distance(
        self, canvas: Canvas, window: Window, x0: float, y0: float, half_x: float, half_y: float
    ) -> Array:
        x = (canvas.plane.x[:, window[1]] - x0) / half_x
        y = (canvas.plane.y[window[0]] - y0) / half_y
        distance: Array = (1 - np.sqrt(x * x + y * y)) * min(half_x, half_y)
        return distance

    def _oval(
        self,
        canvas: Canvas,
        x0: float,
        y0: float,
        across: float,
        deep: float,
        hu: float | None = None,
    ) -> None:
        window = canvas.plane.window(x0, y0, across + 4, deep + 4)
        distance = self._distance(canvas, window, x0, y0, across, deep)
        if hu is None:
            canvas.replace(
                distance, self.muscle_hu + self.texture.at(canvas.plane, canvas.z, window), window
            )
        else:
            canvas.replace(distance, hu, window)

    def _process(
        self,
        canvas: Canvas,
        start: tuple[float, float],
        end: tuple[float, float],
        radius: float,
        present: bool,
    ) -> None:
        if not present:
            return
        z = canvas.z
        piece = Branch(np.array([*start, z]), np.array([*end, z]), radius, radius * 0.8)
        window = piece.window(canvas.plane)
        distance = piece.distance(canvas.plane, z, window)
        canvas.replace(distance, 400.0, window)
        canvas.replace(distance - 1.8, self.bone_hu + 40, window)

    def paint_table(self, canvas: Canvas) -> None:
        """Paint the couch under the patient: two thin curved shells with foam between them."""
        back = float(self.wall(-60.0)[2][ANGLES // 2 - 300 : ANGLES // 2 + 300].max())
        x, y = canvas.plane.x, canvas.plane.y
        top = back + self.table_drop - x * x / (2 * self.table_bend)
        inside = np.minimum(y - top, 210 - np.abs(x))
        free = canvas.hu < -500
        sheet = np.where(free, 1.1 - np.abs(inside - 1.1), -9)
        foam = np.where(free, 11 - np.abs(inside - 13), -9)
        lower = np.where(free, 1.3 - np.abs(inside - 26 + x * x / 3000), -9)
        for distance, hu in ((foam, -960.0), (sheet, 190.0), (lower, 110.0)):
            canvas.paint(distance.astype(np.float32), hu)


def sternum(torso: Torso, rng: np.random.Generator) -> Blob:
    """Return the breastbone, a flat ellipsoid in the front wall of the chest."""
    front = -float(torso.cavity(20.0)[0]) - 7
    return Blob((0, front, 65), (19, 7, 75), rng, 0.03)
