"""The scan that speed is measured on: a noisy CT of 512 x 512.

python -m lits_tools.benchmark.measured.scan OUTPUT SLICES [SOURCE]
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lits_runtime.phantom.ct import Phantom, make_phantom, write_phantom
from lits_runtime.volumes.scan import Scan

MATRIX = 512
_NOISE_HU = 12.0


def benchmark_scan(path: Path, slices: int, source: Path | None = None) -> None:
    """Write `benchmark_volume` as int16 .nii.gz."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        written, _ = write_phantom(Path(folder), 0, benchmark_volume(slices, source))
        written.replace(path)


def benchmark_volume(slices: int, source: Path | None = None) -> Phantom:
    """A CT without labels.

    Args:
        slices: axial slices of 512 x 512.
        source: a CT to interpolate, with noise added; None: a phantom of 60 slices.
    """
    if source is None:
        phantom = make_phantom(1, matrix=MATRIX, slices=60, lesions=3)
        scan = Scan.open((phantom.volume_hu, phantom.affine)).load()
    else:
        scan = Scan.open(source).load()
    volume_hu = _stretched(scan, slices)
    spacing_mm = np.sort(scan.geometry.spacing_mm)
    shape = scan.geometry.canonical_shape
    affine = np.diag([-spacing_mm[0] * shape[2] / MATRIX, -spacing_mm[0] * shape[1] / MATRIX, 1, 1])
    labels = np.zeros(volume_hu.T.shape, np.uint8)
    return Phantom(volume_hu.T, labels, affine, 0)


def _stretched(scan: Scan, slices: int) -> NDArray[np.int16]:
    """The scan as (slices, 512, 512), interpolated linearly."""
    count, height, width = scan.geometry.canonical_shape
    rng = np.random.default_rng(0)
    rows, columns = (np.linspace(0, size - 1, MATRIX) for size in (height, width))
    stretched = np.empty((slices, MATRIX, MATRIX), np.int16)
    for index, position in enumerate(np.linspace(0, count - 1, slices)):
        below = min(int(position), count - 2) if count > 1 else 0
        pair = scan.read_slab(below, min(below + 2, count))
        plane = pair[0] + (pair[-1] - pair[0]) * np.float32(position - below)
        plane = _along(_along(plane, rows).T, columns).T
        noise = rng.normal(0, _NOISE_HU, plane.shape).astype(np.float32)
        stretched[index] = np.clip(np.rint(plane + noise), -1024, 3071)
    return stretched


def _along(plane: NDArray[np.float32], positions: NDArray[np.float64]) -> NDArray[np.float32]:
    """Interpolate the rows of a plane linearly."""
    below = np.minimum(positions.astype(int), len(plane) - 2)
    share = (positions - below).astype(np.float32)[:, None]
    between: NDArray[np.float32] = plane[below] * (1 - share) + plane[below + 1] * share
    return between


if __name__ == "__main__":
    benchmark_scan(Path(sys.argv[1]), int(sys.argv[2]), *map(Path, sys.argv[3:]))
