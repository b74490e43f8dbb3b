"""Synthetic lesions painted into real livers, because public data have few.

After Hu et al., Label-Free Liver Tumor Segmentation, CVPR 2023: deformed ellipsoids with soft edges
and a texture of their own, away from vessels, some with a capsule or a necrotic core, displacing
the tissue around them. In a third of the slices they lie at the surface of the liver; a few replace
most of it. Theirs are made on whole volumes beforehand; these on every slab as it is loaded, so
that no two are the same.

The host chooses the properties of all lesions, from statistics of all livers in a batch that it
reads from the device at once: the only wait for it. The lesions are then painted together, first
the largest one of each sample, in windows that the largest among these fits into.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lits_runtime.labels import LESION, LIVER
from lits_train.samples.lesion_properties import MOST_LESIONS, Liver, lesions_of
from lits_train.samples.lesion_windows import Slabs, Windows
from lits_train.samples.local_mean import local_mean
from lits_train.samples.random_numbers import RandomNumbers

_SMALLEST_LIVER = 200
"""Pixels of liver in the slice below which none are painted."""
_FROM_VESSELS_HU = 18.0
"""Maximum difference of a lesion's centre from the liver's median, to avoid vessels."""
_AT_CAPSULE = 1 / 3
"""Probability that a slice's lesions lie at the surface of the liver."""


@dataclass(frozen=True)
class _Site:
    """Where k lesions lie in their windows; tensors spread over (k, slices, h, w)."""

    distance: Tensor
    """0 at the centre, 1 on the surface."""
    box: tuple[Tensor, Tensor, Tensor]
    """Slices, rows and columns; -1 to 1 over the rows and columns that a lesion may change."""
    radius_pixels: Tensor

    @property
    def changed(self) -> Tensor:
        """Where a lesion may change something, however large the window is for others' sake."""
        _, rows, columns = self.box
        return (rows.abs() <= 1) & (columns.abs() <= 1)


def add_lesions(slabs: Slabs, spacing_mm: Tensor, rng: RandomNumbers) -> list[int]:
    """Paint lesions into the livers of samples, in place.

    Args:
        slabs: of n samples.
        spacing_mm: (n, 3), of slices, rows and columns.
        rng: of the n samples.

    Returns:
        How many were painted into each; none where the middle slice has too little liver.
    """
    if not rng.on_host:
        return []
    lesions = [
        lesions_of(liver, on_host) if liver else []
        for liver, on_host in zip(_livers(slabs, spacing_mm, rng), rng.on_host, strict=True)
    ]
    for number in range(max(map(len, lesions))):
        samples = [i for i, some in enumerate(lesions) if len(some) > number]
        chosen = [lesions[i][number] for i in samples]
        windows = Windows(samples, chosen, slabs, rng.of(samples))
        painted = _painted(slabs, spacing_mm[windows.samples], windows)
        windows.put(slabs.hu, painted.hu)
        windows.put(slabs.labels, painted.labels)
        windows.put(slabs.shares, painted.shares)
    return [len(some) for some in lesions]


def _livers(slabs: Slabs, spacing_mm: Tensor, rng: RandomNumbers) -> list[Liver | None]:
    """The liver of each sample, None where there is too little; the only wait for the device."""
    middle = slabs.hu.shape[1] // 2
    hu, liver = slabs.hu[:, middle], slabs.labels[:, middle] == LIVER
    inside = local_mean(liver[:, None].float(), 5)[:, 0]
    smooth = local_mean((hu * liver)[:, None], 5)[:, 0]
    smooth = smooth / inside.clamp(min=1 / 25)  # of the liver alone, also at the capsule
    median = torch.where(liver, hu, torch.nan).flatten(1).nanmedian(1).values
    count = liver.sum((1, 2))
    grain = torch.where(liver, hu - smooth, 0.0)
    mean = grain.sum((1, 2)) / count.clamp(min=1)
    variance = (grain**2).sum((1, 2)) / count.clamp(min=1) - mean**2
    parenchyma = liver & ((smooth - median[:, None, None]).abs() < _FROM_VESSELS_HU)
    capsule = local_mean(liver[:, None].float(), 9)[:, 0] < 0.85
    at_capsule = (rng.uniform(0, 1) < _AT_CAPSULE)[:, None, None]
    order = rng.uniform(0, 1, *hu.shape[1:]) + (capsule & at_capsule)
    ranks, places = torch.where(parenchyma, order, -1.0).flatten(1).topk(MOST_LESIONS, dim=1)
    facts = torch.cat(
        [
            torch.stack([count, median, variance.clamp(min=0).sqrt()], 1).double(),
            spacing_mm.double(),
            torch.where(ranks >= 0, places, -1).double(),
        ],
        dim=1,
    )
    return [_liver(row, hu.shape[2]) for row in facts.tolist()]


def _liver(facts: Sequence[float], width: int) -> Liver | None:
    count, median_hu, grain_hu, z, y, x, *places = facts
    if count < _SMALLEST_LIVER:
        return None
    pixels = [divmod(int(place), width) for place in places if place >= 0]
    return Liver(median_hu, 1.1 * grain_hu, count * y * x, (z, y, x), pixels)


