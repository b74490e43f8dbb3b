"""Segmentations written from labelled series, as lits-infer writes them."""

from pathlib import Path

from lits_runtime.volumes.dicom_objects.facts import ObjectOptions
from lits_runtime.volumes.dicom_objects.identity import write_object
from lits_runtime.volumes.dicom_objects.seg import make_seg
from support.labelled_series import ALGORITHM, Labelled


def write_seg(case: Labelled, path: Path) -> Path:
    """The SEG of a series and its labels."""
    made = make_seg(case.series, case.labels, ALGORITHM, ObjectOptions())
    assert made is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_object(file, made)
    return path
