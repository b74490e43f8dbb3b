"""Inference as the system did from which this project grew: what the runtime is measured against.

python -m lits_tools.benchmark.baseline CHECKPOINT SCAN MASK

The whole volume as float64, slice by slice with batch 1 through PyTorch, saved by nibabel. Nothing
here is meant to be used otherwise.
"""

import sys
from pathlib import Path


def segment(checkpoint: Path, scan: Path, mask: Path) -> None:
    """Segment a scan with a checkpoint of the seed recipe."""
    import nibabel as nib
    import numpy as np
    import torch
    from torch.nn import functional

    from lits_train.network.checkpoint import load_checkpoint

    trained = load_checkpoint(checkpoint)
    network = trained.network()
    size = trained.recipe.size
    image = nib.load(scan)
    volume = image.get_fdata()  # type: ignore[attr-defined]
    result = np.zeros(volume.shape, np.uint8)
    with torch.no_grad():
        for index in range(volume.shape[2]):
            slice_hu = volume[:, :, index]
            low, high = slice_hu.min(), slice_hu.max()
            scaled = (slice_hu - low) / max(high - low, 1e-3)
            batch = torch.from_numpy(scaled).float()[None, None]
            batch = functional.interpolate(batch, (size, size), mode="bilinear").repeat(1, 3, 1, 1)
            probability = network(batch).sigmoid()
            probability = functional.interpolate(
                probability, slice_hu.shape, mode="bilinear", align_corners=False
            )
            result[:, :, index] = (probability[0, -1] > 0.5).numpy()
    nib.save(nib.Nifti1Image(result, image.affine), mask)  # type: ignore[attr-defined]


if __name__ == "__main__":
    segment(*(Path(argument) for argument in sys.argv[1:4]))
