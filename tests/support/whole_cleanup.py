"""The clean-up by its definition, on a whole volume in memory, with SciPy."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lits_runtime.model.metadata import Postprocessing


def cleaned_whole(
    labels: NDArray[np.uint8], voxel_ml: float, options: Postprocessing
) -> NDArray[np.uint8]:
    """Canonical labels (slices, height, width), cleaned up."""
    labels = labels.copy()
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
    return np.where(lesions > 0, becomes[lesions], labels).astype(np.uint8)
