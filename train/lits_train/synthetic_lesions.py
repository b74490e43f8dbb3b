"""Lesions painted into real livers, because so few are public.

After Hu et al., Label-Free Liver Tumor Segmentation, CVPR 2023: ellipsoids, deformed, with soft
edges and a texture of their own, placed away from vessels, some with a capsule or a necrotic core,
pressing the tissue around them aside. Theirs are made on volumes beforehand; these on each slab as
it is drawn, so that no two are the same.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from lits_train.recipe import LABEL_VALUES

LIVER, LESION = LABEL_VALUES["liver"], LABEL_VALUES["lesion"]
RADIUS_MM = (2.5, 45.0)
"""Least and greatest; in between the logarithm is uniform."""
MOST_LESIONS = 6
_SMALLEST_LIVER = 200
"""Pixels of liver in the slice, below which there is no room."""
_FROM_VESSELS_HU = 18.0
"""A lesion's centre is no further than this from the liver's median."""


@dataclass(frozen=True)
class _Site:
    """Where a lesion goes: the box around it, and the distance from its centre there."""

    rows: slice
    columns: slice
    distance: Tensor
    """(slices, h, w): 0 at the centre, 1 on the surface."""
    offset: tuple[Tensor, Tensor]
    """Rows (h, 1) and columns (1, w) from the centre, in pixels."""


def add_lesions(
    hu: Tensor, labels: Tensor, spacing_mm: tuple[float, float, float], generator: Generator
) -> int:
    """Paint lesions into the liver of one sample, in place.

    Args:
        hu: float32 (slices, height, width).
        labels: uint8, the same shape; lesions are painted where it is liver.
        spacing_mm: of slices, rows and columns.
        generator: of the sample, on its device.

    Returns:
        How many were painted; 0 where the middle slice has too little liver.
    """
    middle = len(hu) // 2
    liver = labels[middle] == LIVER
    if int(liver.sum()) < _SMALLEST_LIVER:
        return 0
    values = hu[middle][liver]
    median = float(values.median())
    smooth = functional.avg_pool2d(hu[None, middle], 5, stride=1, padding=2)[0]
    places = (liver & ((smooth - median).abs() < _FROM_VESSELS_HU)).nonzero()
    if not len(places):
        return 0
    area_mm2 = int(liver.sum()) * spacing_mm[1] * spacing_mm[2]
    texture_hu = float((values - smooth[liver]).std()) * 1.1
    count = 1 + int((_uniform(generator, 0, 1) ** 2) * MOST_LESIONS)
    for _ in range(count):
        at = places[int(_uniform(generator, 0, len(places) - 1e-3))].tolist()
        largest = min(RADIUS_MM[1], 0.5 * (area_mm2 / torch.pi) ** 0.5)
        low, high = RADIUS_MM[0], max(largest, RADIUS_MM[0] * 1.5)
        radius_mm = low * (high / low) ** _uniform(generator, 0, 1)
        site = _site(hu, at, radius_mm, spacing_mm, generator)
        if radius_mm > 6 and _uniform(generator, 0, 1) < 0.5:
            _press(hu, labels, site, _uniform(generator, 0.05, 0.25))
        _paint(hu, labels, site, median, texture_hu, generator)
    return count


def _site(
    hu: Tensor,
    at: list[int],
    radius_mm: float,
    spacing_mm: tuple[float, float, float],
    generator: Generator,
) -> _Site:
    """A deformed ellipsoid that the middle slice cuts somewhere, not always at its widest."""
    reach = [int(2.2 * radius_mm / spacing) + 2 for spacing in spacing_mm[1:]]
    rows, columns = (
        slice(max(centre - r, 0), min(centre + r + 1, size))
        for centre, r, size in zip(at, reach, hu.shape[1:], strict=True)
    )
    device = hu.device
    y = torch.arange(rows.start, rows.stop, device=device)[:, None] - at[0]
    x = torch.arange(columns.start, columns.stop, device=device)[None] - at[1]
    z = (torch.arange(len(hu), device=device) - len(hu) // 2) * spacing_mm[0]
    z_mm = z + _uniform(generator, -0.7, 0.7) * radius_mm
    y_mm, x_mm = y * spacing_mm[1], x * spacing_mm[2]
    angle = torch.tensor(_uniform(generator, 0, torch.pi))
    along = (x_mm * angle.cos() + y_mm * angle.sin()) * _uniform(generator, 0.8, 1.25)
    across = (y_mm * angle.cos() - x_mm * angle.sin()) * _uniform(generator, 0.8, 1.25)
    up_mm = z_mm[:, None, None] * _uniform(generator, 0.8, 1.25)
    distance = (along**2 + across**2 + up_mm**2).sqrt() / radius_mm
    lobes = _smooth_noise(distance.shape, 5, generator, device)
    distance = distance * (1 + _uniform(generator, 0.05, 0.22) * lobes).clamp(min=0.4)
    return _Site(rows, columns, distance, (y, x))


def _press(hu: Tensor, labels: Tensor, site: _Site, strength: float) -> None:
    """Mass effect: what surrounds the lesion is pushed outwards, most at its surface."""
    box = (slice(None), site.rows, site.columns)
    pull = 1 - strength * torch.exp(-(site.distance - 1).clamp(min=0) / 0.4)
    y, x = site.offset
    height, width = hu[box].shape[1:]
    rows = (y - y[0, 0] + y * (pull - 1)).clamp(0, height - 1) * 2 / max(height - 1, 1) - 1
    columns = (x - x[0, 0] + x * (pull - 1)).clamp(0, width - 1) * 2 / max(width - 1, 1) - 1
    grid = torch.stack([columns, rows], -1)
    hu[box] = functional.grid_sample(hu[box][:, None], grid, align_corners=True)[:, 0]
    moved = functional.grid_sample(
        labels[box][:, None].float(), grid, mode="nearest", align_corners=True
    )
    labels[box] = moved[:, 0].to(torch.uint8)


def _paint(
    hu: Tensor, labels: Tensor, site: _Site, liver_hu: float, texture_hu: float, rng: Generator
) -> None:
    """Blend the lesion's own values into the box and mark it where it is inside the liver."""
    box = (slice(None), site.rows, site.columns)
    distance, shape, device = site.distance, site.distance.shape, hu.device
    inside = torch.sigmoid((1 - distance) / _uniform(rng, 0.03, 0.14))
    bright = _uniform(rng, 0, 1) < 0.12  # hypervascular; most lesions are darker than the liver
    level_hu = liver_hu + (_uniform(rng, 12, 50) if bright else -_uniform(rng, 12, 90))
    fine = torch.randn(shape, generator=rng, device=device)
    fine = 0.5 * fine + 0.5 * functional.avg_pool2d(fine, 3, stride=1, padding=1) * 3
    blotches = _smooth_noise(shape, 6, rng, device) * _uniform(rng, 0, 10)
    values = level_hu + fine * texture_hu * _uniform(rng, 0.7, 1.1) + blotches
    if _uniform(rng, 0, 1) < 0.25:  # necrosis
        values = values - _uniform(rng, 8, 30) * torch.sigmoid((0.55 - distance) / 0.08)
    if _uniform(rng, 0, 1) < 0.12:  # calcification
        speckles = _smooth_noise(shape, 9, rng, device) - 0.6
        values = values + _uniform(rng, 50, 400) * speckles.clamp(min=0)
    if _uniform(rng, 0, 1) < 0.3:  # capsule
        rim = torch.exp(-(((distance - 1) / 0.12) ** 2))
        values = values + _uniform(rng, 8, 35) * rim
        inside = torch.maximum(inside, 0.6 * rim)
    liver = (labels[box] == LIVER) | (labels[box] == LESION)
    weight = 0.85 * inside * functional.avg_pool2d(liver.float(), 3, stride=1, padding=1)
    hu[box] = hu[box] + weight * (values - hu[box])
    labels[box] = torch.where((distance < 1) & liver, LESION, labels[box]).to(torch.uint8)


def _smooth_noise(
    shape: tuple[int, ...], coarse: int, generator: Generator, device: torch.device
) -> Tensor:
    """Noise (slices, h, w) whose grain is a `coarse`-th of the box; the slices hang together."""
    knots = torch.randn(1, 1, 3, coarse, coarse, generator=generator, device=device)
    smooth = functional.interpolate(
        knots, size=(3 * shape[0], *shape[1:]), mode="trilinear", align_corners=True
    )
    return smooth[0, 0, shape[0] : 2 * shape[0]]


def _uniform(generator: Generator, low: float, high: float) -> float:
    drawn = torch.rand((), generator=generator, device=generator.device)
    return low + (high - low) * float(drawn)
