"""Reports on the cases of a data set: what they are like, and what is wrong with them."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lits_runtime.errors import DatasetError, LitsError
from lits_runtime.measure.lesions import LesionTracker
from lits_runtime.plausibility.warnings import geometry_warnings, range_warnings
from lits_runtime.volumes.label_volume import to_labels
from lits_runtime.volumes.scan import Scan
from lits_train.data.case_files import find_files, pairing_problem
from lits_train.data.cases import Case, check_case, file_states, open_pair
from lits_train.data.cases_json import Statements, read_statements
from lits_train.data.repair import BodySides, is_lost

AIR_HU = -1100.0
"""Air is -1000, and noise and 12 bits reach -1024; lower values were never measured."""


@dataclass(frozen=True)
class CaseFiles:
    """The files of a case, and what `cases.json` states about it."""

    case_id: str
    paths: dict[str, list[Path]]
    """By "volume" and "segmentation"; one path each, if the case is complete."""
    statements: Statements


@dataclass(frozen=True)
class CaseReport:
    """What was found in a case; None is what could not be read."""

    case_id: str
    problems: tuple[str, ...] = ()
    """Reasons why it is unusable."""
    warnings: tuple[str, ...] = ()
    """What to know before using it."""
    shape: tuple[int, int, int] | None = None
    """Along the stored axes, like `spacing_mm` and `orientation`."""
    spacing_mm: tuple[float, float, float] | None = None
    """According to the header."""
    orientation: str | None = None
    """Directions of the stored axes according to the header, such as "LPS"."""
    range_hu: tuple[float, float] | None = None
    label_type: str | None = None
    """Type of the stored labels, such as "uint8"."""
    labels: tuple[int, ...] | None = None
    """The labels that occur."""
    liver_only: bool = False
    liver_slices: int | None = None
    lesion_slices: int | None = None
    liver_ml: float | None = None
    """Including lesions."""
    lesions: int | None = None
    """6-connected components of label 2, as lits-eval counts them."""
    lesion_ml: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)


def files_of(folder: Path) -> list[CaseFiles]:
    """The cases of a folder, complete or not, ordered by number.

    Raises:
        DatasetError: there is none, or `cases.json` is invalid.
    """
    found = find_files(folder)
    if not found:
        raise DatasetError(f"{folder}: no volume-ID.nii[.gz] here or in its subfolders")
    statements = read_statements(folder, list(found))
    return [CaseFiles(case_id, paths, statements) for case_id, paths in found.items()]


def examine(files: CaseFiles) -> CaseReport:
    """Read a case slice by slice and report on it; damage is reported, not raised."""
    report = CaseReport(files.case_id)
    if problem := pairing_problem(files.case_id, files.paths):
        return replace(report, problems=(problem,))
    case = Case(files.case_id, files.paths["volume"][0], files.paths["segmentation"][0])
    case = case.with_statements(files.statements)
    report = replace(report, liver_only=case.liver_only)
    try:
        file_states(case)  # refuses a pipe, which might block for ever
        report = _of_headers(report, case)
        case = check_case(case)
        return _of_values(_of_labels(report, case), case)
    except (LitsError, OSError) as error:
        return replace(report, problems=(str(error),))


def _of_headers(report: CaseReport, case: Case) -> CaseReport:
    volume, mask = Scan.open(case.volume), Scan.open(case.segmentation)
    geometry, mask_type = volume.geometry, mask.source.dtype
    warnings = [] if is_lost(geometry) else geometry_warnings(volume)
    if mask_type.kind == "f":
        warnings.append(f"labels are stored as {mask_type}")
    same_shape = mask.geometry.shape == geometry.shape
    if same_shape and not np.allclose(
        mask.geometry.affine[:3, :3], geometry.affine[:3, :3], atol=1e-3
    ):
        spacing = " x ".join(f"{size:.4g}" for size in mask.geometry.spacing_mm)
        warnings.append(
            f"the mask's affine ({mask.geometry.axis_codes}, {spacing} mm) is not the volume's; "
            "the volume's is used for both"
        )
    return replace(
        report,
        warnings=tuple(warnings),
        shape=geometry.shape,
        spacing_mm=geometry.spacing_mm,
        orientation=geometry.axis_codes,
        label_type=str(mask_type),
    )


def _of_labels(report: CaseReport, case: Case) -> CaseReport:
    counts = case.label_counts
    warnings = [*report.warnings, *case.notes]
    if not counts[:, 1:].any():
        warnings.append("no liver is marked")
    if case.liver_only and counts[:, 2].any():
        warnings.append("lesions are marked, but cases.json says that only the liver is")
    return replace(
        report,
        warnings=tuple(warnings),
        labels=tuple(np.flatnonzero(counts.any(axis=0)).tolist()),
        liver_slices=int(np.count_nonzero(counts[:, 1:].any(axis=1))),
        lesion_slices=int(np.count_nonzero(counts[:, 2])),
    )


def _of_values(report: CaseReport, case: Case) -> CaseReport:
    volume, mask = open_pair(case)
    tracker, sides = LesionTracker(volume.geometry), BodySides()
    least, greatest = np.inf, -np.inf
    for slab, mask_slab in zip(volume.slabs(1), mask.slabs(1), strict=True):
        slice_hu = volume.slab_hu(slab)[0]
        labels = to_labels(mask.slab_hu(mask_slab)[0], "segmentation")
        least, greatest = min(least, slice_hu.min()), max(greatest, slice_hu.max())
        tracker.add(slab.start, labels, slice_hu)
        sides.add(slice_hu, labels)
    warnings = [*report.warnings, *range_warnings(float(least), float(greatest))]
    if least < AIR_HU:
        warnings.append(f"padding at {least:.6g} HU, below air")
    if case.affine is None:
        warnings += _side_warnings(sides)
    _, lesions = tracker.lesions()
    voxels, voxel_ml = case.label_counts.sum(axis=0), volume.geometry.voxel_ml
    return replace(
        report,
        warnings=tuple(warnings),
        range_hu=(float(least), float(greatest)),
        liver_ml=float(voxels[1:].sum() * voxel_ml),
        lesions=lesions,
        lesion_ml=float(voxels[2] * voxel_ml),
    )


def _side_warnings(sides: BodySides) -> list[str]:
    warnings = []
    if sides.mirrored:
        warnings.append("the liver lies on the left: the affine mirrors or turns the patient")
    if sides.upside_down:
        warnings.append("the bones lie in front: the affine mirrors or turns the patient")
    return warnings
