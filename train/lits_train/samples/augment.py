"""Joint augmentation of slices, neighbours and labels, in Hounsfield units, on the batch's device.

Nothing is flipped left to right or front to back: the liver lies on the right, and a network that
learnt otherwise would find it in the spleen. Only the order of the slices may be reversed.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from lits_runtime.labels import LIVER
from lits_train.samples.dataset import Sample
from lits_train.samples.lesion_windows import Slabs
from lits_train.samples.local_mean import local_mean
from lits_train.samples.random_numbers import RandomNumbers
from lits_train.samples.synthetic_lesions import add_lesions
from lits_train.samples.warp import warp, warps
from lits_train.settings.recipe import Recipe

_NEIGHBOUR_MM = (0.7, 6.0)
"""Distances of neighbouring slices in LiTS; their logarithm is uniform here."""
_NEAREST = 0.3
"""Distance in slices below which neighbours would show nothing new."""
_LOW_HU, _STEP_HU, _KNOTS = -160.0, 55.0, 9
"""Knots of the tone curve of soft tissue: the first, their distance, and how many."""
_FAT_HU = (5.0, 90.0)
"""What fat takes from the liver's HU."""
_VESSELS_HU = 30.0
"""What is brighter than the liver's mean by this much is a vessel."""


def augment(batch: Sample, recipe: Recipe, seeds: Sequence[int]) -> Sample:
    """An augmented copy of a batch.

    Args:
        batch: n samples, on any device.
        recipe: its augmentation settings.
        seeds: one per sample; the same seed gives the same sample.
    """
    rng = RandomNumbers(seeds, batch["hu"].device)
    hu, labels, spacing_mm = _neighbours(batch, recipe, rng)
    shares = batch["shares"].clone()
    if warps(recipe):  # first: the rest then works on crops, and noise is not blurred
        alone = ~batch["adjacent"]
        hu, labels, shares, spacing_mm = warp(hu, labels, shares, spacing_mm, alone, recipe, rng)
    if recipe.fatty_livers and (fatty := rng.chosen(recipe.fatty_livers)):
        index = rng.index(fatty)
        hu[index] = _fat(hu[index], labels[index], rng.of(fatty))
    if recipe.synthetic_lesions and (chosen := rng.chosen(recipe.synthetic_lesions)):
        index = rng.index(chosen)
        slabs = Slabs(hu[index], labels[index], shares[index])
        add_lesions(slabs, spacing_mm[index], rng.of(chosen))
        hu[index], labels[index], shares[index] = slabs.hu, slabs.labels, slabs.shares
    if "flip_slices" in recipe.tta and (reversed_ := rng.chosen(0.5)):
        index = rng.index(reversed_)
        hu[index], labels[index] = hu[index].flip(1), labels[index].flip(1)
    if recipe.intensity_augmentation:
        _intensity(hu, labels, recipe.intensity_augmentation, rng)
    middle = batch["range_hu"].shape[1] // 2
    around = slice(middle - recipe.context_slices, middle + recipe.context_slices + 1)
    changed = {"hu": hu, "labels": labels, "shares": shares, "spacing_mm": spacing_mm}
    return {**batch, **changed, "range_hu": batch["range_hu"][:, around]}  # type: ignore[typeddict-item]


def _neighbours(batch: Sample, recipe: Recipe, rng: RandomNumbers) -> tuple[Tensor, Tensor, Tensor]:
    """Context slices at a random distance for each sample: `hu`, `labels`, `spacing_mm`.

    Beyond the adjacent slice it is one of those that were read; nearer, a blend of the adjacent
    slice and the sample's own. Half of the samples keep the adjacent slices.
    """
    hu, labels, spacing_mm = (batch[key].clone() for key in ("hu", "labels", "spacing_mm"))
    reach, middle = recipe.neighbour_reach, hu.shape[1] // 2
    if reach == 1 or not recipe.context_slices:
        return hu, labels, spacing_mm
    low, high = (math.log(limit) for limit in _NEIGHBOUR_MM)
    wanted_mm = torch.exp(rng.uniform(low, high))
    steps = torch.where(rng.uniform(0, 1) < 0.5, 1.0, wanted_mm / spacing_mm[:, 0])
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


