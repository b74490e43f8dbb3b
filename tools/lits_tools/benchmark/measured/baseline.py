"""The original system's inference and its slicing of training data: what ours are compared with.

python -m lits_tools.benchmark.measured.baseline CHECKPOINT SCAN MASK

Inference takes the whole volume as float64, runs PyTorch slice by slice, and saves with nibabel. It
is for comparison only, and the one reason why nibabel is imported here.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lits_train.data.cases import Case
    from lits_train.settings.recipe import Recipe


def segment(checkpoint: Path, scan: Path, mask: Path) -> None:
    """Segment a scan with a checkpoint of the baseline recipe."""
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


class SlicedVolumes:
    """Training items cut from volume and mask by nibabel, each time anew, and resized."""

    def __init__(
        self, cases: "Sequence[Case]", recipe: "Recipe", *, keep_open: bool = False
    ) -> None:
        self.recipe, self.keep_open = recipe, keep_open
        self.index = [(case, k) for case in cases for k in range(case.slices)]
        self._open: dict[Path, Any] = {}

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int) -> Any:
        from lits_train.network.preprocessing import resized_slab

        case, number = self.index[item]
        slabs = [self._slab(path, number) for path in (case.volume, case.segmentation)]
        return resized_slab(slabs[0], slabs[1], self.recipe.size)

    def _slab(self, path: Path, number: int) -> Any:
        import nibabel as nib
        import numpy as np

        image: Any = self._open.get(path) or nib.load(path)
        if self.keep_open:
            self._open[path] = image
        around = self.recipe.context_slices
        low, high = max(number - around, 0), number + around + 1
        stored = np.asanyarray(image.dataobj[:, :, low:high])
        return np.ascontiguousarray(stored.T, dtype=np.float32)


if __name__ == "__main__":
    segment(*(Path(argument) for argument in sys.argv[1:4]))
