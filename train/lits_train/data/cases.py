"""Cases of LiTS-style data: found, opened and checked."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lits_runtime.errors import DatasetError, LitsError
from lits_runtime.files.regular_file import open_regular
from lits_runtime.files.stable_file import FileState
from lits_runtime.labels import BACKGROUND, LESION, LIVER
from lits_runtime.volumes.label_volume import rounded_by, rounded_note, to_labels
from lits_runtime.volumes.scan import Scan
from lits_train.data.case_files import find_files, pairing_problem
from lits_train.data.cases_json import Statements, read_statements
from lits_train.data.repair import repaired

logger = logging.getLogger(__name__)

_FINGERPRINT_BYTES = 2**20


@dataclass(frozen=True)
class Case:
    """One patient's study: a CT volume and its mask."""

    case_id: str
    volume: Path
    segmentation: Path
    liver_only: bool = False
    """Lesions are not marked, so the case says nothing about them in training or validation."""
    stated_spacing_mm: tuple[float, float, float] | None = None
    """Voxel size along the stored axes that replaces the header's."""
    affine: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)
    """(4, 4) voxel-to-world that replaces the header's if `check_case` found that to be lost."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What `check_case` repaired."""
    label_counts: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((0, 3), np.int64), compare=False, repr=False
    )
    """(slices, 3): voxels of each label in each canonical slice; empty until `check_case`."""
    states: tuple[FileState, FileState] | None = field(default=None, compare=False, repr=False)
    """Of volume and segmentation when they were checked; files changed since then are refused."""

    def with_statements(self, statements: Statements) -> "Case":
        """The case with what `cases.json` states about it."""
        return replace(
            self,
            liver_only=self.case_id in statements.liver_only,
            stated_spacing_mm=statements.spacing_mm.get(self.case_id),
        )

    @property
    def slices(self) -> int:
        """Canonical axial slices; 0 until `check_case` has read the mask."""
        return len(self.label_counts)


def find_cases(folder: Path) -> list[Case]:
    """The pairs volume-ID / segmentation-ID (.nii or .nii.gz) in a folder and its subfolders.

    Raises:
        DatasetError: two files have the same ID, there is no complete pair, or `cases.json` is
            invalid.
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
        cases.append(Case(case_id, volume, segmentation).with_statements(statements))
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


def open_pair(case: Case) -> tuple[Scan, Scan]:
    """Volume and mask of a case, the mask on the volume's grid.

    LiTS pairs match voxel by voxel. The mask's own affine is ignored, because it is wrong in
    volumes 28 to 47 (MIC-DKFZ/nnUNet#2751), and a repaired affine replaces the volume's.

    Raises:
        DatasetError: volume and mask differ in shape.
        VolumeError: a file is not readable, or has changed since `check_case`.
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
    """The case with its label counts, from headers and the whole mask.

    Geometry that the header has lost is repaired, see `data.repair`. A case that already has its
    label counts is returned unchanged.

    Raises:
        DatasetError: volume and mask differ in shape, or the mask has labels other than 0, 1, 2.
        VolumeError: a file is not readable.
    """
    if case.slices:
        return case
    states = file_states(case)
    volume, mask = open_pair(replace(case, states=states))
    shape = volume.geometry.canonical_shape
    counts, off = np.zeros((shape[0], 3), np.int64), 0.0
    for slab in mask.slabs(1):
        values = mask.slab_hu(slab)
        labels = to_labels(values, "segmentation")
        off = max(off, rounded_by(values))
        for label in (BACKGROUND, LIVER, LESION):
            counts[slab.start, label] = np.count_nonzero(labels == label)
    volume.read_stored(shape[0] - 1, shape[0])  # fails if the file is truncated
    liver = np.flatnonzero(counts[:, 1:].any(axis=1))
    affine, notes = repaired(volume, mask, liver, case.stated_spacing_mm)
    if off:
        notes = (*notes, rounded_note(off))
        logger.warning("case %s: %s", case.case_id, notes[-1])
    if file_states(case) != states:
        raise DatasetError("a file changed while it was read")
    return replace(case, label_counts=counts, affine=affine, notes=notes, states=states)


def file_states(case: Case) -> tuple[FileState, FileState]:
    """Current states of volume and segmentation.

    Raises:
        VolumeError: one is not a regular file.
        OSError: one is missing or not readable.
    """
    with open_regular(case.volume) as volume, open_regular(case.segmentation) as segmentation:
        return FileState.of(volume), FileState.of(segmentation)


def usable_cases(cases: Sequence[Case]) -> tuple[list[Case], dict[str, str]]:
    """The cases that are usable, and by case ID why others are not.

    Raises:
        DatasetError: no case is usable.
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
    """SHA-256 of names, sizes and first MiB of all files: identifies a data set in seconds."""
    digest = hashlib.sha256()
    for case in cases:
        for path in (case.volume, case.segmentation):
            with open_regular(path) as file:
                size = FileState.of(file).size
                digest.update(f"{path.name} {size}\n".encode(errors="surrogateescape"))
                digest.update(file.read(_FINGERPRINT_BYTES))
    return digest.hexdigest()
