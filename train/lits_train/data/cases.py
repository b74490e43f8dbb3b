"""LiTS-style data: cases found by name, checked, split, and told apart."""

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lits_runtime.errors import DatasetError, LitsError
from lits_runtime.files.regular_file import open_regular
from lits_runtime.files.stable_file import FileState
from lits_runtime.finding.find import LeftOut, find_volumes, tell
from lits_runtime.finding.layouts import case_of_layout
from lits_runtime.messages import brief
from lits_runtime.volumes.label_volume import rounded_by, rounded_note, to_labels
from lits_runtime.volumes.scan import Scan
from lits_train.data.repair import repaired
from lits_train.given_files import read_json
from lits_train.limits import shown

logger = logging.getLogger(__name__)

CASES_NAME = "cases.json"
"""Beside the data: {"liver_only": ["28"], "spacing_mm": {"29": [0.78, 0.78, 1.6]}}, either key as
needed, names cases whose lesions are not marked, and voxel sizes in mm along the stored axes where
the headers have them wrong."""

_NAME = re.compile(r"(?i:(volume|segmentation))-(.+?)(?i:\.nii(\.gz)?)")
_FINGERPRINT_BYTES = 2**20
_MOST_JSON_BYTES = 2**24
_SPACING_MM = (0.01, 100.0)


@dataclass(frozen=True)
class Case:
    """One patient's study: a CT volume and its mask."""

    case_id: str
    volume: Path
    segmentation: Path
    liver_only: bool = False
    """Lesions lie unmarked inside the liver, so that none may be learnt or scored here."""
    stated_spacing_mm: tuple[float, float, float] | None = None
    """Voxel size along the stored axes that replaces the header's."""
    affine: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)
    """(4, 4) voxel-to-world that replaces the header's, after `check_case` found that one lost."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What `check_case` repaired."""
    label_counts: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((0, 3), np.int64), compare=False, repr=False
    )
    """(slices, 3): voxels of each label in each canonical slice; empty until `check_case`."""
    states: tuple[FileState, FileState] | None = field(default=None, compare=False, repr=False)
    """Of volume and segmentation when they were checked; what is read later must be those."""

    @property
    def slices(self) -> int:
        """Canonical axial slices; 0 until `check_case` has read the mask."""
        return len(self.label_counts)


