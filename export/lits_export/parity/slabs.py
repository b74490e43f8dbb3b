"""What an export is checked on: slabs of CT scans or of the phantom, and boundary slabs."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lits_runtime.errors import VolumeError
from lits_runtime.finding.find import find_scans, nothing_in
from lits_runtime.finding.left_out import tell
from lits_runtime.phantom.ct import make_phantom
from lits_runtime.volumes.scan import Scan
from lits_train.network.slab_segmenter import SlabSegmenter

logger = logging.getLogger(__name__)

SLICES_PER_SLAB = 8
CALIBRATION_SLICES = 32
"""With more, the ranges of the tensors no longer change."""
_LARGEST = float(np.finfo(np.float32).max)


Slab = NDArray[np.float32]


@dataclass(frozen=True)
class CheckSlab:
    """One slab to compare network and model on."""

    name: str
    slab_hu: NDArray[np.float32]
    """float32 (n + 2 * context_slices, height, width), canonical orientation."""
    voxel_ml: float
    anatomy: bool = True
    """Whether its masks and volumes count; a boundary slab has to give finite values, and the same
    probabilities."""


def check_slabs(check_on: Sequence[Path], context_slices: int) -> Iterator[CheckSlab]:
    """Slabs of the scans or, if there are none, of the phantom; then the boundary slabs.

    Raises:
        VolumeError: a scan cannot be read.
    """
    for source in _sources(check_on, context_slices):
        yield from source
    yield from boundary_slabs(context_slices)


def calibration_slabs(reference: SlabSegmenter, check_on: Sequence[Path]) -> list[Slab]:
    """Slices to calibrate on, evenly spaced among those where the network finds something.

    Half of them show the last class, if there are that many. If the network finds nothing in a
    scan, all its slices are eligible.

    Returns:
        float32 (1 + 2 * context_slices, height, width) each.

    Raises:
        VolumeError: a scan cannot be read.
    """
    context = reference.recipe.context_slices
    quota = -(-CALIBRATION_SLICES // max(1, len(scan_files(check_on))))
    chosen: list[Slab] = []
    for source in _sources(check_on, context):
        slices: list[Slab] = []
        found: list[int] = []
        for slab in source:
            with torch.inference_mode():
                labels = reference(torch.from_numpy(slab.slab_hu))[0].numpy()
            found += labels.max(axis=(1, 2)).tolist()
            slices += [slab.slab_hu[i : i + 1 + 2 * context] for i in range(len(labels))]
        rare = [index for index, value in enumerate(found) if value == max(found)]
        any_class = [index for index, value in enumerate(found) if value] or rare
        picked = _evenly(rare, quota // 2)
        others = [index for index in any_class if index not in picked]
        picked += _evenly(others, quota - len(picked))
        chosen += [np.ascontiguousarray(slices[index]) for index in sorted(picked)]
    return chosen[:CALIBRATION_SLICES]


def _evenly(items: Sequence[int], count: int) -> list[int]:
    """At most `count` of the items, from the first to the last.

    >>> _evenly([1, 2, 3, 4, 5], 3)
    [1, 3, 5]
    """
    places = np.linspace(0, len(items) - 1, min(count, len(items)))
    return [items[int(place)] for place in places]


def _sources(check_on: Sequence[Path], context_slices: int) -> Iterator[Iterator[CheckSlab]]:
    for file in scan_files(check_on):
        yield scan_slabs(Scan.open(file), context_slices)
    if not check_on:
        yield phantom_slabs(context_slices)


def scan_files(paths: Sequence[Path]) -> list[Path]:
    """The scans that the paths name, each once; folders are searched as by lits-infer.

    What is left out of a folder is logged; see `find_scans`.

    Raises:
        VolumeError: a folder holds no scan.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        found = find_scans(path)
        if not found.files:
            raise VolumeError(f"{path}: {nothing_in(found)}")
        files += found.files
        tell(found.left_out, logger)
    return list(dict.fromkeys(files))


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
    """Slabs of the built-in phantom: twelve lesions of 12 to 49 mm."""
    phantom = make_phantom(7, matrix=256, slices=32, lesions=12)
    scan = Scan.open((phantom.volume_hu, phantom.affine))
    for slab in scan_slabs(scan, context_slices):
        yield CheckSlab(slab.name.replace("array", "phantom"), slab.slab_hu, slab.voxel_ml)


def boundary_slabs(context_slices: int) -> Iterator[CheckSlab]:
    """Slabs of kinds that have broken exports: constant, padded, extreme, of odd sizes."""
    phantom = make_phantom(2, matrix=128, slices=12, lesions=2)
    volume_hu = Scan.open((phantom.volume_hu, phantom.affine)).load().read_slab(0, 12)
    abdomen = volume_hu[4 : 5 + 2 * context_slices]
    rows, columns = np.ogrid[:128, :128]
    outside = (rows - 64) ** 2 + (columns - 64) ** 2 > 60**2
    extremes = abdomen.copy()
    extremes[:, :8], extremes[:, 8:16] = -32768, 32767
    largest = abdomen.copy()
    largest[:, :8], largest[:, 8:16] = -_LARGEST, _LARGEST
    named = {
        "constant slice": np.full_like(abdomen, -1024),
        "constant zero": np.zeros_like(abdomen),
        "padding at -3024": np.where(outside, np.float32(-3024), abdomen),
        "16-bit extremes": extremes,
        "float32 extremes": largest,
        "37 x 53": abdomen[:, 40:77, 30:83],
        "97 x 131": abdomen.repeat(2, axis=1).repeat(2, axis=2)[:, 80:177, 60:191],
        "one voxel": abdomen[:, 60:61, 40:41],
        "1024 x 1024": abdomen.repeat(8, axis=1).repeat(8, axis=2),
    }
    for name, slab_hu in named.items():
        yield CheckSlab(name, np.ascontiguousarray(slab_hu, np.float32), 0.001, anatomy=False)
