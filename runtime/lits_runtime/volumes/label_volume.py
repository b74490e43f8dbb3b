"""Masks of 0 background, 1 liver and 2 lesion, read in canonical orientation."""

import logging
from dataclasses import dataclass
from importlib.util import find_spec
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lits_runtime.errors import DatasetError, VolumeError
from lits_runtime.labels import BACKGROUND, LESION
from lits_runtime.messages import printable, without_uids
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.open import is_dicom_input, path_of
from lits_runtime.volumes.scan import Scan, ScanSource

logger = logging.getLogger(__name__)

ROUNDED_TO = 1e-3
"""The tolerance for labels: a mask saved under a CT header's scaling reads 2.00007 instead of 2
(nipy/nibabel#1069)."""
_SLAB = 16


@dataclass(frozen=True)
class LabelVolume:
    """Labels in canonical orientation, and their grid."""

    labels: NDArray[np.uint8]
    """(slices, height, width): inferior to superior, anterior to posterior, right to left."""
    geometry: Geometry
    """Of the stored mask."""
    name: str = "mask"
    """For messages."""
    series_uid: str | None = None
    """Of the series that a DICOM SEG refers to, perhaps empty; None for other formats."""

    @property
    def is_part(self) -> bool:
        """Whether the grid may be a part of the scan's, and all beyond it is background.

        So it is in a DICOM SEG, of which only frames with labels need to be there.
        """
        return self.series_uid is not None

    def on(self, target: Geometry, what: str = "scan") -> "LabelVolume":
        """The labels of a part on a grid that has voxels in the same places.

        Args:
            target: the other grid.
            what: it is the grid of, for messages.

        Raises:
            VolumeError: voxels do not lie in the same places, or labels lie outside.
        """
        from lits_runtime.volumes.dicom_objects.read_seg import on_grid

        stored = self.geometry.from_canonical(self.labels)
        placed = on_grid(stored, self.geometry, target, self.name, what)
        return LabelVolume(target.to_canonical(placed), target, self.name)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along slices, rows and columns."""
        return self.geometry.canonical_spacing_mm


def read_labels(source: ScanSource) -> LabelVolume:
    """Read a mask of LiTS labels, or a DICOM SEG of liver and lesions.

    A warning says so if labels had to be rounded, or if segments are neither.

    Raises:
        DatasetError: it holds values other than 0, 1 and 2; see `to_labels`.
        VolumeError: it is not a readable 3D volume.
    """
    if isinstance(source, str | PathLike):
        path = path_of(source)
        if path.is_file() and is_dicom_input(path):
            return _seg_labels(path)
    scan = Scan.open(source).load()
    labels = np.empty(scan.geometry.canonical_shape, np.uint8)
    off = 0.0
    for start in range(0, len(labels), _SLAB):
        stop = min(start + _SLAB, len(labels))
        values = scan.read_slab(start, stop)
        labels[start:stop] = to_labels(values, scan.name)
        off = max(off, rounded_by(values))
    if off:
        logger.warning("%s: %s", scan.name, rounded_note(off))
    return LabelVolume(labels, scan.geometry, scan.name)


def _seg_labels(path: Path) -> LabelVolume:
    if find_spec("pydicom") is None:
        raise VolumeError(
            f"{without_uids(path.name)}: DICOM needs pydicom, which is not installed: "
            "pip install 'lits-toolkit[dicom]'"
        )
    from lits_runtime.volumes.dicom_objects.read_seg import read_seg

    mask = read_seg(path)
    if mask.ignored:
        ignored = printable(", ".join(mask.ignored[:3]))
        logger.warning("%s: segments that are neither liver nor lesion: %s", mask.name, ignored)
    labels = mask.geometry.to_canonical(mask.labels)
    return LabelVolume(labels, mask.geometry, mask.name, mask.series_uid)


def to_labels(values: NDArray[np.float32], name: str) -> NDArray[np.uint8]:
    """The values of a mask as labels of the same shape, rounded if they are within `ROUNDED_TO`.

    Args:
        values: as read, of any shape.
        name: of the mask, for the message.

    Raises:
        DatasetError: there are values other than 0, 1 and 2.

    >>> to_labels(np.array([0, 0.99998, 2.00007], np.float32), "mask")
    array([0, 1, 2], dtype=uint8)
    """
    rounded = np.rint(values)
    odd = (abs(values - rounded) > ROUNDED_TO) | (rounded < BACKGROUND) | (rounded > LESION)
    if odd.any():
        found = ", ".join(f"{value:g}" for value in np.unique(values[odd])[:4])
        raise DatasetError(
            f"{name}: values {found}; expected the labels 0 background, 1 liver and 2 lesion"
        )
    return rounded.astype(np.uint8)


def rounded_by(values: NDArray[np.float32]) -> float:
    """The largest distance of values from whole numbers."""
    return float(abs(values - np.rint(values)).max(initial=0.0))


def rounded_note(off: float) -> str:
    """The warning about a mask whose labels were rounded."""
    return (
        f"labels are up to {off:.2g} off whole numbers and were rounded: the file was saved under "
        "another file's scaling; save it with slope 1 and intercept 0"
    )
