"""Synthetic lesions painted into real livers, because public data have few.

After Hu et al., Label-Free Liver Tumor Segmentation, CVPR 2023: deformed ellipsoids with soft edges
and a texture of their own, away from vessels, some with a capsule or a necrotic core, displacing
the tissue around them. In a third of the slices they lie at the surface of the liver; a few replace
most of it. Theirs are made on whole volumes beforehand; these on every slab as it is loaded, so
that no two are the same.

The host chooses the properties of a lesion, from statistics of all livers in a batch that it reads
from the device at once: after that one synchronisation, painting is asynchronous.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from lits_runtime.labels import LESION, LIVER
from lits_train.samples.local_mean import local_mean

RADIUS_MM = (2.5, 45.0)
"""Minimum and maximum but for giants; the logarithm is uniform in between."""
MOST_LESIONS = 6
_LARGEST = 0.5
"""Maximum radius, in radii of a circle of the liver's area in the slice."""
_GIANTS, _GIANT = 0.08, (0.4, 0.9)
"""Probability that a lesion is a giant, and its radius in the same unit."""
_SMALLEST_LIVER = 200
"""Pixels of liver in the slice below which none are painted."""
_FROM_VESSELS_HU = 18.0
"""Maximum difference of a lesion's centre from the liver's median, to avoid vessels."""
_AT_CAPSULE = 1 / 3
"""Probability that a slice's lesions lie at the surface of the liver."""
_REACH, _REACH_DISPLACED = 1.6, 2.2
"""Of a lesion, and of the tissue that it displaces, in radii."""


@dataclass(frozen=True)
class Slab:
    """The arrays of one sample that lesions are painted into, in place."""

    hu: Tensor
    """float32 (slices, height, width)."""
    labels: Tensor
    """uint8, the same shape; lesions are painted into its liver."""
    shares: Tensor
    """uint8 (2, height, width): fractions of liver and lesion in the middle slice, in 255ths."""
    generator: Generator
    """The sample's, on its device."""
    rng: np.random.Generator
    """The sample's, on the host."""


@dataclass(frozen=True)
class _Liver:
    """The liver in the middle slice of a sample."""

    median_hu: float
    texture_hu: float
    """Standard deviation of the parenchyma's texture."""
    area_mm2: float
    spacing_mm: tuple[float, float, float]
    places: list[tuple[int, int]]
    """Row and column of random pixels away from vessels."""


@dataclass(frozen=True)
class _Site:
    """The place of a lesion: the box around it, and the distance from its centre in it."""

    rows: slice
    columns: slice
    distance: Tensor
    """(slices, h, w): 0 at the centre, 1 on the surface."""
    offset: tuple[Tensor, Tensor]
    """Rows (h, 1) and columns (1, w) from the centre, in pixels."""
    radius_pixels: float


def add_lesions(slabs: Sequence[Slab], spacing_mm: Tensor) -> int:
    """Paint lesions into the livers of samples.

    Args:
        slabs: of one shape.
        spacing_mm: (len(slabs), 3), of slices, rows and columns, on their device.

    Returns:
        How many were painted; none if the middle slice has too little liver.
    """
    if not slabs:
        return 0
    painted = 0
    for slab, liver in zip(slabs, _livers(slabs, spacing_mm), strict=True):
        if liver is None:
            continue
        count = 1 + int(slab.rng.random() ** 2 * MOST_LESIONS)
        for at in liver.places[:count]:
            _add_lesion(slab, liver, at)
            painted += 1
    return painted