def find_files(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """The volumes and segmentations in a folder and its subfolders, by name.

    They are volume-ID and segmentation-ID (.nii or .nii.gz), or ID in imagesTr and labelsTr as MSD
    has them, there with _0000 for nnU-Net's first channel. Links are followed, hidden files and
    folders are passed over; what is left out is logged.

    Returns:
        By case ID, in the order of its number: {"volume": paths, "segmentation": paths}.
    """
    found: dict[str, dict[str, list[Path]]] = {}
    walked = find_volumes(folder)
    left_out = list(walked.left_out)
    for path in walked.files:
        if named := _kind_and_case(path):
            kind, case_id = named
            files = found.setdefault(case_id, {"volume": [], "segmentation": []})
            files[kind].append(path)
        else:
            left_out.append(LeftOut(path, "neither volume-ID nor segmentation-ID"))
    tell(left_out, logger)
    return dict(sorted(found.items(), key=lambda item: case_order(item[0])))


def _kind_and_case(path: Path) -> tuple[str, str] | None:
    """What a file is by its folder or name, and whose; None if neither tells."""
    if by_folder := case_of_layout(path):
        kind, stem = by_folder
        match = re.fullmatch(r"(?i:volume|segmentation)-(.+)", stem)
        return kind, match[1] if match else stem
    if match := _NAME.fullmatch(path.name):
        return match[1].lower(), match[2]
    return None


def find_cases(folder: Path) -> list[Case]:
    """The pairs volume-ID / segmentation-ID (.nii or .nii.gz) in a folder and its subfolders.

    Raises:
        DatasetError: two files claim the same ID, there is no complete pair, or `cases.json` is not
            what it should be.
    """
    found = find_files(folder)
    statements = read_statements(folder, list(found))
    cases = []
    for case_id, files in found.items():
        if problem := pairing_problem(case_id, files):
            if any(len(paths) > 1 for paths in files.values()):
                raise DatasetError(problem)
            logger.warning("case %s has %s", case_id, problem)
            continue
        volume, segmentation = files["volume"][0], files["segmentation"][0]
        cases.append(statements.applied(Case(case_id, volume, segmentation)))
    if not cases:
        volumes, segmentations = (
            sum(len(files[kind]) for files in found.values()) for kind in ("volume", "segmentation")
        )
        raise DatasetError(
            f"{folder}: no pair volume-ID.nii[.gz] and segmentation-ID.nii[.gz] (or of one name in "
            f"imagesTr and labelsTr) here or in its subfolders ({volumes} volumes, {segmentations} "
            "segmentations)"
        )
    return cases


def pairing_problem(case_id: str, files: dict[str, list[Path]]) -> str:
    """Why the files of a case make no pair, or nothing."""
    for kind, paths in files.items():
        if len(paths) > 1:
            return f"{kind}-{case_id} twice: {paths[0]} and {paths[1]}"
    missing = [kind for kind, paths in files.items() if not paths]
    return f"no {missing[0]}" if missing else ""


@dataclass(frozen=True)
class Statements:
    """What `cases.json` says of the cases beside it."""

    liver_only: frozenset[str] = frozenset()
    spacing_mm: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    def applied(self, case: Case) -> Case:
        """The case with what is said of it."""
        return replace(
            case,
            liver_only=case.case_id in self.liver_only,
            stated_spacing_mm=self.spacing_mm.get(case.case_id),
        )


def read_statements(folder: Path, case_ids: Sequence[str]) -> Statements:
    """Read `cases.json` of a folder; without one, nothing is said.

    Raises:
        DatasetError: it is not of the form of `CASES_NAME`, or names a case that is not here.
    """
    path = folder / CASES_NAME
    if not path.exists():
        return Statements()
    content = read_json(path, _MOST_JSON_BYTES, DatasetError)
    try:
        if not isinstance(content, dict) or set(content) - {"liver_only", "spacing_mm"}:
            raise ValueError("these two keys alone")
        liver_only = _case_ids(content.get("liver_only", []))
        spacing_mm = content.get("spacing_mm", {})
        if not isinstance(spacing_mm, dict):
            raise ValueError("spacing_mm by case ID")
        stated = {case_id: _spacing(sizes) for case_id, sizes in spacing_mm.items()}
    except ValueError as error:
        raise DatasetError(
            f'{path}: expected {{"liver_only": [case IDs], "spacing_mm": {{case ID: [i, j, k]}}}}, '
            f"either may be left out: {error}"
        ) from error
    if unknown := sorted((liver_only | set(stated)) - set(case_ids), key=case_order):
        named = brief(", ".join(unknown[:20]))
        raise DatasetError(f"{path}: names cases that are not here: {named}")
    return Statements(liver_only, stated)


def _case_ids(given: object) -> frozenset[str]:
    if not isinstance(given, list) or not all(type(one) in (str, int) for one in given):
        raise ValueError(f"liver_only {shown(given)}")
    return frozenset(map(str, given))


def _spacing(sizes: object) -> tuple[float, float, float]:
    least, most = _SPACING_MM
    i, j, k = sizes if isinstance(sizes, list) and len(sizes) == 3 else (0, 0, 0)
    if not all(type(size) in (int, float) and least <= size <= most for size in (i, j, k)):
        raise ValueError(f"spacing_mm {shown(sizes)}, expected three numbers of {least} to {most}")
    return float(i), float(j), float(k)


def open_pair(case: Case) -> tuple[Scan, Scan]:
    """Volume and mask of a case, the mask on the volume's grid.

    LiTS pairs belong together voxel by voxel; the mask's own affine is not used, because it is
    wrong in volumes 28 to 47 (MIC-DKFZ/nnUNet#2751). A repaired affine of the case goes before
    the volume's own.

    Raises:
        DatasetError: volume and mask differ in shape.
        VolumeError: a file is not readable, or, once it is read, not what `check_case` found.
    """
    states = case.states or (None, None)
    volume = Scan.open(case.volume, affine=case.affine, state=states[0])
    mask = Scan.open(case.segmentation, affine=volume.geometry.affine, state=states[1])
    if volume.geometry.shape != mask.geometry.shape:
        raise DatasetError(
            f"volume is {volume.geometry.shape} and segmentation {mask.geometry.shape}"
        )
    return volume, mask


def check_case(case: Case) -> Case:
    """The case with its label counts, after reading headers and the whole mask.

    A geometry that the header has lost is repaired, see `data.repair`. A case that has its
    label counts is given back as it is.

    Raises:
        DatasetError: volume and mask differ in shape, or the mask holds other labels than 0, 1, 2.
        VolumeError: a file is not readable.
    """
    if case.slices:
        return case
    states = file_states(case)
    volume, mask = open_pair(replace(case, states=states))
    shape = volume.geometry.canonical_shape
    counts, off = np.zeros((shape[0], 3), np.int64), 0.0
    for run in mask.slabs(1):
        values = mask.slab_hu(run)
        labels = to_labels(values, "segmentation")
        off = max(off, rounded_by(values))
        for label in (0, 1, 2):
            counts[run.start, label] = np.count_nonzero(labels == label)
    volume.read_stored(shape[0] - 1, shape[0])  # a truncated file lacks its end
    liver = np.flatnonzero(counts[:, 1:].any(axis=1))
    affine, notes = repaired(volume, mask, liver, case.stated_spacing_mm)
    if off:
        notes = (*notes, rounded_note(off))
        logger.warning("case %s: %s", case.case_id, notes[-1])
    if file_states(case) != states:
        raise DatasetError("a file changed while it was read")
    return replace(case, label_counts=counts, affine=affine, notes=notes, states=states)


def file_states(case: Case) -> tuple[FileState, FileState]:
    """Of volume and segmentation, as they are now.

    Raises:
        VolumeError: one is no regular file.
        OSError: one is missing, or may not be read.
    """
    with open_regular(case.volume) as volume, open_regular(case.segmentation) as segmentation:
        return FileState.of(volume), FileState.of(segmentation)


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


def fingerprint(cases: Sequence[Case]) -> str:
    """SHA-256 over IDs, sizes and first MiB of all files: tells data sets apart in seconds."""
    digest = hashlib.sha256()
    for case in cases:
        for path in (case.volume, case.segmentation):
            with open_regular(path) as file:
                size = FileState.of(file).size
                digest.update(f"{path.name} {size}\n".encode(errors="surrogateescape"))
                digest.update(file.read(_FINGERPRINT_BYTES))
    return digest.hexdigest()


def case_order(case_id: str) -> tuple[int, str]:
    """Sorts case IDs: numbers by their value, then words."""
    return (int(case_id), "") if case_id.isdecimal() else (2**31, case_id)
