"""The volumes and segmentations in a folder, paired by name."""

import logging
import re
from pathlib import Path

from lits_runtime.finding.find import find_volumes
from lits_runtime.finding.layouts import case_of_layout
from lits_runtime.finding.left_out import LeftOut, tell
from lits_runtime.volumes.names import is_written, stem_and_ending

logger = logging.getLogger(__name__)

_NAME = re.compile(r"(volume|segmentation)-(.+)", re.IGNORECASE)


def find_files(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """The volumes and segmentations in a folder and its subfolders, by case.

    They are named volume-ID and segmentation-ID (.nii or .nii.gz), or ID in imagesTr and labelsTr
    as in MSD, with _0000 for nnU-Net's first channel. Links are followed, hidden files and folders
    are ignored, and everything that is left out is logged.

    Returns:
        By case ID, ordered by number: {"volume": paths, "segmentation": paths}.
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
    """The kind and case ID of a file by its folder or name; None if neither says."""
    if by_folder := case_of_layout(path):
        kind, stem = by_folder
        match = _NAME.fullmatch(stem)
        return kind, match[2] if match else stem
    if is_written(path.name) and (match := _NAME.fullmatch(stem_and_ending(path.name)[0])):
        return match[1].lower(), match[2]
    return None


def pairing_problem(case_id: str, files: dict[str, list[Path]]) -> str:
    """Why the files of a case are not a pair; empty if they are."""
    for kind, paths in files.items():
        if len(paths) > 1:
            return f"{kind}-{case_id} twice: {paths[0]} and {paths[1]}"
    missing = [kind for kind, paths in files.items() if not paths]
    return f"no {missing[0]}" if missing else ""


def case_order(case_id: str) -> tuple[int, str]:
    """Sort key for case IDs: numbers by value, then words."""
    return (int(case_id), "") if case_id.isdecimal() else (2**31, case_id)
