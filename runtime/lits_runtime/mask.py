"""Writing a mask on the scan's own grid, under the scan's own header."""

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from lits_runtime.atomic import atomic_path

_GZIP_LEVEL = 4  # masks are long runs: higher levels are slower and save nothing


def mask_image(stored: NDArray[Any], scan: SpatialImage) -> nib.Nifti1Image:
    """A NIfTI image of a mask, uint8 (i, j, k), with the header and affine of its scan.

    Kept are affine, sform and qform codes, units, description and extensions. The scaling is reset:
    under a CT header's slope a label 2 reads back as 2.00007 (nipy/nibabel#1069).
    """
    kind: Any = nib.Nifti2Image if isinstance(scan, nib.Nifti2Image) else nib.Nifti1Image
    header = scan.header.copy() if isinstance(scan, nib.Nifti1Image) else None
    image: nib.Nifti1Image = kind(np.asarray(stored, np.uint8), scan.affine, header)
    image.header.set_data_dtype(np.uint8)
    image.header.set_slope_inter(1, 0)
    image.header["cal_min"] = image.header["cal_max"] = 0
    return image


def write_image(image: nib.Nifti1Image, path: Path) -> None:
    """Write .nii or .nii.gz atomically; equal images give equal bytes.

    Raises:
        ValueError: `path` ends otherwise.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError(f"{path}: expected a name ending in .nii or .nii.gz")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        if path.name.endswith(".gz"):
            with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as stream:
                image.to_stream(stream)
        else:
            image.to_stream(file)
