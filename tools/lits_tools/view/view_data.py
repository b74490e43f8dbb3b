"""A scan with its masks in memory, ready to be drawn."""

from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lits_runtime.labels import MASKS
from lits_runtime.volumes.label_volume import LabelVolume, read_labels
from lits_runtime.volumes.open import is_dicom_input, open_dicom, path_of
from lits_runtime.volumes.scan import Geometry, Scan, ScanSource
from lits_tools.scores.overlap import knows_liver, overlap
from lits_tools.scores.pairs import check_by_index, check_same_grid
from lits_tools.scores.surface import Spacing
from lits_tools.view.lesion_list import ListedLesion, listed_lesions

Labels = NDArray[np.uint8]

_SLAB = 16
_HU = np.iinfo(np.int16)


@dataclass(frozen=True)
class ViewData:
    """Arrays (slices, height, width) in canonical orientation: to superior, posterior, left."""

    name: str
    volume_hu: NDArray[np.int16]
    labels: Labels
    """The mask to show: 0 background, 1 liver, 2 lesion."""
    reference: Labels | None
    """The reference for `labels`, if there is one."""
    spacing_mm: Spacing
    voxel_ml: float

    @cached_property
    def reference_or_labels(self) -> Labels:
        """The reference, or the mask if there is none."""
        return self.labels if self.reference is None else self.reference

    @cached_property
    def lesions(self) -> list[ListedLesion]:
        """The lesions of the mask, and those of the reference that it misses."""
        return listed_lesions(self.labels, self.reference, self.spacing_mm, self.voxel_ml)

    @cached_property
    def captions(self) -> tuple[str, str]:
        """A line for the liver and one for the lesions: volume, reference volume, and Dice."""
        return self._caption("liver", "liver"), self._caption("lesion", "lesions")

    def _caption(self, name: str, title: str) -> str:
        mask = MASKS[name](self.labels)
        if name == "liver" and not knows_liver(self.labels):
            return "no liver in the mask, only lesions"
        text = f"{title} {np.count_nonzero(mask) * self.voxel_ml:.1f} ml"
        if self.reference is None:
            return text
        if name == "liver" and not knows_liver(self.reference):
            return f"{text} (reference: no liver, only lesions)"
        mask_gt = MASKS[name](self.reference)
        reference_ml = np.count_nonzero(mask_gt) * self.voxel_ml
        return f"{text} (reference {reference_ml:.1f} ml, Dice {overlap(mask, mask_gt).dice:.3f})"


def open_view(
    scan: ScanSource,
    mask: ScanSource,
    reference: "ScanSource | None" = None,
    *,
    series: str | None = None,
    ignore_affine: bool = False,
) -> ViewData:
    """Read a scan and its masks, each from a path, a nibabel image or (array (i, j, k), affine).

    Args:
        scan: CT in HU; of several DICOM series in a folder or archive, the one that a DICOM SEG
            refers to is taken, or else the most fitting.
        mask: labels on the scan's grid, or a DICOM SEG with voxels in the same places.
        reference: the same.
        series: UID or number of the DICOM series to take.
        ignore_affine: match the voxels of masks and scan by index, whatever the affines.

    Raises:
        DatasetError: a mask is not on the scan's grid or holds other labels than 0, 1 and 2.
        VolumeError: a file is not a readable 3D volume, or a DICOM SEG is not of the scan.
    """
    read = [read_labels(source) for source in (mask, reference) if source is not None]
    opened = _opened(scan, series, read)
    geometry = opened.geometry
    masks = [_on_grid(one, geometry, ignore_affine) for one in read]
    return ViewData(
        name=Path(opened.name).name,
        volume_hu=read_hu(opened),
        labels=masks[0],
        reference=masks[1] if reference is not None else None,
        spacing_mm=geometry.canonical_spacing_mm,
        voxel_ml=geometry.voxel_ml,
    )


def _opened(scan: ScanSource, series: str | None, masks: list[LabelVolume]) -> Scan:
    """The scan; of several series the wanted one, or that of a mask if it is there."""
    if not (isinstance(scan, str | PathLike) and is_dicom_input(path_of(scan))):
        return Scan.open(scan)
    path, uids = path_of(scan), {mask.series_uid for mask in masks if mask.series_uid}
    if uids and series is None:
        from lits_runtime.volumes.dicom.find import find_series

        fitting = [one for one in find_series(path).series if one.uid in uids]
        if len(fitting) == 1:
            return Scan.open(fitting[0])
    return Scan(open_dicom(path, series))


def read_hu(scan: Scan) -> NDArray[np.int16]:
    """Hounsfield units of a whole scan in canonical orientation, (slices, height, width)."""
    scan.load()
    volume_hu = np.empty(scan.geometry.canonical_shape, np.int16)
    for start in range(0, len(volume_hu), _SLAB):
        stop = min(start + _SLAB, len(volume_hu))
        volume_hu[start:stop] = np.clip(scan.read_slab(start, stop), _HU.min, _HU.max)
    return volume_hu


def _on_grid(mask: LabelVolume, grid: Geometry, ignore_affine: bool) -> Labels:
    if ignore_affine:
        check_by_index(mask)
    if mask.is_part:
        return mask.on(grid).labels
    if ignore_affine and mask.geometry.shape == grid.shape:
        labels: Labels = grid.to_canonical(mask.geometry.from_canonical(mask.labels))
        return labels
    check_same_grid(mask.geometry, grid, "mask and scan")
    return mask.labels
