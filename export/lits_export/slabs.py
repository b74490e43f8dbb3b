"""What an export is checked on: slabs of CT scans, of the phantom, and the cases that bite."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lits_runtime.errors import VolumeError
from lits_runtime.phantom import make_phantom
from lits_runtime.volume import Scan

SLICES_PER_SLAB = 8


@dataclass(frozen=True)
class CheckSlab:
    """One slab to compare network and model on."""

    name: str
    slab_hu: NDArray[np.float32]
    """float32 (n + 2 * context_slices, height, width), canonical orientation."""
    voxel_ml: float


def scan_files(paths: Sequence[Path]) -> list[Path]:
    """The NIfTI files among the paths; folders are searched, masks (segmentation-*) left out.

    Raises:
        VolumeError: a folder holds no scan.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        found = sorted({*path.rglob("*.nii"), *path.rglob("*.nii.gz")})
        found = [file for file in found if not file.name.startswith("segmentation-")]
        if not found:
            raise VolumeError(f"{path}: no .nii or .nii.gz scan in this folder")
        files += found
    return files


def scan_slabs(scan: Scan, context_slices: int) -> Iterator[CheckSlab]:
    """All slabs of a scan, in order."""
    slices = scan.geometry.canonical_shape[0]
    scan.load()
    for start in range(0, slices, SLICES_PER_SLAB):
        stop = min(start + SLICES_PER_SLAB, slices)
        slab_hu = scan.read_slab(start, stop, context_slices)
        name = f"{Path(scan.name).name} slices {start} to {stop - 1}"
        yield CheckSlab(name, slab_hu, scan.geometry.voxel_ml)


def phantom_slabs(context_slices: int) -> Iterator[CheckSlab]:
    """The built-in phantom, for when no scan is at hand."""
    phantom = make_phantom(1, matrix=256, slices=32, lesions=4)
    scan = Scan.open((phantom.volume_hu, phantom.affine))
    for slab in scan_slabs(scan, context_slices):
        yield CheckSlab(slab.name.replace("array", "phantom"), slab.slab_hu, slab.voxel_ml)


def boundary_slabs(context_slices: int) -> Iterator[CheckSlab]:
    """Slabs that have broken exports elsewhere: constant, padded, extreme, odd in size."""
    phantom = make_phantom(2, matrix=128, slices=12, lesions=2)
    volume_hu = Scan.open((phantom.volume_hu, phantom.affine)).load().read_slab(0, 12)
    abdomen = volume_hu[4 : 5 + 2 * context_slices]
    rows, columns = np.ogrid[:128, :128]
    outside = (rows - 64) ** 2 + (columns - 64) ** 2 > 60**2
    extremes = abdomen.copy()
    extremes[:, :8], extremes[:, 8:16] = -32768, 32767
    named = {
        "constant slice": np.full_like(abdomen, -1024),
        "constant zero": np.zeros_like(abdomen),
        "padding at -3024": np.where(outside, np.float32(-3024), abdomen),
        "16-bit extremes": extremes,
        "37 x 53": abdomen[:, 40:77, 30:83],
        "one voxel": abdomen[:, 60:61, 40:41],
        "1024 x 1024": abdomen.repeat(8, axis=1).repeat(8, axis=2),
    }
    for name, slab_hu in named.items():
        yield CheckSlab(name, np.ascontiguousarray(slab_hu, np.float32), 0.001)
