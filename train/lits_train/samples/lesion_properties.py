"""What a synthetic lesion is like: its place, size, shape and tissue, chosen by the host."""

from dataclasses import dataclass

import numpy as np

RADIUS_MM = (2.5, 45.0)
"""Minimum and maximum but for giants; the logarithm is uniform in between."""
MOST_LESIONS = 6
_LARGEST = 0.5
"""Maximum radius, in radii of a circle of the liver's area in the slice."""
_GIANTS, _GIANT = 0.08, (0.4, 0.9)
"""Probability that a lesion is a giant, and its radius in the same unit."""
_DISPLACES_MM = 6.0
"""Radius above which half of the lesions push away the tissue around them."""
_REACH, _REACH_DISPLACED = 1.6, 2.2
"""Of a lesion, and of the tissue that it displaces, in radii."""


@dataclass(frozen=True)
class Liver:
    """The liver in the middle slice of a sample."""

    median_hu: float
    texture_hu: float
    """Standard deviation of the parenchyma's texture."""
    area_mm2: float
    spacing_mm: tuple[float, float, float]
    places: list[tuple[int, int]]
    """Row and column of random pixels away from vessels."""


@dataclass(frozen=True)
class Lesion:
    """The properties of a lesion."""

    row: int
    column: int
    rows: int
    """Pixels from the centre to the end of what the lesion changes."""
    columns: int
    radius_mm: float
    above_mm: float
    """From the centre to the middle slice, which may cut a lesion anywhere."""
    angle: float
    stretch_along: float
    """Of distances in the direction of the angle."""
    stretch_across: float
    stretch_slices: float
    lobes: float
    """Irregularity of the surface, as a fraction of the radius."""
    displacement: float
    """Strength of the mass effect; 0 for none."""
    softness: float
    """Of the edge, as a fraction of the radius."""
    level_hu: float
    texture_hu: float
    mottle_hu: float
    """Of coarse unevenness."""
    rim_hu: float
    """What a capsule adds; 0 for none."""
    necrosis_hu: float
    """What a necrotic core takes away."""
    calcium_hu: float
    """What calcifications add."""


def lesions_of(liver: Liver, rng: np.random.Generator) -> list[Lesion]:
    """Up to `MOST_LESIONS` lesions for a liver, the largest first; none if it has no place."""
    count = 1 + int(rng.random() ** 2 * MOST_LESIONS)
    lesions = [_lesion(liver, at, rng) for at in liver.places[:count]]
    return sorted(lesions, key=lambda lesion: -lesion.radius_mm)


def _lesion(liver: Liver, at: tuple[int, int], rng: np.random.Generator) -> Lesion:
    radius_mm = _radius_mm(liver, rng)
    displaces = radius_mm > _DISPLACES_MM and rng.random() < 0.5
    reach_mm = radius_mm * (_REACH_DISPLACED if displaces else _REACH)
    _, row_mm, column_mm = liver.spacing_mm
    return Lesion(
        *at,
        rows=int(reach_mm / row_mm) + 2,
        columns=int(reach_mm / column_mm) + 2,
        radius_mm=radius_mm,
        above_mm=rng.uniform(-0.7, 0.7) * radius_mm,
        angle=rng.uniform(0, np.pi),
        stretch_along=rng.uniform(0.8, 1.25),
        stretch_across=rng.uniform(0.8, 1.25),
        stretch_slices=rng.uniform(0.8, 1.25),
        lobes=rng.uniform(0.05, 0.22),
        displacement=rng.uniform(0.05, 0.25) if displaces else 0.0,
        softness=rng.uniform(0.03, 0.14),
        level_hu=_level_hu(liver, rng),
        texture_hu=liver.texture_hu * rng.uniform(0.7, 1.1),
        mottle_hu=rng.uniform(0, 10),
        rim_hu=rng.uniform(8, 35) if rng.random() < 0.3 else 0.0,
        necrosis_hu=rng.uniform(8, 30) if rng.random() < 0.25 else 0.0,
        calcium_hu=rng.uniform(50, 400) if rng.random() < 0.12 else 0.0,
    )


def _radius_mm(liver: Liver, rng: np.random.Generator) -> float:
    liver_mm = (liver.area_mm2 / np.pi) ** 0.5
    if rng.random() < _GIANTS:
        return float(liver_mm * rng.uniform(*_GIANT))
    low, largest = RADIUS_MM[0], min(RADIUS_MM[1], _LARGEST * liver_mm)
    return float(low * max(largest / low, 1.5) ** rng.random())


def _level_hu(liver: Liver, rng: np.random.Generator) -> float:
    """Of the tissue: one in eight is hypervascular, and a third of the others only just darker."""
    kind = rng.random()
    if kind < 0.12:
        return liver.median_hu + rng.uniform(12, 50)
    return liver.median_hu - (rng.uniform(12, 90) if kind < 0.7 else rng.uniform(8, 25))
