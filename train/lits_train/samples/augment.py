"""Joint augmentation of slices, neighbours and labels, in Hounsfield units, on the batch's device.

Nothing here flips left and right or front and back: the liver lies on the right, and a network that
learnt otherwise would find it in the spleen. The order of the slices may be turned round.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from lits_train.samples.dataset import Sample
from lits_train.samples.random_numbers import Draws
from lits_train.samples.synthetic_lesions import Slab, add_lesions
from lits_train.samples.warp import warp, warps
from lits_train.settings.recipe import Recipe

_NEIGHBOUR_MM = (0.7, 6.0)
"""Distances of neighbouring slices in LiTS; their logarithm is uniform here."""
_NEAREST = 0.3
"""Steps of slices, below which neighbours would say nothing new."""
_KNOTS_HU = torch.linspace(-160.0, 280.0, 9)
"""Where the tone curve of soft tissue bends."""


def augment(batch: Sample, recipe: Recipe, seeds: Sequence[int]) -> Sample:
    """The batch augmented as the recipe says; the given one stays as it is.

    Args:
        batch: n samples, on any device.
        recipe: how strongly.
        seeds: one for each sample; the same seed gives the same sample.
    """
    draws = Draws(seeds, batch["hu"].device)
    hu, labels, spacing_mm = _neighbours(batch, recipe, draws)
    shares = batch["shares"].clone()
    if warps(recipe):  # first: what follows then works on crops, and its noise is not blurred
        alone = ~batch["adjacent"]
        hu, labels, shares, spacing_mm = warp(hu, labels, shares, spacing_mm, alone, recipe, draws)
    if recipe.synthetic_lesions:
        chosen = draws.chosen(recipe.synthetic_lesions)
        add_lesions(
            [
                Slab(hu[i], labels[i], shares[i], draws.generators[i], draws.on_host[i])
                for i in chosen
            ],
            spacing_mm[chosen],
        )
    if "flip_slices" in recipe.tta and (turned := draws.chosen(0.5)):
        hu[turned], labels[turned] = hu[turned].flip(1), labels[turned].flip(1)
    if recipe.intensity_augmentation:
        _intensity(hu, labels, recipe.intensity_augmentation, draws)
    middle = batch["range_hu"].shape[1] // 2
    around = slice(middle - recipe.context_slices, middle + recipe.context_slices + 1)
    changed = {"hu": hu, "labels": labels, "shares": shares, "spacing_mm": spacing_mm}
    return {**batch, **changed, "range_hu": batch["range_hu"][:, around]}  # type: ignore[typeddict-item]


def _neighbours(batch: Sample, recipe: Recipe, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
    """Context slices at a distance of their own for each sample: `hu`, `labels`, `spacing_mm`.

    Beyond the next slice it is one of those that were read; before it, a blend of the next slice
    and the sample's own. Half of the samples keep the next slices.
    """
    hu, labels, spacing_mm = (batch[key].clone() for key in ("hu", "labels", "spacing_mm"))
    reach, middle = recipe.neighbour_reach, hu.shape[1] // 2
    if reach == 1 or not recipe.context_slices:
        return hu, labels, spacing_mm
    low, high = (math.log(limit) for limit in _NEIGHBOUR_MM)
    wanted_mm = torch.exp(draws.uniform(low, high))
    steps = torch.where(draws.uniform(0, 1) < 0.5, 1.0, wanted_mm / spacing_mm[:, 0])
    steps = steps.clamp(_NEAREST, reach)
    whole, nearer = steps.round().clamp(min=1).long(), steps.clamp(max=1)[:, None, None]
    samples = torch.arange(len(hu), device=hu.device)
    own, slices = hu[:, middle], range(-recipe.context_slices, recipe.context_slices + 1)
    chosen = [middle + offset * whole for offset in slices]
    near = [own + nearer * (hu[samples, number] - own) for number in chosen]
    spacing_mm[:, 0] *= torch.where(steps < 1, steps, whole)
    return (
        torch.stack(near, 1),
        torch.stack([labels[samples, number] for number in chosen], 1),
        spacing_mm,
    )


def _intensity(hu: Tensor, labels: Tensor, probability: float, draws: Draws) -> None:
    """Change hu (n, slices, h, w) in place, each kind with the given probability."""
    for kind in (_thickness, _contrast_phase, _level, _blur, _noise):
        if chosen := draws.chosen(probability):
            hu[chosen] = kind(hu[chosen], labels[chosen], draws.of(chosen))


def _thickness(hu: Tensor, labels: Tensor, draws: Draws) -> Tensor:
    """Thicker slices, which blend into their neighbours; or, one time in four, no neighbours."""
    if hu.shape[1] < 3:
        return hu
    share = draws.uniform(0, 1 / 3)[:, None, None]
    alone = (draws.uniform(0, 1) < 0.25)[:, None, None]
    before, middle, after = hu.unbind(1)
    centre = (1 - 2 * share) * middle + share * (before + after)
    before, after = (
        torch.where(alone, middle, (1 - share) * slice_hu + share * middle)
        for slice_hu in (before, after)
    )
    return torch.stack([before, torch.where(alone, middle, centre), after], 1)


def _contrast_phase(hu: Tensor, labels: Tensor, draws: Draws) -> Tensor:
    """Another uptake of contrast agent: a rising tone curve for soft tissue, a shift for the liver.

    The curve is a random monotone one, as in Zhou et al., Models Genesis, MICCAI 2019.
    """
    knots = _KNOTS_HU.to(hu.device)
    step = float(knots[1] - knots[0])
    rises = step * draws.uniform(0.55, 1.6, len(knots) - 1)
    curve = torch.cat([torch.zeros_like(rises[:, :1]), rises.cumsum(1)], 1)
    curve = curve - curve[:, 4:5] + knots[4]  # 60 HU, about a liver, stays where it is
    position = ((hu - knots[0]) / step).clamp(0, len(knots) - 1.001)
    below = position.long()
    flat = below.flatten(1)
    low, high = (curve.gather(1, flat + i).view(hu.shape) for i in (0, 1))
    toned = low + (high - low) * (position - below)
    toned = toned + (hu - hu.clamp(float(knots[0]), float(knots[-1])))
    liver = functional.avg_pool2d((labels > 0).float(), 5, stride=1, padding=2)
    return toned + liver * draws.uniform(-25, 25)[:, None, None, None]


def _level(hu: Tensor, labels: Tensor, draws: Draws) -> Tensor:
    """Another scanner's calibration: gain around 50 HU, and offset."""
    gain, offset = draws.uniform(0.8, 1.25), draws.uniform(-20, 20)
    return (hu - 50) * gain[:, None, None, None] + 50 + offset[:, None, None, None]


def _blur(hu: Tensor, labels: Tensor, draws: Draws) -> Tensor:
    """A softer reconstruction kernel."""
    reach = torch.arange(-3, 4, device=hu.device)
    sigma = draws.uniform(0.4, 1.3)[:, None]
    kernel = torch.exp(-(reach**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(hu.shape[1], 0)[:, None]
    flat = functional.pad(hu.flatten(0, 1)[None], (3, 3, 3, 3), mode="replicate")
    blurred = functional.conv2d(flat, kernel[:, :, None, :], groups=kernel.shape[0])
    blurred = functional.conv2d(blurred, kernel[:, :, :, None], groups=kernel.shape[0])
    return blurred.view(hu.shape)


def _noise(hu: Tensor, labels: Tensor, draws: Draws) -> Tensor:
    """Quantum noise of a lower dose, with the grain that reconstruction gives it."""
    noise = draws.normal(*hu.shape[1:])
    grain = draws.uniform(0, 1)[:, None, None, None]
    coarse = functional.avg_pool2d(noise, 3, stride=1, padding=1) * 3  # same deviation
    mixed = (1 - grain) * noise + grain * coarse
    return hu + mixed * draws.uniform(2, 20)[:, None, None, None]
