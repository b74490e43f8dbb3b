"""Pairs of predicted masks and references: matching files by case, and checking their grids."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lits_runtime.errors import DatasetError
from lits_runtime.finding.find import find_scans, find_volumes
from lits_runtime.finding.layouts import kinds_of_volumes
from lits_runtime.finding.left_out import LeftOut, tell
from lits_runtime.messages import without_uids
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.label_volume import LabelVolume
from lits_runtime.volumes.names import SCAN_NAMES, stem_and_ending

if TYPE_CHECKING:
    from lits_runtime.volumes.dicom.series import Series

logger = logging.getLogger(__name__)

_KIND_BEFORE = re.compile(
    r"(test[-_])?(volume|segmentation|prediction|reference|submission|labels?|mask|scan)[-_](?=.)",
    re.IGNORECASE,
)
_KIND_BEHIND = re.compile(
    r"(?<=.)[-_](mask|seg|segmentation|pred|prediction|labels?|0000)$", re.IGNORECASE
)
"""Words for what a file holds; 0000 is nnU-Net's first channel."""
_NAMED_BY_FOLDER = ("seg", "mask")
"""Files of lits-infer in the folder of a series, and of others in the folder of a case."""


@dataclass(frozen=True)
class Pair:
    """A case's two files."""

    case_id: str
    predicted: "Path | Series"
    """A mask, or the scan that a model is to segment."""
    reference: Path


def case_id_of(path: Path) -> str:
    """A file's name without its ending and the usual words for what it holds.

    >>> case_id_of(Path("volume-44_mask.nii.gz")), case_id_of(Path("segmentation-44.dcm"))
    ('44', '44')
    """
    name = stem_and_ending(without_uids(path.name))[0]
    if path.suffix.lower() == ".dcm":
        name = name[: -len(".dcm")]
    while match := _KIND_BEHIND.search(name):
        name = name[: match.start()]
    while match := _KIND_BEFORE.match(name):
        name = name[match.end() :]
    return name


def find_pairs(predicted: Path, reference: Path, *, scans: bool = False) -> list[Pair]:
    """Match two files, or two folders by case.

    Subfolders are searched too, as by lits-infer, and files that are left out are logged. Where
    scans and masks lie side by side, as in LiTS or after lits-infer, the masks are taken, of which
    DICOM SEG is one form. Cases of the same name in several subfolders are distinguished by
    subfolder; seg.dcm and mask.nii.gz in a subfolder have its name. Predictions without a reference
    are skipped with a warning.

    Args:
        predicted: a mask or a folder of masks; if `scans`, a scan, which may be the folder of a
            DICOM series, or a folder of scans.
        reference: a mask or a folder of masks; of a series found in a folder, it is named like
            `Series.name`.
        scans: whether `predicted` holds scans that are still to be segmented.

    Raises:
        DatasetError: one is a file and the other a folder, a reference has no prediction, or two
            files are of the same case.
    """
    is_scan = scans and not reference.is_dir()
    if predicted.is_dir() != reference.is_dir() and not is_scan:
        raise DatasetError(
            f"{predicted} and {reference}: expected two files or two folders, not one of each"
        )
    if not reference.is_dir():
        return [Pair(case_id_of(reference), predicted, reference)]
    predictions, series = _scans(predicted) if scans else (_masks(predicted), {})
    references = _masks(reference)
    by_folder = _several_of_a_name(predicted, predictions) or _several_of_a_name(
        reference, references
    )
    found: dict[str, Path | Series] = {**_by_case(predicted, predictions, by_folder), **series}
    wanted = _by_case(reference, references, by_folder)
    if missing := [case for case in wanted if case not in found]:
        raise DatasetError(
            f"{predicted}: no file for {len(missing)} of {len(wanted)} cases of {reference}: "
            f"{', '.join(missing[:5])}; predict them, or move their references elsewhere"
        )
    if not wanted:
        raise DatasetError(f"{reference}: no mask in this folder ({SCAN_NAMES}, DICOM SEG)")
    for case in found.keys() - wanted.keys():
        logger.warning("%s is skipped: it has no reference", case)
    return [Pair(case, found[case], wanted[case]) for case in wanted]


def _scans(folder: Path) -> "tuple[list[Path], dict[str, Series]]":
    """The files, and the DICOM series by name."""
    found = find_scans(folder)
    tell(found.left_out, logger)
    return found.files, {one.name: one for one in found.series}


def _masks(folder: Path) -> list[Path]:
    """All volumes but probabilities; if some are masks by name, subfolder or content, only these.

    Of a mask in both formats beside each other, the NIfTI file.
    """
    found = find_volumes(folder, with_dicom=True)
    kinds = kinds_of_volumes(folder, found.files)
    masks = [path for path, kind in kinds.items() if kind == "mask"]
    segs, others = _segs(found.dicom)
    written_twice = {_place_and_case(folder, path) for path in masks}
    others += (LeftOut(path, f"taken for a {kinds[path]}") for path in kinds if path not in masks)
    for path in segs:
        if _place_and_case(folder, path) in written_twice:
            others.append(LeftOut(path, "a DICOM SEG beside a NIfTI mask of the same case"))
        else:
            masks.append(path)
    taken = masks or [path for path, kind in kinds.items() if kind != "probability"]
    others = [one for one in others if one.path not in taken]
    tell([*found.left_out, *sorted(others, key=lambda one: one.path)], logger)
    return taken


def _segs(paths: Sequence[Path]) -> tuple[list[Path], list[LeftOut]]:
    """Those DICOM objects that are Segmentations, and what the others are."""
    if not paths or find_spec("pydicom") is None:
        why = "DICOM needs pydicom, which is not installed: pip install 'lits-toolkit[dicom]'"
        return [], [LeftOut(path, why, lost=True) for path in paths]
    from lits_runtime.volumes.dicom_objects.read_seg import is_seg

    segs = {path: is_seg(path) for path in paths}
    others = [LeftOut(path, "DICOM, but no SEG") for path in paths if not segs[path]]
    return [path for path in paths if segs[path]], others


def _several_of_a_name(folder: Path, files: Sequence[Path]) -> bool:
    return len({_place_and_case(folder, path)[1] for path in files}) < len(files)


def _place_and_case(folder: Path, path: Path) -> tuple[Path, str]:
    """The subfolder that tells cases of one name apart, and the case ID."""
    place, case = path.parent.relative_to(folder), case_id_of(path)
    if case.lower() in _NAMED_BY_FOLDER and place.parts:
        return place.parent, case_id_of(place)
    return place, case


def _by_case(folder: Path, files: Sequence[Path], by_folder: bool) -> dict[str, Path]:
    """Files by case ID, or by subfolder and case ID."""
    cases: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: _natural(path.relative_to(folder))):
        place, name = _place_and_case(folder, path)
        case = (place / name if by_folder else Path(name)).as_posix()
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


def check_by_index(*masks: LabelVolume) -> None:
    """Raise a DatasetError if a mask cannot be matched by index: a DICOM SEG may hold a part."""
    for mask in masks:
        if mask.is_part:
            raise DatasetError(
                f"{mask.name}: a DICOM SEG, which is matched by geometry and never by index; omit "
                "--ignore-affine (ignore_affine)"
            )
