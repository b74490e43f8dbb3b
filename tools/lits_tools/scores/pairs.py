"""Pairs of predicted masks and references: matching files by case, and checking their grids."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lits_runtime.errors import DatasetError
from lits_runtime.finding.find import LeftOut, find_scans, find_volumes, tell
from lits_runtime.finding.layouts import kinds_of_volumes
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.names import SCAN_NAMES, stem_and_ending

logger = logging.getLogger(__name__)

_KIND_BEFORE = re.compile(
    r"(test[-_])?(volume|segmentation|prediction|reference|submission|labels?|mask|scan)[-_](?=.)",
    re.IGNORECASE,
)
_KIND_BEHIND = re.compile(
    r"(?<=.)[-_](mask|seg|segmentation|pred|prediction|labels?|0000)$", re.IGNORECASE
)
"""Words for what a file holds; 0000 is nnU-Net's first channel."""


@dataclass(frozen=True)
class Pair:
    """A case's two files."""

    case_id: str
    predicted: Path
    """A mask, or the scan that a model is to segment."""
    reference: Path


def case_id_of(path: Path) -> str:
    """A file's name without its ending and the usual words for what it holds.

    >>> case_id_of(Path("volume-44_mask.nii.gz")), case_id_of(Path("segmentation-44.nii"))
    ('44', '44')
    """
    name = stem_and_ending(path.name)[0]
    while match := _KIND_BEHIND.search(name):
        name = name[: match.start()]
    while match := _KIND_BEFORE.match(name):
        name = name[match.end() :]
    return name


def find_pairs(predicted: Path, reference: Path, *, scans: bool = False) -> list[Pair]:
    """Match two files, or two folders by case.

    Subfolders are searched too, as by lits-infer, and files that are left out are logged. Where
    scans and masks lie side by side, as in LiTS or after lits-infer, the masks are taken. Cases of
    the same name in several subfolders are distinguished by subfolder. Predictions without a
    reference are skipped with a warning.

    Args:
        predicted: a mask or a folder of masks; if `scans`, a scan or a folder of scans.
        reference: a mask or a folder of masks.
        scans: whether `predicted` holds scans that are still to be segmented.

    Raises:
        DatasetError: one is a file and the other a folder, a reference has no prediction, or two
            files are of the same case.
    """
    if predicted.is_dir() != reference.is_dir():
        raise DatasetError(
            f"{predicted} and {reference}: expected two files or two folders, not one of each"
        )
    if not reference.is_dir():
        return [Pair(case_id_of(reference), predicted, reference)]
    predictions = _scans(predicted) if scans else _masks(predicted)
    references = _masks(reference)
    by_folder = _several_of_a_name(predictions) or _several_of_a_name(references)
    found = _by_case(predicted, predictions, by_folder)
    wanted = _by_case(reference, references, by_folder)
    if missing := [case for case in wanted if case not in found]:
        raise DatasetError(
            f"{predicted}: no file for {len(missing)} of {len(wanted)} cases of {reference}: "
            f"{', '.join(missing[:5])}; predict them, or move their references elsewhere"
        )
    if not wanted:
        raise DatasetError(f"{reference}: no mask in this folder ({SCAN_NAMES})")
    for case in found.keys() - wanted.keys():
        logger.warning("%s is skipped: it has no reference", found[case])
    return [Pair(case, found[case], wanted[case]) for case in wanted]


def _scans(folder: Path) -> list[Path]:
    found = find_scans(folder)
    tell(found.left_out, logger)
    return found.files


def _masks(folder: Path) -> list[Path]:
    """All volumes but probabilities; if some are masks by name or subfolder, only these."""
    found = find_volumes(folder)
    kinds = kinds_of_volumes(folder, found.files)
    masks = [path for path, kind in kinds.items() if kind == "mask"]
    taken = masks or [path for path, kind in kinds.items() if kind != "probability"]
    others = [LeftOut(path, f"taken for a {kinds[path]}") for path in kinds.keys() - set(taken)]
    tell([*found.left_out, *sorted(others, key=lambda one: one.path)], logger)
    return taken


def _several_of_a_name(files: Sequence[Path]) -> bool:
    return len({case_id_of(path) for path in files}) < len(files)


def _by_case(folder: Path, files: Sequence[Path], by_folder: bool) -> dict[str, Path]:
    """Files by case ID, or by subfolder and case ID."""
    cases: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: _natural(path.relative_to(folder))):
        place = path.parent.relative_to(folder) if by_folder else Path()
        case = (place / case_id_of(path)).as_posix()
        if case in cases:
            raise DatasetError(f"{cases[case]} and {path} are both case {case}: keep one of them")
        cases[case] = path
    return cases


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.as_posix())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def check_same_grid(pred: Geometry, gt: Geometry, what: str = "prediction and reference") -> None:
    """Raise a DatasetError unless two volumes are on the same grid, in any axis order.

    Corners may lie up to a tenth of a voxel apart.
    """
    if pred.canonical_shape != gt.canonical_shape:
        raise DatasetError(
            f"{what} differ in shape: {pred.canonical_shape} and {gt.canonical_shape} slices, rows "
            "and columns; resample one of them to the grid of the other"
        )
    if not pred.same_grid(gt):
        raise DatasetError(
            f"{what} have affines that lie {pred.apart_mm(gt):.3g} mm apart; if their voxels "
            "correspond nevertheless, as in LiTS volumes 28 to 47, use --ignore-affine, which "
            "takes the spacing of the latter"
        )
