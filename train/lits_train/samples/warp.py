"""Slices, labels and shares rotated, zoomed, shifted, deformed and cropped in one resampling."""

import torch
from torch import Tensor
from torch.nn import functional

from lits_train.samples.random_numbers import RandomNumbers
from lits_train.settings.recipe import Recipe

AIR_HU = -1024.0
"""Fills what lies beyond the slice."""
_MADE_UP_ZOOM, _MADE_UP_ELASTIC = 0.02, 0.006
"""How much a made-up neighbour differs from its slice: about as much as one 2 mm away."""
_AT_LESION = 0.7
"""Probability that a slice with a lesion is cropped around it, and not around the liver."""
_OFF_CENTRE = 0.3
"""Maximum distance of the target of a crop from its centre, as a fraction of the crop."""
_INSIDE = 0.84
"""Fraction of a crop's side that stays within the slice."""


def warps(recipe: Recipe) -> bool:
    """Whether the recipe asks for any warp."""
    return any((recipe.rotation_degrees, recipe.zoom, recipe.shift, recipe.elastic, recipe.crop))


def warp(
    hu: Tensor,
    labels: Tensor,
    shares: Tensor,
    spacing_mm: Tensor,
    alone: Tensor,
    recipe: Recipe,
    rng: RandomNumbers,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Warp slices with their neighbours, labels and shares.

    Args:
        hu: float32 (n, slices, size, size).
        labels: uint8, the same shape.
        shares: uint8 (n, 2, size, size).
        spacing_mm: (n, 3), of slices, rows and columns.
        alone: bool (n,), samples without neighbours.
        recipe: its augmentation settings.
        rng: of the n samples.

    Returns:
        The same four, with height and width `recipe.crop` if it is set.
    """
    grid, zoom = _grid(shares, recipe, rng)
    both = torch.cat([hu - AIR_HU, shares.to(hu.dtype)], 1)
    warped, fractions = functional.grid_sample(both, grid, align_corners=False).split(
        [hu.shape[1], shares.shape[1]], dim=1
    )
    if recipe.made_up_neighbours and hu.shape[1] > 1:
        _make_up_neighbours(warped, hu - AIR_HU, grid, alone, recipe.made_up_neighbours, rng)
    moved = functional.grid_sample(labels.float(), grid, mode="nearest", align_corners=False)
    return (
        warped + AIR_HU,
        moved.to(torch.uint8),
        fractions.round().to(torch.uint8),
        spacing_mm / zoom,
    )


def _grid(shares: Tensor, recipe: Recipe, rng: RandomNumbers) -> tuple[Tensor, Tensor]:
    """Where to sample, (n, side, side, 2), and the zoom of slices, rows and columns, (n, 3)."""
    n, _, size, _ = shares.shape
    side = recipe.crop or size
    angle = rng.uniform(-1, 1) * recipe.rotation_degrees * torch.pi / 180
    zoom = (1 + recipe.zoom) ** rng.uniform(-1, 1)
    aspect = (1 + recipe.zoom / 2) ** rng.uniform(-0.5, 0.5)
    to_columns, to_rows = zoom * aspect, zoom / aspect
    columns = torch.stack([angle.cos(), -angle.sin()], 1) / to_columns[:, None]
    rows = torch.stack([angle.sin(), angle.cos()], 1) / to_rows[:, None]
    rotated = torch.stack([columns, rows], 1) * (side / size)
    # A slice is 2 wide in grid units.
    centres = _centres(shares, side / size, rng) if recipe.crop else 0
    shift = rng.uniform(-2, 2, 2) * (0 if recipe.crop else recipe.shift) + centres
    theta = torch.cat([rotated, shift[:, :, None]], 2)
    grid = functional.affine_grid(theta, [n, 1, side, side], align_corners=False)
    if recipe.elastic:
        grid = grid + _field(recipe.elastic, side, rng)
    return grid, torch.stack([torch.ones_like(zoom), to_rows, to_columns], 1)


def _make_up_neighbours(
    warped: Tensor, hu: Tensor, grid: Tensor, alone: Tensor, probability: float, rng: RandomNumbers
) -> None:
    """Give samples without neighbours some, in place: each a copy with a small warp of its own.

    Identical neighbours would give away which kind of data a slice comes from.
    """
    middle, side = hu.shape[1] // 2, grid.shape[1]
    made = alone & (rng.uniform(0, 1) < probability)
    for number in range(hu.shape[1]):
        if number == middle:
            continue
        zoom = 1 + rng.uniform(-1, 1)[:, None, None, None] * _MADE_UP_ZOOM
        shift = rng.uniform(-2, 2, 2)[:, None, None] / hu.shape[-1]
        around = grid.mean(dim=(1, 2), keepdim=True)
        moved = (grid - around) * zoom + around + shift + _field(_MADE_UP_ELASTIC, side, rng)
        copies = functional.grid_sample(hu[:, middle, None], moved, align_corners=False)[:, 0]
        warped[:, number] = torch.where(made[:, None, None], copies, warped[:, number])


def _field(strength: float, side: int, rng: RandomNumbers) -> Tensor:
    """A smooth displacement (n, side, side, 2) in grid units."""
    coarse = rng.normal(2, 7, 7) * 2 * strength
    field = functional.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False)
    return field.permute(0, 2, 3, 1)


def _centres(shares: Tensor, part: float, rng: RandomNumbers) -> Tensor:
    """Centres of crops, x and y (n, 2) in grid units, near a lesion or the liver if there is one.

    Args:
        shares: uint8 (n, 2, size, size).
        part: of a slice's side that a crop covers.
        rng: of the n samples.
    """
    size = shares.shape[-1]
    liver, lesion = (shares > 127).unbind(1)
    at_lesion = (rng.uniform(0, 1) < _AT_LESION) & lesion.any(2).any(1)
    wanted = torch.where(at_lesion[:, None, None], lesion, liver)
    order = torch.where(wanted, rng.uniform(0, 1, size, size), -1.0)
    first, place = order.flatten(1).max(1)
    pixel = torch.stack([place % size, place // size], 1)
    centres = torch.where(
        (first >= 0)[:, None], (2 * pixel + 1) / size - 1, rng.uniform(-0.5, 0.5, 2)
    )
    centres = centres + rng.uniform(-2, 2, 2) * _OFF_CENTRE * part
    return centres.clamp(_INSIDE * part - 1, 1 - _INSIDE * part)
