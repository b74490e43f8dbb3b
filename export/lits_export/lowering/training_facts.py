"""What a model file says about its training data: counts and a fingerprint, never a name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

_WORDS = ("data_fingerprint", "git_revision", "lits_toolkit", "torch")
"""Texts in a checkpoint's provenance that name software or are digests."""
_SCORES = ("validation_dice", "full_validation", "dice")
"""Figures, by class among others."""
_WEIGHTS = ("none", "imagenet")


def shareable_training(training: dict[str, Any]) -> dict[str, Any]:
    """The part of a checkpoint's provenance that may leave the place where it was trained.

    What is not known to be harmless is replaced: a list, such as that of the cases, by its length,
    starting weights from a file by "file". Other texts are dropped.

    >>> shareable_training({"cases": ["anna", "ben"], "loss": 0.5, "note": "anna's CT"})
    {'cases': 2, 'loss': 0.5}
    """
    facts: dict[str, Any] = {}
    for key, value in training.items():
        if value is None or isinstance(value, int | float):
            facts[key] = value
        elif isinstance(value, str):
            if key == "starting_weights":
                facts[key] = value if value in _WEIGHTS else "file"
            elif key in _WORDS:
                facts[key] = value
        elif isinstance(value, dict) and key in _SCORES:
            facts[key] = shareable_training(value)
        elif isinstance(value, dict | list | tuple | set):
            facts[key] = len(value)
    return facts


def shareable_parity(report: Any, check_scans: Sequence[Path]) -> Any:
    """A parity report whose slabs are named "scan 2" instead of after the second file.

    >>> shareable_parity({"worst_slab": "anna.nii.gz slices 8 to 15"}, [Path("ct/anna.nii.gz")])
    {'worst_slab': 'scan 1 slices 8 to 15'}
    """
    if isinstance(report, dict):
        return {key: shareable_parity(value, check_scans) for key, value in report.items()}
    if isinstance(report, list | tuple):
        return [shareable_parity(value, check_scans) for value in report]
    if isinstance(report, str):
        for number, file in enumerate(check_scans, start=1):
            if report.startswith(f"{file.name} "):
                return f"scan {number}{report.removeprefix(file.name)}"
    return report


def scan_count(check_scans: Sequence[Path]) -> dict[str, Any]:
    """On how many scans a model was compared, or that it was compared on the phantom.

    >>> scan_count([Path("a.nii"), Path("b.nii")])
    {'kind': 'scans', 'count': 2}
    """
    if check_scans:
        return {"kind": "scans", "count": len(check_scans)}
    return {"kind": "phantom", "count": 1}
