"""Which predicted mask belongs to which reference, and whether both are on one grid."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from lits_runtime.errors import DatasetError
from lits_runtime.geometry import Geometry

logger = logging.getLogger(__name__)

_ENDING = re.compile(r"\.nii(\.gz)?$")
_KIND = re.compile(
    r"^(test[-_])?(volume|segmentation|prediction|reference|submission|labels?|mask|scan)[-_]"
    r"|[-_](mask|seg|segmentation|pred|prediction|labels?)$"
)


@dataclass(frozen=True)
class Pair:
    """A case's two files."""

    case_id: str
    predicted: Path
    """A mask, or the scan that a model is to segment."""
    reference: Path


def case_id_of(path: Path) -> str:
    """What is left of a file's name without its ending and the usual words for its kind.

    >>> case_id_of(Path("volume-44_mask.nii.gz")), case_id_of(Path("segmentation-44.nii"))
    ('44', '44')
    """
    name = _ENDING.sub("", path.name)
    while (shorter := _KIND.sub("", name, count=1)) and shorter != name:
        name = shorter
    return name


def find_pairs(predicted: Path, reference: Path, *, scans: bool = False) -> list[Pair]:
    """Match two files, or two folders by case.

    Predictions without a reference are passed over with a warning. In folders that hold scans and
    masks side by side, as LiTS does, the files named volume-ID or segmentation-ID are taken.

    Args:
        predicted: a mask or a folder of masks; of scans, if `scans`.
        reference: a mask or a folder of masks.
        scans: whether `predicted` holds scans that are still to be segmented.

    Raises:
        DatasetError: one is a file and the other a folder, a reference has no prediction, or two
            files claim the same case.
    """
    if predicted.is_dir() != reference.is_dir():
        raise DatasetError(
            f"{predicted} and {reference}: expected two files or two folders, not one of each"
        )
    if not reference.is_dir():
        return [Pair(case_id_of(reference), predicted, reference)]
    found = _by_case(predicted, "volume" if scans else "segmentation")
    wanted = _by_case(reference, "segmentation")
    if missing := [case for case in wanted if case not in found]:
        raise DatasetError(
            f"{predicted}: nothing for {len(missing)} of {len(wanted)} cases of {reference}: "
            f"{', '.join(missing[:5])}; predict them, or move their references away"
        )
    if not wanted:
        raise DatasetError(f"{reference}: no .nii or .nii.gz files")
    for case in found.keys() - wanted.keys():
        logger.warning("%s has no reference and is passed over", found[case])
    return [Pair(case, found[case], wanted[case]) for case in wanted]


def _by_case(folder: Path, kind: str) -> dict[str, Path]:
    files = sorted((p for p in folder.iterdir() if _ENDING.search(p.name)), key=_natural)
    named = [path for path in files if path.name.startswith((f"{kind}-", f"test-{kind}-"))]
    cases: dict[str, Path] = {}
    for path in named or files:
        case = case_id_of(path)
        if case in cases:
            raise DatasetError(f"{cases[case]} and {path} are both case {case}; keep one of them")
        cases[case] = path
    return cases


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def check_same_grid(pred: Geometry, gt: Geometry, what: str = "prediction and reference") -> None:
    """Raise a DatasetError unless two volumes are the same grid in canonical orientation.

    Files may store it in different axis orders. Corners may be a tenth of a voxel apart.
    """
    if pred.canonical_shape != gt.canonical_shape:
        raise DatasetError(
            f"{what} differ in shape: {pred.canonical_shape} and {gt.canonical_shape} slices, rows "
            "and columns; resample one onto the grid of the other"
        )
    if not pred.same_grid(gt):
        raise DatasetError(
            f"{what} have affines that lie {pred.apart_mm(gt):.3g} mm apart; if their voxels "
            "belong together nevertheless, as in LiTS volumes 28 to 47, use --ignore-affine, which "
            "takes the second one's spacing"
        )