def _livers(slabs: Sequence[Slab], spacing_mm: Tensor) -> list[_Liver | None]:
    """The livers of slabs, None where there is too little; the only wait for the device."""
    middle = len(slabs[0].hu) // 2
    hu = torch.stack([slab.hu[middle] for slab in slabs])
    liver = torch.stack([slab.labels[middle] for slab in slabs]) == LIVER
    inside = local_mean(liver[:, None].float(), 5)[:, 0]
    smooth = local_mean((hu * liver)[:, None], 5)[:, 0]
    smooth = smooth / inside.clamp(min=1 / 25)  # of the liver alone, also at the capsule
    median = torch.where(liver, hu, torch.nan).flatten(1).nanmedian(1).values
    count = liver.sum((1, 2))
    grain = torch.where(liver, hu - smooth, 0.0)
    mean = grain.sum((1, 2)) / count.clamp(min=1)
    variance = (grain**2).sum((1, 2)) / count.clamp(min=1) - mean**2
    parenchyma = liver & ((smooth - median[:, None, None]).abs() < _FROM_VESSELS_HU)
    at_capsule = torch.stack([_chance(slab, _AT_CAPSULE) for slab in slabs])
    order = torch.stack(
        [torch.rand(hu.shape[1:], generator=s.generator, device=hu.device) for s in slabs]
    )
    capsule = local_mean(liver[:, None].float(), 9)[:, 0] < 0.85
    order = order + capsule * at_capsule[:, None, None]
    ranks, places = torch.where(parenchyma, order, -1.0).flatten(1).topk(MOST_LESIONS, dim=1)
    facts = torch.cat(
        [
            torch.stack([count, median, variance.clamp(min=0).sqrt()], 1).double(),
            spacing_mm.double(),
            torch.where(ranks >= 0, places, -1).double(),
        ],
        dim=1,
    )
    width = hu.shape[2]
    return [_liver(row, width) for row in facts.tolist()]


def _chance(slab: Slab, probability: float) -> Tensor:
    """1 with this probability, else 0; float32 on the slab's device."""
    return (torch.rand((), generator=slab.generator, device=slab.hu.device) < probability).float()


def _liver(facts: Sequence[float], width: int) -> _Liver | None:
    count, median_hu, grain_hu, z, y, x, *places = facts
    if count < _SMALLEST_LIVER:
        return None
    pixels = [divmod(int(place), width) for place in places if place >= 0]
    return _Liver(median_hu, 1.1 * grain_hu, count * y * x, (z, y, x), pixels)


def _add_lesion(slab: Slab, liver: _Liver, at: tuple[int, int]) -> None:
    rng, radius_mm = slab.rng, _radius_mm(liver, slab.rng)
    displaces = radius_mm > 6 and rng.random() < 0.5
    site = _site(slab, at, radius_mm, liver.spacing_mm, _REACH_DISPLACED if displaces else _REACH)
    if displaces:
        _displace(slab, site, rng.uniform(0.05, 0.25))
    _paint(slab, site, liver)


def _radius_mm(liver: _Liver, rng: np.random.Generator) -> float:
    liver_mm = (liver.area_mm2 / np.pi) ** 0.5
    if rng.random() < _GIANTS:
        return float(liver_mm * rng.uniform(*_GIANT))
    low, largest = RADIUS_MM[0], min(RADIUS_MM[1], _LARGEST * liver_mm)
    return float(low * max(largest / low, 1.5) ** rng.random())


