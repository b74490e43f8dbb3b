"""DICOM series among the files of folders: which are segmented, and why others are not."""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lits_runtime.volumes.dicom.series import Series


class NoJob(NamedTuple):
    """What is no series to segment."""

    path: Path
    why: str
    lost: bool = False
    """Whether a series may be missing."""


def series_among(paths: Sequence[Path]) -> "tuple[list[Series], list[NoJob]]":
    """The series to segment, by the place of their first file, and what else there is.

    Args:
        paths: of files that begin as DICOM objects do.
    """
    if find_spec("pydicom") is None:
        why = "DICOM needs pydicom, which is not installed: pip install 'lits-toolkit[dicom]'"
        return [], [NoJob(path, why, lost=True) for path in paths]
    from lits_runtime.volumes.dicom.choice import LEAST_SLICES, why_no_job
    from lits_runtime.volumes.dicom.find import find_series

    found = find_series(paths)
    jobs, left_out = list["Series"](), list[NoJob]()
    for one in found.series:
        if no_job := why_no_job(one):
            left_out.append(NoJob(_place(one.files), f"{one.name}: {no_job}"))
        else:
            jobs.append(one)
    for refused in found.refused:
        why = f"{refused.name}: {refused.why}"
        lost = refused.images >= LEAST_SLICES
        left_out.append(NoJob(_place(refused.paths), why, lost=lost))
    for other in found.not_used:
        lost = other.lost and not found.series
        left_out.append(NoJob(other.stored.path, other.why, lost=lost))
    return sorted(jobs, key=lambda one: (min(one.files), one.part)), left_out


def _place(paths: Sequence[Path]) -> Path:
    """The folder of several files, or the only file."""
    return paths[0] if len(paths) == 1 else Path(os.path.commonpath([one.parent for one in paths]))
