"""The one walk through folders: which files are volumes or scans, and why others are not."""

import fnmatch
import os
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lits_runtime.finding.layouts import (
    folder_of_masks,
    litter,
    no_scans_by_layout,
)
from lits_runtime.finding.left_out import LeftOut
from lits_runtime.finding.path_problems import cannot_be_read, no_regular_file, reason
from lits_runtime.messages import printable
from lits_runtime.records.own_outputs import made_here
from lits_runtime.records.record_file import our_files
from lits_runtime.volumes.foreign_formats import BYTES, by_ending, is_dicom
from lits_runtime.volumes.names import SCAN_NAMES, is_dicom_name, volume_ending, without_halves

if TYPE_CHECKING:
    from lits_runtime.volumes.dicom.series import Series

_NO_DICOM = (
    *(".json", ".txt", ".csv", ".md", ".py", ".png", ".jpg", ".jpeg", ".gif", ".pdf", ".html"),
    *(".xml", ".yaml", ".log", ".zip", ".gz", ".tar", ".npy", ".npz", ".pth", ".onnx", ".mha"),
)
"""Endings of files that are not opened to see whether they are DICOM."""


@dataclass(frozen=True)
class Found:
    """The contents of a folder."""

    files: list[Path] = field(default_factory=list)
    """Sorted by path; a .hdr stands for its .img too."""
    left_out: list[LeftOut] = field(default_factory=list)
    """Sorted by path."""
    series: list["Series"] = field(default_factory=list)
    """The DICOM series to segment, by the place of their first file."""
    dicom: list[Path] = field(default_factory=list)
    """Of `find_volumes`: files that begin as DICOM objects do, sorted by path."""


def find_scans(
    folder: Path,
    *,
    pattern: str | None = None,
    outputs: Iterable[Path] = (),
    fill_missing: bool = False,
) -> Found:
    """The scans in a folder and its subfolders, and the other images, which are left out.

    These are masks, probabilities and organs by the layouts of common data sets and by our records,
    further channels, hidden files, other formats, and files that cannot be read. DICOM objects are
    found by content, whatever their names, and sorted into series.

    Args:
        folder: where to search. Links are followed; no folder is searched twice.
        pattern: for file names, as in a shell, in place of the usual endings.
        outputs: folders that are skipped if they lie inside `folder`, and whose records say which
            files in it we wrote.
        fill_missing: interpolate single missing slices of DICOM series.
    """
    outputs = list(outputs)
    walked = find_volumes(folder, pattern=pattern, outputs=outputs, with_dicom=pattern is None)
    found, others = _without_masks(folder, walked.files, outputs)
    left_out, series = [*walked.left_out, *others], list["Series"]()
    if walked.dicom:
        from lits_runtime.finding.series import series_among

        series, unfit = series_among(walked.dicom, folder, fill_missing=fill_missing)
        left_out += unfit
    return Found(found, sorted(left_out, key=lambda one: one.path), series)


def _without_masks(
    folder: Path, files: Iterable[Path], outputs: Sequence[Path]
) -> tuple[list[Path], list[LeftOut]]:
    """Those of the files that are scans, and why the others are none."""
    explained = cache(our_files)
    masks_above = folder_of_masks(Path(os.path.realpath(folder)).name)
    found, left_out = list[Path](), list[LeftOut]()
    for parent, inside_it in _by_folder(files).items():
        inside = [folder_of_masks(part) for part in parent.relative_to(folder).parts]
        by_folder = next(filter(None, (masks_above, *inside)), None)
        names = [file.name for file in inside_it]
        place = parent.relative_to(folder)  # also in the output folders, which mirror the tree
        places = [records for output in outputs for records in (output, output / place)]
        reasons = no_scans_by_layout(parent, names) | made_here(parent, places, explained)
        for file in inside_it:
            if why := by_folder or reasons.get(file.name):
                left_out.append(LeftOut(file, why))
            elif why := cannot_be_read(file):
                left_out.append(LeftOut(file, why, lost=True))
            else:
                found.append(file)
    return found, left_out


def find_volumes(
    folder: Path,
    *,
    pattern: str | None = None,
    outputs: Iterable[Path] = (),
    with_dicom: bool = False,
) -> Found:
    """All volumes in a folder and its subfolders: scans, masks and others; DICOM apart.

    Args:
        folder: where to search. Links are followed; no folder is searched twice.
        pattern: for file names, as in a shell, in place of the usual endings.
        outputs: folders that are skipped if they lie inside `folder`.
        with_dicom: look for DICOM objects too.
    """
    walk = _Walk(folder, pattern, outputs, with_dicom)
    walk.through()
    left_out = sorted(walk.left_out, key=lambda one: one.path)
    return Found(sorted(walk.files), left_out, dicom=sorted(walk.dicom))