def _fat(hu: Tensor, labels: Tensor, rng: RandomNumbers) -> Tensor:
    """Steatosis: a liver as dark as lesions are in others, down to water and below its vessels.

    Unenhanced livers with 0.5, 25 and 40 % of fat have 65, 23 and -3 HU (Starekova et al.,
    Radiology 2021). Vessels hold none and stay; lesions keep most of their contrast.
    """
    drop_hu = rng.uniform(*_FAT_HU)[:, None, None, None]
    of_lesions = rng.uniform(0.7, 1.1)[:, None, None, None]
    inside = local_mean((labels > 0).float(), 3)
    liver = labels == LIVER
    mean_hu = (hu * liver).sum((1, 2, 3)) / liver.sum((1, 2, 3)).clamp(min=1)
    brighter = local_mean(hu, 3) - mean_hu[:, None, None, None]
    parenchyma = (1 - brighter / _VESSELS_HU).clamp(0, 1)
    return hu - drop_hu * inside * torch.where(liver, parenchyma, of_lesions)


def _intensity(hu: Tensor, labels: Tensor, probability: float, rng: RandomNumbers) -> None:
    """Change hu (n, slices, h, w) in place, in each way with the given probability."""
    for change in (_thickness, _contrast_phase, _level, _blur, _noise):
        if chosen := rng.chosen(probability):
            index = rng.index(chosen)
            hu[index] = change(hu[index], labels[index], rng.of(chosen))


def _thickness(hu: Tensor, labels: Tensor, rng: RandomNumbers) -> Tensor:
    """Thicker slices, which blend into their neighbours; or, for one in four, no neighbours."""
    if hu.shape[1] < 3:
        return hu
    share = rng.uniform(0, 1 / 3)[:, None, None]
    alone = (rng.uniform(0, 1) < 0.25)[:, None, None]
    before, middle, after = hu.unbind(1)
    centre = (1 - 2 * share) * middle + share * (before + after)
    before, after = (
        torch.where(alone, middle, (1 - share) * slice_hu + share * middle)
        for slice_hu in (before, after)
    )
    return torch.stack([before, torch.where(alone, middle, centre), after], 1)


def _contrast_phase(hu: Tensor, labels: Tensor, rng: RandomNumbers) -> Tensor:
    """Another contrast phase: a monotone tone curve for soft tissue, a shift for the liver.

    The curve is random, as in Zhou et al., Models Genesis, MICCAI 2019.
    """
    rises = _STEP_HU * rng.uniform(0.55, 1.6, _KNOTS - 1)
    curve = torch.cat([torch.zeros_like(rises[:, :1]), rises.cumsum(1)], 1)
    # 60 HU, about that of a liver, is kept.
    curve = curve - curve[:, 4:5] + _LOW_HU + 4 * _STEP_HU
    position = ((hu - _LOW_HU) / _STEP_HU).clamp(0, _KNOTS - 1.001)
    below = position.long()
    flat = below.flatten(1)
    low, high = (curve.gather(1, flat + i).view(hu.shape) for i in (0, 1))
    toned = low + (high - low) * (position - below)
    toned = toned + (hu - hu.clamp(_LOW_HU, _LOW_HU + (_KNOTS - 1) * _STEP_HU))
    liver = local_mean((labels > 0).float(), 5)
    return toned + liver * rng.uniform(-25, 25)[:, None, None, None]


def _level(hu: Tensor, labels: Tensor, rng: RandomNumbers) -> Tensor:
    """Another scanner's calibration: a gain around 50 HU, and an offset."""
    gain, offset = rng.uniform(0.8, 1.25), rng.uniform(-20, 20)
    return (hu - 50) * gain[:, None, None, None] + 50 + offset[:, None, None, None]


def _blur(hu: Tensor, labels: Tensor, rng: RandomNumbers) -> Tensor:
    """A softer reconstruction kernel."""
    reach = torch.arange(-3, 4, device=hu.device)
    sigma = rng.uniform(0.4, 1.3)[:, None]
    kernel = torch.exp(-(reach**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(hu.shape[1], 0)[:, None]
    flat = functional.pad(hu.flatten(0, 1)[None], (3, 3, 3, 3), mode="replicate")
    blurred = functional.conv2d(flat, kernel[:, :, None, :], groups=kernel.shape[0])
    blurred = functional.conv2d(blurred, kernel[:, :, :, None], groups=kernel.shape[0])
    return blurred.view(hu.shape)


def _noise(hu: Tensor, labels: Tensor, rng: RandomNumbers) -> Tensor:
    """Quantum noise of a lower dose, with the texture that reconstruction gives it."""
    noise = rng.normal(*hu.shape[1:])
    grain = rng.uniform(0, 1)[:, None, None, None]
    coarse = functional.avg_pool2d(noise, 3, stride=1, padding=1) * 3  # the same standard deviation
    mixed = (1 - grain) * noise + grain * coarse
    return hu + mixed * rng.uniform(2, 20)[:, None, None, None]
