"""The clean-up by its definition, on a whole volume in memory, with SciPy."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lits_runtime.model.metadata import Postprocessing


def cleaned_whole(
    labels: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    options: Postprocessing,
) -> NDArray[np.uint8]:
    """Canonical labels (slices, height, width), cleaned up."""
    labels, voxel_ml = labels.copy(), np.prod(spacing_mm) / 1000
    if options.keep_largest_liver and labels.any():
        livers, _ = ndimage.label(labels > 0)
        labels[livers != 1 + np.argmax(np.bincount(livers.ravel())[1:])] = 0
    lesions, count = ndimage.label(labels == 2)
    voxels = np.bincount(lesions.ravel(), minlength=count + 1)
    in_liver = np.zeros(count + 1, bool)
    in_liver[lesions[ndimage.binary_dilation(labels == 1)]] = True
    becomes = np.where(voxels * voxel_ml >= options.min_lesion_ml, 2, in_liver)
    if options.drop_lesions_outside_liver:
        becomes[~in_liver] = 0
    to_liver, surface = borders(labels, lesions, count, spacing_mm)
    becomes[to_liver < options.min_liver_contact * surface * (1 - 1e-9)] = 0
    return np.where(lesions > 0, becomes[lesions], labels).astype(np.uint8)


def borders(
    labels: NDArray[np.uint8],
    lesions: NDArray[np.int32],
    count: int,
    spacing_mm: tuple[float, float, float],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """By lesion, the areas of its faces that border liver, and anything but itself, in mm2."""
    to_liver, surface = np.zeros(count + 1), np.zeros(count + 1)
    for axis in range(3):
        area = np.prod(spacing_mm) / spacing_mm[axis]
        number, label = np.moveaxis(lesions, axis, 0), np.moveaxis(labels, axis, 0)
        for own, next_to_it in ((slice(-1), slice(1, None)), (slice(1, None), slice(-1))):
            here = number[own]
            border = (here > 0) & (number[next_to_it] != here)
            liver = border & (label[next_to_it] == 1)
            surface += area * np.bincount(here[border], minlength=count + 1)
            to_liver += area * np.bincount(here[liver], minlength=count + 1)
    return to_liver, surface
