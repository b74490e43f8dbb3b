"""A folder of references and one of predictions, to be scored."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from lits_runtime.phantom.ct import make_phantom, write_phantom


def write_scored_folders(root: Path) -> Path:
    """Two phantoms with lesions and a healthy one; predictions a voxel off under other names."""
    for seed, lesions in ((2, 3), (10, 2), (5, 0)):
        phantom = make_phantom(seed, matrix=64, slices=12, lesions=lesions)
        _, reference = write_phantom(root / "lits", seed, phantom)
        image: Any = nibabel.load(reference)
        moved = np.roll(np.asanyarray(image.dataobj), 1, axis=0)
        (root / "masks").mkdir(exist_ok=True)
        predicted = root / "masks" / f"volume-{seed}_mask.nii.gz"
        nibabel.save(nibabel.Nifti1Image(moved, image.affine), predicted)
    return root