def _site(
    slab: Slab,
    at: tuple[int, int],
    radius_mm: float,
    spacing_mm: tuple[float, float, float],
    reach: float,
) -> _Site:
    """A deformed ellipsoid that the middle slice cuts anywhere, not always at its widest."""
    rng, hu = slab.rng, slab.hu
    reaches = [int(reach * radius_mm / spacing) + 2 for spacing in spacing_mm[1:]]
    rows, columns = (
        slice(max(centre - r, 0), min(centre + r + 1, size))
        for centre, r, size in zip(at, reaches, hu.shape[1:], strict=True)
    )
    y = torch.arange(rows.start, rows.stop, device=hu.device)[:, None] - at[0]
    x = torch.arange(columns.start, columns.stop, device=hu.device)[None] - at[1]
    z = (torch.arange(len(hu), device=hu.device) - len(hu) // 2) * spacing_mm[0]
    up_mm = (z + rng.uniform(-0.7, 0.7) * radius_mm)[:, None, None] * rng.uniform(0.8, 1.25)
    y_mm, x_mm = y * spacing_mm[1], x * spacing_mm[2]
    angle = rng.uniform(0, np.pi)
    along = (x_mm * np.cos(angle) + y_mm * np.sin(angle)) * rng.uniform(0.8, 1.25)
    across = (y_mm * np.cos(angle) - x_mm * np.sin(angle)) * rng.uniform(0.8, 1.25)
    distance = (along**2 + across**2 + up_mm**2).sqrt() / radius_mm
    lobes = _smooth_noise(distance.shape, 5, slab.generator)
    distance = distance * (1 + rng.uniform(0.05, 0.22) * lobes).clamp(min=0.4)
    return _Site(rows, columns, distance, (y, x), radius_mm / spacing_mm[1])


def _displace(slab: Slab, site: _Site, strength: float) -> None:
    """Mass effect: the tissue around the lesion is pushed outwards, most at its surface."""
    box = (slice(None), site.rows, site.columns)
    pull = 1 - strength * torch.exp(-(site.distance - 1).clamp(min=0) / 0.4)
    y, x = site.offset
    height, width = slab.hu[box].shape[1:]
    rows = (y - y[0, 0] + y * (pull - 1)).clamp(0, height - 1) * 2 / max(height - 1, 1) - 1
    columns = (x - x[0, 0] + x * (pull - 1)).clamp(0, width - 1) * 2 / max(width - 1, 1) - 1
    grid = torch.stack([columns, rows], -1)
    middle = len(slab.hu) // 2
    for array, mode, grids in (
        (slab.hu, "bilinear", grid),
        (slab.labels, "nearest", grid),
        (slab.shares, "bilinear", grid[middle].expand(2, -1, -1, -1)),
    ):
        moved = functional.grid_sample(
            array[box][:, None].float(), grids, mode=mode, align_corners=True
        )
        array[box] = moved[:, 0].to(array.dtype)


def _paint(slab: Slab, site: _Site, liver: _Liver) -> None:
    """Blend the lesion into the box, and label it inside the liver."""
    rng, distance = slab.rng, site.distance
    box = (slice(None), site.rows, site.columns)
    inside = torch.sigmoid((1 - distance) / rng.uniform(0.03, 0.14))
    values = _values(slab, distance, liver)
    if rng.random() < 0.3:  # capsule
        rim = torch.exp(-(((distance - 1) / 0.12) ** 2))
        values = values + rng.uniform(8, 35) * rim
        inside = torch.maximum(inside, 0.6 * rim)
    labels, hu = slab.labels[box], slab.hu[box]
    is_liver = (labels == LIVER) | (labels == LESION)
    weight = 0.85 * inside * local_mean(is_liver.float(), 3)
    slab.hu[box] = hu + weight * (values - hu)
    slab.labels[box] = torch.where((distance < 1) & is_liver, LESION, labels).to(torch.uint8)
    middle, parts = len(distance) // 2, slab.shares[box]
    covered = ((1 - distance[middle]) * site.radius_pixels + 0.5).clamp(0, 1) * parts[0]
    parts[1] = torch.maximum(parts[1], covered.round().to(torch.uint8))
    slab.shares[box] = parts


def _values(slab: Slab, distance: Tensor, liver: _Liver) -> Tensor:
    """HU of the lesion's tissue, in the distance's shape."""
    rng, shape = slab.rng, distance.shape
    kind = rng.random()
    if kind < 0.12:  # hypervascular; most lesions are darker than the liver
        level_hu = liver.median_hu + rng.uniform(12, 50)
    else:  # a third of those only just
        level_hu = liver.median_hu - (rng.uniform(12, 90) if kind < 0.7 else rng.uniform(8, 25))
    fine = torch.randn(shape, generator=slab.generator, device=distance.device)
    fine = 0.5 * fine + 0.5 * functional.avg_pool2d(fine, 3, stride=1, padding=1) * 3
    values = level_hu + fine * liver.texture_hu * rng.uniform(0.7, 1.1)
    values = values + _smooth_noise(shape, 6, slab.generator) * rng.uniform(0, 10)
    if rng.random() < 0.25:  # necrosis
        values = values - rng.uniform(8, 30) * torch.sigmoid((0.55 - distance) / 0.08)
    if rng.random() < 0.12:  # calcification
        speckles = _smooth_noise(shape, 9, slab.generator) - 0.6
        values = values + rng.uniform(50, 400) * speckles.clamp(min=0)
    return values


def _smooth_noise(shape: tuple[int, ...], coarse: int, generator: Generator) -> Tensor:
    """Noise (slices, h, w) with a grain of 1 / `coarse` of the box, continuous over slices."""
    knots = torch.randn(1, 1, 3, coarse, coarse, generator=generator, device=generator.device)
    smooth = functional.interpolate(
        knots, size=(3 * shape[0], *shape[1:]), mode="trilinear", align_corners=True
    )
    return smooth[0, 0, shape[0] : 2 * shape[0]]
