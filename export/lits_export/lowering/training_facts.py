"""What a model file tells of the data it was made from: counts and a fingerprint, never a name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

_WORDS = ("data_fingerprint", "git_revision", "lits_toolkit", "torch")
"""Texts of a checkpoint's provenance that name software, or are digests."""
_SCORES = ("validation_dice",)
"""Figures by class."""
_WEIGHTS = ("none", "imagenet")


def training_told(training: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's provenance as it may leave the place where it was trained.

    Whatever is not known to be harmless, such as a list of cases, is told by its length; a text by
    nothing. Starting weights of a file are "file".

    >>> training_told({"cases": ["anna", "ben"], "loss": 0.5, "note": "anna's CT"})
    {'cases': 2, 'loss': 0.5}
    """
    told: dict[str, Any] = {}
    for key, value in training.items():
        if value is None or isinstance(value, int | float):
            told[key] = value
        elif isinstance(value, str):
            if key == "starting_weights":
                told[key] = value if value in _WEIGHTS else "file"
            elif key in _WORDS:
                told[key] = value
        elif isinstance(value, dict) and key in _SCORES:
            told[key] = training_told(value)
        elif isinstance(value, dict | list | tuple | set):
            told[key] = len(value)
    return told


def parity_told(report: Any, check_scans: Sequence[Path]) -> Any:
    """A parity report in which "scan 2" stands where slabs are named after the second file.

    >>> parity_told({"worst_slab": "anna.nii.gz slices 8 to 15"}, [Path("ct/anna.nii.gz")])
    {'worst_slab': 'scan 1 slices 8 to 15'}
    """
    if isinstance(report, dict):
        return {key: parity_told(value, check_scans) for key, value in report.items()}
    if isinstance(report, list | tuple):
        return [parity_told(value, check_scans) for value in report]
    if isinstance(report, str):
        for number, file in enumerate(check_scans, start=1):
            if report.startswith(f"{file.name} "):
                return f"scan {number}{report.removeprefix(file.name)}"
    return report


def scans_told(check_scans: Sequence[Path]) -> dict[str, Any]:
    """How many scans a model was compared on, or that it was the phantom.

    >>> scans_told([Path("a.nii"), Path("b.nii")])
    {'kind': 'scans', 'count': 2}
    """
    if check_scans:
        return {"kind": "scans", "count": len(check_scans)}
    return {"kind": "phantom", "count": 1}
