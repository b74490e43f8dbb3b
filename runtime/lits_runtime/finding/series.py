"""DICOM series among the files of folders: which are segmented, and why others are not."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lits_runtime.finding.left_out import LeftOut
from lits_runtime.volumes.foreign_formats import BYTES, is_dicom
from lits_runtime.volumes.names import volume_ending

if TYPE_CHECKING:
    from lits_runtime.volumes.dicom.series import Series

ARCHIVE = (b"PK\x03\x04", b"PK\x05\x06")
"""How a ZIP archive begins."""


def dicom_kind(path: Path) -> str | None:
    """Whether a path is a DICOM "file" by its first bytes, or a ZIP "archive"; None if neither.

    A file with the ending of NIfTI is neither, whatever it holds.
    """
    if volume_ending(path.name):
        return None
    with path.open("rb") as file:
        start = file.read(BYTES)
    if start[:4] in ARCHIVE:
        return "archive"
    return "file" if is_dicom(start) else None


def series_among(
    paths: Sequence[Path], folder: Path, *, fill_missing: bool = False
) -> "tuple[list[Series], list[LeftOut]]":
    """The series to segment, by the place of their first file, and what else there is.

    Args:
        paths: of files that begin as DICOM objects do.
        folder: that was searched, for messages.
        fill_missing: interpolate single missing slices.
    """
    if find_spec("pydicom") is None:
        why = "DICOM needs pydicom, which is not installed: pip install 'lits-toolkit[dicom]'"
        return [], [LeftOut(folder, why, lost=True)]
    from lits_runtime.volumes.dicom.choice import LEAST_SLICES, why_no_job
    from lits_runtime.volumes.dicom.find import find_series

    found = find_series(paths, fill_missing=fill_missing)
    jobs, left_out = list["Series"](), list[LeftOut]()
    for one in found.series:
        if no_job := why_no_job(one):
            left_out.append(LeftOut(folder, f"{one.name}: {no_job}", is_series=True))
        else:
            jobs.append(one)
    for refused in found.refused:
        lost = refused.images >= LEAST_SLICES
        why = f"{refused.name}: {refused.why}"
        left_out.append(LeftOut(folder, why, lost=lost, refused=refused.name))
    for other in found.not_used:
        lost = other.lost and not found.series
        left_out.append(LeftOut(folder / other.stored.name, other.why, lost=lost))
    return sorted(jobs, key=lambda one: (min(one.files), one.part)), left_out
