"""CT series of any orientation with labels, on disk and as objects are made from them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    ornt_transform,
)
from numpy.typing import NDArray
from pydicom import Dataset

from lits_runtime.measure.lesions import LesionTracker
from lits_runtime.measure.report import Report
from lits_runtime.measure.volumes_ml import burden_percent
from lits_runtime.volumes.dicom.find import find_series
from lits_runtime.volumes.dicom.series import Series
from lits_runtime.volumes.dicom_objects.facts import Algorithm
from lits_runtime.volumes.geometry import Geometry
from support.dicom.ct import AFFINE, save, set_all, slices_of
from support.dicom.objects import multi_frame

ALGORITHM = Algorithm("lits-toolkit default", "0.2.0", "0123456789abcdef" * 4)
PLANES = {
    "axial": "LPS",
    "head to feet": "LPI",
    "prone": "RAI",
    "coronal": "LIP",
    "sagittal": "PIL",
}
"""Where columns, rows and slices of series go: five orientations."""
SHAPE = (28, 36, 20)
"""Along left, posterior, superior."""


@dataclass(frozen=True)
class Labelled:
    """A series and its labels."""

    folder: Path
    series: Series
    labels: NDArray[np.uint8]
    """(k, j, i) of the series."""
    reference: NDArray[np.uint8]
    """The same as (i, j, k) on a grid of its own, as a NIfTI file would hold it."""
    geometry: Geometry
    """Of the reference."""

    @property
    def hu(self) -> NDArray[np.float32]:
        """Canonical: 40 in the liver, 70 in lesions."""
        canonical = self.series.geometry.to_canonical(self.labels.T)
        hu: NDArray[np.float32] = np.array([-900, 40, 70], np.float32)[canonical]
        return hu

    def report(self, warnings: tuple[str, ...] = ()) -> Report:
        """What the runtime measures."""
        geometry = self.series.geometry
        canonical, hu = geometry.to_canonical(self.labels.T), self.hu
        tracker = LesionTracker(geometry)
        tracker.add_slab(0, canonical, hu, (canonical == 2).astype(np.float32) * 0.75)
        lesions, count = tracker.lesions()
        sizes = np.bincount(canonical.ravel(), minlength=3) * geometry.voxel_ml
        volumes_ml = {"liver": float(sizes[1] + sizes[2]), "lesion": float(sizes[2])}
        return Report(
            warnings=warnings,
            volumes_ml=volumes_ml,
            tumour_burden_percent=burden_percent(volumes_ml),
            liver_cut=(),
            lesions=lesions,
            lesion_count=count,
            shape=geometry.shape,
            spacing_mm=geometry.spacing_mm,
            axis_codes=geometry.axis_codes,
            slices_looked_at=geometry.canonical_shape[0],
            applied={},
            whole_because=None,
            provider="cpu",
            model_sha256=ALGORITHM.model_sha256,
            scan_sha256=None,
            seconds=0.0,
        )


def liver_with_lesions() -> NDArray[np.uint8]:
    """Labels (i, j, k) along LPS, without any symmetry; three lesions, one of a single voxel."""
    i, j, k = np.indices(SHAPE)
    liver = ((i - 12) / 9) ** 2 + ((j - 16) / 12) ** 2 + ((k - 9) / 7.5) ** 2 < 1
    labels: NDArray[np.uint8] = liver.astype(np.uint8)
    labels[3:6, 14:18, 8:10] = 1
    labels[8:14, 11:16, 6:11] = 2
    labels[10:12, 20:23, 9:13] = 2
    labels[10, 13, 8] = 1  # a hole
    labels[17, 17, 9] = 2
    return labels


def labelled(
    folder: Path,
    plane: str = "axial",
    shear: float = 0.0,
    change: Callable[[list[Dataset]], list[Dataset]] = list,
    fill_missing: bool = False,
) -> Labelled:
    """A series written to a folder and found there.

    Args:
        folder: to write.
        plane: one of `PLANES`.
        shear: of the slices against their normal: a tilted gantry, as its tangent.
        change: what becomes of the data sets before they are written.
        fill_missing: as of `find_series`.
    """
    lps = liver_with_lesions()
    turn = ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(PLANES[plane]))
    stored = np.ascontiguousarray(apply_orientation(lps, turn))
    affine = AFFINE @ inv_ornt_aff(turn, lps.shape)
    affine[:3, 2] += shear * np.linalg.norm(affine[:3, 2]) * affine[:3, 1] / 0.75
    slices = slices_of(np.array([-900, 40, 70])[stored], affine)
    save(change(slices), folder)
    found = find_series([folder], fill_missing=fill_missing)
    assert len(found.series) == 1, [one.why for one in found.refused]
    series, geometry = found.series[0], Geometry(stored.shape, affine)
    ours = series.geometry.from_canonical(geometry.to_canonical(stored))
    return Labelled(folder, series, np.ascontiguousarray(ours.T), stored, geometry)


def as_multi_frame(slices: list[Dataset]) -> list[Dataset]:
    return [multi_frame(slices)]


def without_one(slices: list[Dataset]) -> list[Dataset]:
    return slices[:9] + slices[10:]


def with_patient(slices: list[Dataset]) -> list[Dataset]:
    set_all(slices, PatientSex="F", StudyID="7", ReferringPhysicianName="Who^Doctor")
    return slices
