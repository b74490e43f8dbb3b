"""LiTS-style data: cases found by name, checked, split, and told apart."""

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lits_runtime.errors import DatasetError, LitsError
from lits_runtime.volume import Scan

logger = logging.getLogger(__name__)

CASES_NAME = "cases.json"
"""Beside the data: {"liver_only": ["28", ...]} names cases whose lesions are not marked."""

_NAME = re.compile(r"(volume|segmentation)-(.+?)\.nii(\.gz)?")
_FINGERPRINT_BYTES = 2**20


@dataclass(frozen=True)
class Case:
    """One patient's study: a CT volume and its mask."""

    case_id: str
    volume: Path
    segmentation: Path
    liver_only: bool = False
    """Lesions lie unmarked inside the liver, so that none may be learnt or scored here."""
    label_counts: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((0, 3), np.int64), compare=False, repr=False
    )
    """(slices, 3): voxels of each label in each canonical slice; empty until `check_case`."""

    @property
    def slices(self) -> int:
        """Canonical axial slices; 0 until `check_case` has read the mask."""
        return len(self.label_counts)


def find_cases(folder: Path) -> list[Case]:
    """The pairs volume-ID / segmentation-ID (.nii or .nii.gz) in a folder and its subfolders.

    Raises:
        DatasetError: two files claim the same ID, there is no complete pair, or `cases.json` is not
            what it should be.
    """
    found: dict[str, dict[str, Path]] = {"volume": {}, "segmentation": {}}
    for path in sorted(folder.rglob("*.nii*")):
        if match := _NAME.fullmatch(path.name):
            kind, case_id = match[1], match[2]
            if case_id in found[kind]:
                raise DatasetError(f"{kind}-{case_id} twice: {found[kind][case_id]} and {path}")
            found[kind][case_id] = path
    volumes, segmentations = found["volume"], found["segmentation"]
    for case_id in sorted(volumes.keys() ^ segmentations.keys(), key=_numeric):
        logger.warning("case %s has no %s", case_id, _missing_half(case_id, volumes))
    paired = sorted(volumes.keys() & segmentations.keys(), key=_numeric)
    if not paired:
        raise DatasetError(
            f"{folder}: no pair volume-ID.nii[.gz] and segmentation-ID.nii[.gz] here or in its "
            f"subfolders ({len(volumes)} volumes, {len(segmentations)} segmentations)"
        )
    liver_only = _liver_only(folder / CASES_NAME, paired)
    return [
        Case(case_id, volumes[case_id], segmentations[case_id], case_id in liver_only)
        for case_id in paired
    ]


def _liver_only(path: Path, paired: Sequence[str]) -> set[str]:
    if not path.exists():
        return set()
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not readable JSON: {error}") from error
    named = content.get("liver_only") if isinstance(content, dict) else None
    if not isinstance(named, list) or set(content) != {"liver_only"}:
        raise DatasetError(f'{path}: expected {{"liver_only": [case IDs]}}')
    chosen = {str(case_id) for case_id in named}
    if unknown := sorted(chosen - set(paired), key=_numeric):
        raise DatasetError(f"{path}: names cases that are not here: {', '.join(unknown)}")
    return chosen


def open_pair(case: Case) -> tuple[Scan, Scan]:
    """Volume and mask of a case, the mask on the volume's grid.

    LiTS pairs belong together voxel by voxel; the mask's own affine is not used, because it is
    wrong in volumes 28 to 47 (MIC-DKFZ/nnUNet#2751).

    Raises:
        DatasetError: volume and mask differ in shape.
        VolumeError: a file is not readable.
    """
    volume, mask = Scan.open(case.volume), Scan.open(case.segmentation)
    if volume.geometry.shape != mask.geometry.shape:
        raise DatasetError(
            f"volume is {volume.geometry.shape} and segmentation {mask.geometry.shape}"
        )
    mask.geometry = volume.geometry
    return volume, mask


def check_case(case: Case) -> Case:
    """The case with its label counts, after reading headers and the whole mask.

    Raises:
        DatasetError: volume and mask differ in shape, or the mask holds other labels than 0, 1, 2.
        VolumeError: a file is not readable.
    """
    volume, mask = open_pair(case)
    shape = volume.geometry.canonical_shape
    mask.load()
    counts = np.zeros((shape[0], 3), np.int64)
    for number in range(shape[0]):
        labels = mask.read_slab(number, number + 1)
        for label in (1, 2):
            counts[number, label] = np.count_nonzero(labels == label)
        counts[number, 0] = np.count_nonzero(labels == 0)
        if counts[number].sum() != labels.size:
            foreign = labels[(labels != 0) & (labels != 1) & (labels != 2)]
            raise DatasetError(f"segmentation holds label {foreign[0]:g}, expected 0, 1 and 2")
    volume.read_slab(shape[0] - 1, shape[0])  # a truncated file lacks its end
    return replace(case, label_counts=counts)


def usable_cases(cases: Sequence[Case]) -> tuple[list[Case], dict[str, str]]:
    """Split into the cases that can be read, and the reasons of those that cannot, by case ID.

    Raises:
        DatasetError: not one case is usable.
    """
    usable: list[Case] = []
    problems: dict[str, str] = {}
    for case in cases:
        try:
            usable.append(check_case(case))
        except (LitsError, OSError) as error:
            problems[case.case_id] = str(error)
            logger.warning("case %s is skipped: %s", case.case_id, error)
    if not usable:
        reasons = "; ".join(f"{case_id}: {reason}" for case_id, reason in problems.items())
        raise DatasetError(f"none of {len(cases)} cases is usable: {reasons}")
    return usable, problems


def split_cases(
    cases: Sequence[Case], validation_fraction: float, seed: int
) -> tuple[list[Case], list[Case]]:
    """Training and validation cases, drawn by case with a seed; at least one of each.

    A single case cannot be split: then both lists hold it, and scores say how well it was learnt.
    """
    if len(cases) < 2:
        return list(cases), list(cases)
    order = np.random.default_rng(seed).permutation(len(cases))
    count = min(max(round(len(cases) * validation_fraction), 1), len(cases) - 1)
    chosen = set(order[:count].tolist())
    return (
        [case for index, case in enumerate(cases) if index not in chosen],
        [case for index, case in enumerate(cases) if index in chosen],
    )


def fingerprint(cases: Sequence[Case]) -> str:
    """SHA-256 over IDs, sizes and first MiB of all files: tells data sets apart in seconds."""
    digest = hashlib.sha256()
    for case in cases:
        for path in (case.volume, case.segmentation):
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                digest.update(file.read(_FINGERPRINT_BYTES))
    return digest.hexdigest()


def _numeric(case_id: str) -> tuple[int, str]:
    return (int(case_id), "") if case_id.isdigit() else (2**31, case_id)


def _missing_half(case_id: str, volumes: dict[str, Path]) -> str:
    return "segmentation" if case_id in volumes else "volume"