def _painted(slabs: Slabs, spacing_mm: Tensor, windows: Windows) -> Slabs:
    """Windows of slabs with a lesion in each, labelled inside the liver."""
    site = _site(slabs.hu.shape[1], spacing_mm, windows)
    part = Slabs(*(windows.cut(array) for array in (slabs.hu, slabs.labels, slabs.shares)))
    if windows.having("displacement"):
        part = _displaced(part, site, windows)
    distance, labels = site.distance, part.labels
    inside = torch.sigmoid((1 - distance) / windows.of("softness"))
    values = _values(site, windows, windows.noise(slabs))
    if windows.having("rim_hu"):
        rim_hu = windows.of("rim_hu")
        rim = torch.exp(-(((distance - 1) / 0.12) ** 2))
        values = values + rim_hu * rim
        inside = torch.where(rim_hu > 0, torch.maximum(inside, 0.6 * rim), inside)
    is_liver = (labels == LIVER) | (labels == LESION)
    weight = 0.85 * inside * site.changed * local_mean(is_liver.float(), 3)
    middle, (liver, lesion) = labels.shape[1] // 2, part.shares.unbind(1)
    edge = (1 - distance[:, middle]) * site.radius_pixels[:, 0] + 0.5
    covered = (edge.clamp(0, 1) * liver).round().to(torch.uint8)
    return Slabs(
        hu=part.hu + weight * (values - part.hu),
        labels=torch.where((distance < 1) & is_liver, LESION, labels).to(torch.uint8),
        shares=torch.stack([liver, torch.maximum(lesion, covered)], 1),
    )


def _site(slices: int, spacing_mm: Tensor, windows: Windows) -> _Site:
    """Deformed ellipsoids, which the middle slice cuts anywhere, not always at their widest."""
    of, (y, x) = windows.of, windows.offsets
    z_mm, y_mm, x_mm = (spacing[:, None, None, None] for spacing in spacing_mm.unbind(1))
    z = (torch.arange(slices, device=y.device) - slices // 2)[None, :, None, None]
    above = (z * z_mm + of("above_mm")) * of("stretch_slices")
    cos, sin = of("angle").cos(), of("angle").sin()
    along = (x * x_mm * cos + y * y_mm * sin) * of("stretch_along")
    across = (y * y_mm * cos - x * x_mm * sin) * of("stretch_across")
    distance = (along**2 + across**2 + above**2).sqrt() / of("radius_mm")
    box = (2 * z / (3 * slices - 1), y / of("rows"), x / of("columns"))
    lobes = _smooth_noise(box, 5, windows.rng)
    distance = distance * (1 + of("lobes") * lobes).clamp(min=0.4)
    return _Site(distance, box, of("radius_mm") / y_mm)


def _displaced(part: Slabs, site: _Site, windows: Windows) -> Slabs:
    """Mass effect: the tissue around the lesion is pushed outwards, most at its surface."""
    strength = windows.of("displacement")
    pull = -strength * torch.exp(-(site.distance - 1).clamp(min=0) / 0.4)
    y, x = windows.offsets
    grid = torch.stack([_moved(x * pull, 3), _moved(y * pull, 2)], -1)
    middle = grid.shape[1] // 2
    moved = (
        _sampled(part.hu, grid, "bilinear"),
        _sampled(part.labels, grid, "nearest"),
        _sampled(part.shares, grid[:, [middle, middle]], "bilinear"),
    )
    there = (strength > 0) & site.changed
    own = (part.hu, part.labels, part.shares)
    return Slabs(*(torch.where(there, new, old) for new, old in zip(moved, own, strict=True)))


def _moved(by: Tensor, axis: int) -> Tensor:
    """Where each pixel of (k, s, h, w) comes from along an axis, -1 to 1 from first to last."""
    side = by.shape[axis]
    own = torch.arange(side, device=by.device)
    own = own[:, None] if axis == 2 else own
    return (own + by).clamp(0, side - 1) * 2 / max(side - 1, 1) - 1


def _sampled(array: Tensor, grid: Tensor, mode: str) -> Tensor:
    """An array (k, s, h, w) at the places of a grid (k, s, h, w, 2), slice by slice."""
    sampled = functional.grid_sample(
        array.flatten(0, 1)[:, None].float(), grid.flatten(0, 1), mode=mode, align_corners=True
    )
    whole = sampled if array.is_floating_point() else sampled.round()
    return whole.view(array.shape).to(array.dtype)


def _values(site: _Site, windows: Windows, fine: Tensor) -> Tensor:
    """HU of the lesions' tissue (k, s, h, w), with the given noise as its texture."""
    fine = 0.5 * fine + 0.5 * functional.avg_pool2d(fine, 3, stride=1, padding=1) * 3
    values = windows.of("level_hu") + fine * windows.of("texture_hu")
    values = values + _smooth_noise(site.box, 6, windows.rng) * windows.of("mottle_hu")
    if windows.having("necrosis_hu"):
        core = torch.sigmoid((0.55 - site.distance) / 0.08)
        values = values - windows.of("necrosis_hu") * core
    if calcified := windows.having("calcium_hu"):
        index = windows.rng.index(calcified)
        box = [part.expand_as(values)[index] for part in site.box]
        speckles = (_smooth_noise(box, 9, windows.rng.of(calcified)) - 0.6).clamp(min=0)
        values[index] += windows.of("calcium_hu")[index] * speckles
    return values


def _smooth_noise(box: Sequence[Tensor], coarse: int, rng: RandomNumbers) -> Tensor:
    """Noise (k, s, h, w) with a grain of 1 / `coarse` of the box, continuous over slices."""
    knots = rng.normal(3, coarse, coarse)
    slices, rows, columns = torch.broadcast_tensors(*box)
    grid = torch.stack([columns, rows, slices], -1)
    smooth = functional.grid_sample(knots[:, None], grid, padding_mode="border", align_corners=True)
    return smooth[:, 0]
