"""The organs of the phantom other than the liver."""

from __future__ import annotations

import numpy as np

from lits_runtime.phantom.kidney import Kidney
from lits_runtime.phantom.liver import Liver
from lits_runtime.phantom.shapes import (
    WHOLE,
    Array,
    Blob,
    Branch,
    Canvas,
    Grain,
    Plane,
    Waves,
    chain,
    grow,
)
from lits_runtime.phantom.torso import FAT_HU, Torso, sternum

AIR_HU = -990.0
_NEAR_MM = 60.0
"""Above or below an organ by more than this, no lesion reaches it."""


class Organs:
    """Heart, spleen, kidneys, stomach, bowel, gallbladder, pancreas and large vessels."""

    def __init__(self, rng: np.random.Generator, torso: Torso, liver: Liver) -> None:
        self.torso, self.size = torso, torso.half_width / 128
        self.blood_hu = rng.uniform(120, 215)
        self.vein_hu = rng.uniform(105, 165)
        self.spleen_hu = liver.hu + rng.uniform(0, 22)
        self.cortex_hu = rng.uniform(140, 205)
        self.wall_hu = rng.uniform(50, 85)
        self.texture = Grain(rng, 3, 6)
        self.bumps = Waves(rng, 3.5, 30, 95)
        self.stool = Grain(rng, 260, 3.2)
        self.sternum = sternum(torso, rng)
        self._upper(rng, liver)
        self._kidneys(rng)
        self._bowel(rng)
        self._vessels(rng)

    def _blob(
        self,
        rng: np.random.Generator,
        at: tuple[float, float, float],
        radii: tuple[float, float, float],
        tilt: float = 0.2,
        loose_mm: float = 6.0,
    ) -> Blob:
        """Place an ellipsoid at a share of half width and half depth and a height in mm."""
        torso = self.torso
        x, y, z = (float(v) for v in rng.uniform(-loose_mm, loose_mm, 3))
        centre = (at[0] * torso.half_width + x, at[1] * torso.half_depth + y, at[2] + 1.5 * z)
        scale = rng.uniform(0.88, 1.15, 3) * self.size
        first, second, third = (float(r * s) for r, s in zip(radii, scale, strict=True))
        return Blob(centre, (first, second, third), rng, tilt)

    def _upper(self, rng: np.random.Generator, liver: Liver) -> None:
        self.heart = self._blob(rng, (0.17, -0.3, 30), (62, 46, 46), 0.3)
        x, y, z = self.heart.centre
        self.ventricles = [
            Blob((x + 22, y + 4, z + 4), (26, 17, 28), rng, 0.4),
            Blob((x - 12, y - 16, z + 2), (26, 16, 30), rng, 0.4),
            Blob((x - 32, y + 12, z + 8), (18, 20, 28), rng, 0.3),
        ]
        self.spleen = self._blob(rng, (0.68, 0.36, -52), (26, 44, 50), 0.45)
        self.stomach = self._blob(rng, (0.4, -0.08, -54), (40, 46, 56), 0.5, 10)
        self.antrum = self._blob(rng, (0.12, -0.38, -112), (46, 21, 20), 0.35, 8)
        self.stomach_hu = float(rng.choice([8, 25, 45, 140], p=[0.35, 0.3, 0.25, 0.1]))
        self.stomach_air = float(rng.uniform(-0.75, 0.1))
        self.stomach_wall = rng.uniform(3, 6)
        radii = rng.uniform(0.8, 1.15, 3) * (13, 14, 27)
        girth, depth, height = (float(r) for r in radii)
        self.gallbladder = Blob(
            liver.fossa(rng.uniform(0.6, 0.78)), (girth, depth, height), rng, 0.4
        )
        self.has_gallbladder = rng.random() < 0.85
        points = np.array([(-22, 4, -128), (-2, -8, -118), (24, -4, -108), (52, 14, -96)], float)
        points[:, 1] += self.torso.spine_y - 50 + rng.uniform(-6, 6)
        self.pancreas = chain(points + rng.normal(0, 3, points.shape), 13, 8)
        self.splenic = chain(points + np.array([0, 8, 4]), 4.5, 3.5)

    def _kidneys(self, rng: np.random.Generator) -> None:
        self.kidneys: list[Kidney] = []
        for side, height in ((-1, -152.0), (1, -138.0)):
            at = (side * 0.46, 0.52, height)
            outer = self._blob(rng, at, (28, 27, 55), 0.3, 7)
            x, y, z = outer.centre
            first, second, third = outer.radii * (0.55, 0.42, 0.55)
            sinus = Blob(
                (x - side * 15, y - 7, z), (float(first), float(second), float(third)), rng, 0.3
            )
            lobes = Waves(rng, 4.5, 14, 34)
            self.kidneys.append(Kidney(outer, sinus, lobes, self.bumps, self.cortex_hu))

    def _bowel(self, rng: np.random.Generator) -> None:
        wide, deep = self.torso.half_width, self.torso.half_depth
        self.loops: list[tuple[list[Branch], float]] = []
        for _ in range(int(rng.integers(55, 80))):
            at = np.array([rng.uniform(-0.5, 0.7) * wide, rng.uniform(-0.7, 0.15) * deep, 0])
            at[2] = rng.uniform(-330, -105)
            walk = np.cumsum(rng.normal(0, 1, (5, 3)) * (19, 12, 14), axis=0)
            fluid = self.wall_hu - rng.uniform(8, 40)
            content = float(rng.choice([fluid, 150, -700], p=[0.87, 0.07, 0.06]))
            self.loops.append((chain(at + walk, rng.uniform(9, 14), rng.uniform(8, 13)), content))
        descent = np.linspace(-55, -340, 15)
        sway = rng.normal(0, 5, (15, 2))
        down = np.column_stack([0.76 * wide + sway[:, 0], 0.12 * deep + sway[:, 1], descent])
        up = np.column_stack([-0.7 * wide + sway[:, 1], 0.02 * deep + sway[:, 0], descent - 95])
        sag = rng.uniform(-205, -125)
        across = np.array(
            [
                (-0.66, -0.2, up[0, 2]),
                (-0.4, -0.62, sag),
                (0, -0.74, sag - 10),
                (0.4, -0.62, sag + 20),
                (0.76, 0.1, -60),
            ]
        ) * (wide, deep, 1)
        width = rng.uniform(13, 21)
        self.colon = [chain(points, width, width * 0.85) for points in (down, up, across)]

    def _vessels(self, rng: np.random.Generator) -> None:
        back = self.torso.spine_y
        sway = rng.normal(0, 2.5, (9, 2))
        heights = np.linspace(140, -340, 9)
        aorta_x = np.interp(heights, (-250, -60, 100), (3, 9, 24)) + sway[:, 0]
        aorta_y = back - np.interp(heights, (-60, 60), (31, 14)) + 0.4 * sway[:, 1]
        self.aorta = chain(np.column_stack([aorta_x, aorta_y, heights]), 12.5, 9)
        self.calcified = rng.random() < 0.4
        cava_y = back - np.interp(heights, (-120, -30), (25, 36)) + sway[:, 1]
        cava = np.column_stack([np.full(9, -23.0) - sway[:, 0], cava_y, heights])
        self.cava = chain(cava[heights < 45], 11.5, 10)
        gullet = np.column_stack([np.interp(heights, (-50, 30), (20, 2)), aorta_y - 18, heights])
        self.gullet = chain(gullet[heights > -60], 8, 8)
        stem = np.array([5.0, back - 44, -112.0])
        self.mesentery: list[Branch] = []
        for x in (4.0, -12.0):
            points = stem + np.array([(x, 0, 0), (x, -9, -40), (x - 4, -14, -110), (x, -8, -190)])
            self.mesentery += chain(points, 4.6, 3.2)
        for _ in range(16):
            offset = [rng.uniform(-6, 6), -10.0, rng.uniform(-190, -10)]
            start = stem + np.array(offset)
            heading = np.array([rng.uniform(-1, 1.1), rng.uniform(-0.9, 0.1), rng.uniform(-1, 0.2)])
            self.mesentery += grow(rng, start, heading, rng.uniform(20, 34), 2.6, 3)
        self.renal: list[Branch] = []
        for kidney in self.kidneys:
            x, y, z = kidney.outer.centre
            ends = [(x * 0.62, y - 6, z), (x * 0.35, y - 16, z + 6), (-12.0, back - 32, z + 8)]
            self.renal += chain(np.array(ends), 4, 5)

    def paint_before_liver(self, canvas: Canvas, within: Array, chest_mm: Array) -> None:
        """Paint what the liver covers where they meet."""
        below = np.minimum(within, -chest_mm) - 1.5
        for branch in self.mesentery:
            self._tube(canvas, branch, self.vein_hu)
        self._paint_bowel(canvas, below)
        for branch in self.pancreas:
            self._tube(canvas, branch, 92.0, 6.0)
        for branch in self.splenic:
            self._tube(canvas, branch, self.vein_hu)
        self._paint_stomach(canvas, below)
        if self.spleen.crosses(canvas.z):
            window = self.spleen.window(canvas.plane)
            distance = self.spleen.distance(canvas.plane, canvas.z, window)
            texture = self.texture.at(canvas.plane, canvas.z, window)
            distance += 0.25 * texture + self.bumps.at(canvas.plane, canvas.z, window)
            inside = np.minimum(distance, below[window])
            canvas.paint(inside, self.spleen_hu + texture, window)

    def paint_after_liver(self, canvas: Canvas, within: Array, chest_mm: Array) -> None:
        """Paint what covers the liver where they meet."""
        plane, z = canvas.plane, canvas.z
        for kidney in self.kidneys:
            kidney.paint(canvas, within)
        for branch in self.renal:
            self._tube(canvas, branch, self.vein_hu + 10)
        if self.has_gallbladder and self.gallbladder.crosses(z):
            window = self.gallbladder.window(plane)
            distance = np.minimum(self.gallbladder.distance(plane, z, window), within[window] - 6)
            canvas.replace(distance, 55.0, window)
            canvas.replace(distance - 1.8, 8.0, window)
        for branch in self.cava:
            self._tube(canvas, branch, self.vein_hu)
        self._paint_heart(canvas, within, chest_mm)
        for branch in self.gullet:
            self._tube(canvas, branch, 45.0)
        for branch in self.aorta:
            self._tube(canvas, branch, 40.0, grow_mm=1.2)
            self._tube(canvas, branch, self.blood_hu)

    def clearance(self, plane: Plane, z: float, within: Array) -> Array:
        """Return the distance (rows, columns) to what may cover the liver, positive outside it.

        `within` is the distance to the cavity's wall, over the whole plane.
        """
        nearest = np.full(within.shape, -np.inf, np.float32)
        for kidney in self.kidneys:
            if kidney.outer.crosses(z, _NEAR_MM):
                nearest = np.maximum(nearest, kidney.fat(plane, z, within))
        if self.has_gallbladder and self.gallbladder.crosses(z, _NEAR_MM):
            nearest = np.maximum(nearest, self.gallbladder.distance(plane, z, WHOLE))
        for branch in self.cava:
            nearest = np.maximum(nearest, branch.distance(plane, z, WHOLE))
        clear: Array = -nearest
        return clear

    def paint_sternum(self, canvas: Canvas) -> None:
        """Paint the breastbone, over the body wall."""
        if self.sternum.crosses(canvas.z):
            window = self.sternum.window(canvas.plane)
            distance = self.sternum.distance(canvas.plane, canvas.z, window)
            canvas.paint(distance, 330.0, window)
            canvas.paint(distance - 1.8, self.torso.bone_hu - 40, window)

    def _tube(
        self, canvas: Canvas, branch: Branch, hu: float, lumps: float = 0.0, grow_mm: float = 0.0
    ) -> None:
        if not branch.crosses(canvas.z):
            return
        window = branch.window(canvas.plane)
        distance = branch.distance(canvas.plane, canvas.z, window) + grow_mm
        if lumps:
            distance = distance + self.texture.at(canvas.plane, canvas.z, window) * (lumps / 6)
        canvas.replace(distance, hu, window)

    def _paint_bowel(self, canvas: Canvas, below: Array) -> None:
        plane, z = canvas.plane, canvas.z
        for pieces, content in self.loops:
            near = [piece for piece in pieces if piece.crosses(z)]
            for inset, hu in ((0.0, self.wall_hu), (2.6, content)):
                for piece in near:
                    window = piece.window(plane)
                    distance = piece.distance(plane, z, window) - inset
                    fold = 0.25 * self.texture.at(plane, z, window)
                    canvas.paint(np.minimum(distance + fold, below[window] - inset), hu, window)
        for pieces in self.colon:
            near = [piece for piece in pieces if piece.crosses(z)]
            haustra = 2.2 * np.sin(z / 5.5)
            for inset in (0.0, 2.2):
                for piece in near:
                    window = piece.window(plane)
                    distance = piece.distance(plane, z, window) - inset + haustra
                    stool = np.clip(self.stool.at(plane, z, window) - 130, -700, 50)
                    inside = np.minimum(distance, below[window] - inset)
                    canvas.paint(inside, stool if inset else self.wall_hu - 15, window)

    def _paint_stomach(self, canvas: Canvas, below: Array) -> None:
        plane, z = canvas.plane, canvas.z
        level = self.stomach.centre[1] + self.stomach_air * float(self.stomach.half[1])
        parts = [part for part in (self.antrum, self.stomach) if part.crosses(z)]
        for inset in (0.0, self.stomach_wall):
            for part in parts:
                window = part.window(plane)
                distance = part.distance(plane, z, window) - inset
                distance += 1.3 * self.bumps.at(plane, z, window)
                fold = self.texture.at(plane, z, window) * (0.5 if inset else 0.2)
                distance = np.minimum(distance + fold, below[window] - inset)
                canvas.paint(distance, self.stomach_hu if inset else self.wall_hu, window)
                if inset:
                    air = np.minimum(distance, level - plane.y[window[0]])
                    canvas.paint(air, AIR_HU, window)

    def _paint_heart(self, canvas: Canvas, within: Array, chest_mm: Array) -> None:
        plane, z = canvas.plane, canvas.z
        if not self.heart.crosses(z, 8):
            return
        window = self.heart.window(plane, 10)
        limit = np.minimum(within[window] - 1, chest_mm[window] * 0.6 + 3)
        fat = self.heart.distance(plane, z, window, 4)
        canvas.replace(np.minimum(fat, limit), FAT_HU + 15, window)
        muscle = np.minimum(self.heart.distance(plane, z, window), limit - 3)
        canvas.replace(muscle, 95.0, window)
        full = np.full_like(canvas.hu, -9)
        full[window] = muscle
        for ventricle in self.ventricles:
            if ventricle.crosses(z):
                part = ventricle.window(plane)
                distance = np.minimum(ventricle.distance(plane, z, part), full[part] - 4)
                canvas.replace(distance, self.blood_hu * 0.95, part)
