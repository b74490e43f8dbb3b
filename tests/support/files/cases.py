"""LiTS-style cases written to folders."""

from pathlib import Path

import nibabel as nib
import numpy as np

from support.files.scans import LPS_AFFINE, random_hu, reorient


def write_case(
    folder: Path, case_id: str, labels: int = 2, codes: str = "LPS", ending: str = ".nii"
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    hu = random_hu((40, 36, 5), seed=1)
    mask = np.random.default_rng(2).integers(0, labels + 1, hu.shape).astype(np.int16)
    for name, values in (("volume", hu), ("segmentation", mask)):
        stored, affine = reorient(values, LPS_AFFINE, codes)
        nib.save(nib.Nifti1Image(stored, affine), folder / f"{name}-{case_id}{ending}")