def nothing_in(found: Found, names: str = SCAN_NAMES) -> str:
    """Why a folder has no scans, as the end of a message."""
    series = [one.why for one in found.left_out if one.is_series]
    if series:
        more = f" and {len(series) - 1} more series" if len(series) > 1 else ""
        return f"{series[0]}{more}; --series names the one to segment nonetheless"
    counted = f"; {len(found.left_out)} left out" if found.left_out else ""
    return f"no scan in this folder ({names}{counted})"


class _Walk:
    """Searches real folders before links, so that a volume gets its real path."""

    def __init__(
        self,
        folder: Path,
        pattern: str | None,
        outputs: Iterable[Path],
        with_dicom: bool = False,
    ) -> None:
        self.files: list[Path] = []
        self.dicom: list[Path] = []
        """Files that begin as DICOM objects do, if they are wanted."""
        self._with_dicom = with_dicom
        self.left_out: list[LeftOut] = []
        self._pattern = pattern
        self._folders, self._links = deque([folder]), deque[Path]()
        self._seen: dict[tuple[int, int] | str, Path] = {}
        above = {_identity(folder), *map(_identity, Path(os.path.realpath(folder)).parents)}
        self._outputs = {_identity(output) for output in outputs} - above - {None}

    def through(self) -> None:
        """Fill `files` and `left_out`."""
        while self._folders or self._links:
            folder = (self._folders or self._links).popleft()
            identity = _identity(folder)
            if identity in self._outputs:
                self._leave(folder, "the output folder")
                continue
            other = folder if identity is None else self._seen.setdefault(identity, folder)
            if other != folder:
                self._leave(folder, f"the same folder as {printable(str(other))}")
                continue
            try:
                with os.scandir(folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self._leave(folder, reason(error), lost=True)
                continue
            self._take(folder, listed)

    def _take(self, folder: Path, entries: Sequence["os.DirEntry[str]"]) -> None:
        volumes = []
        for entry in entries:
            path = folder / entry.name
            try:
                if entry.is_dir():
                    self._take_folder(path, entry.is_symlink())
                elif self._takes(path, entry):
                    volumes.append(entry.name)
            except OSError as error:  # a link to itself
                self._leave(path, reason(error), lost=not litter(entry.name))
        if self._pattern is not None:
            self.files += (folder / name for name in volumes)
            return
        kept, alone = without_halves(volumes)
        self.files += (folder / name for name in kept)
        for name, why in alone.items():
            self._leave(folder / name, why)

    def _take_folder(self, path: Path, is_link: bool) -> None:
        if why := litter(path.name):
            self._leave(path, why)
        else:
            (self._links if is_link else self._folders).append(path)

    def _takes(self, path: Path, entry: "os.DirEntry[str]") -> bool:
        """Whether the name is a volume's and the entry is a regular file."""
        if self._pattern is None:
            named = bool(volume_ending(path.name))
        else:
            named = fnmatch.fnmatchcase(path.name, self._pattern)
        foreign = by_ending(path.name)
        if (named or foreign) and (why := litter(path.name)):
            self._leave(path, why)
        elif entry.is_file():
            if not named and self._with_dicom and _begins_as_dicom(path):
                self.dicom.append(path)
            elif foreign and not named:
                if self._with_dicom and is_dicom_name(path.name):
                    foreign = "not DICOM, though named so; copy it again"
                self._leave(path, foreign)
            return named
        elif entry.is_symlink() and not os.path.exists(path):
            if not litter(path.name):  # it may have led to a folder, whatever its name
                target = printable(os.readlink(path))
                self._leave(path, f"a link to {target}, which is not there", lost=True)
        elif named:
            self._leave(path, no_regular_file(entry.stat().st_mode) or "no file", lost=True)
        return False

    def _leave(self, path: Path, why: str, lost: bool = False) -> None:
        self.left_out.append(LeftOut(path, why, lost))


def _begins_as_dicom(path: Path) -> bool:
    name = path.name
    if name.startswith(".") or name.lower().endswith(_NO_DICOM):
        return False
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(BYTES))
    except OSError:
        return False


def _identity(folder: Path) -> tuple[int, int] | str | None:
    """The same for all paths of one folder; None if it does not exist."""
    try:
        status = os.stat(folder)
    except (OSError, ValueError):
        return None
    if status.st_ino == 0:  # as some network file systems on Windows have it
        return os.path.realpath(folder)
    return status.st_dev, status.st_ino


def _by_folder(files: Iterable[Path]) -> dict[Path, list[Path]]:
    folders: dict[Path, list[Path]] = {}
    for file in files:
        folders.setdefault(file.parent, []).append(file)
    return folders
