"""Which DICOM series are in folders, files and archives, and why other objects are left out."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lits_runtime.errors import LitsError, VolumeError
from lits_runtime.messages import hashed_uid, without_uids
from lits_runtime.volumes.dicom.archive import is_archive, members
from lits_runtime.volumes.dicom.series import Series
from lits_runtime.volumes.dicom.sorting.grid import grid_of, some
from lits_runtime.volumes.dicom.sorting.groups import (
    is_localiser,
    of_one_grid,
    phases,
    without_copies,
)
from lits_runtime.volumes.dicom.sorting.images import TAGS, Image, images_of, no_ct
from lits_runtime.volumes.dicom.sorting.values import text, texts
from lits_runtime.volumes.dicom.stored import Stored, quiet, read_header, stored_file
from lits_runtime.volumes.foreign_formats import BYTES, is_dicom

MAX_OBJECTS = 200_000
FEW = 3
"""A group of fewer images beside a larger one is no volume of its own."""
_DIRECTORY = "1.2.840.10008.1.3.10"
_MOST_DIRECTORY_ENTRIES = 2**17


@dataclass(frozen=True)
class NotUsed:
    """An object that is in no series."""

    stored: Stored
    why: str
    lost: bool = False
    """Whether it may be a slice that is damaged."""
    series_uid: str = ""
    """Of its series, as far as known."""


@dataclass(frozen=True)
class Refused:
    """A series, or a volume of it, that cannot be read as it is."""

    uid: str
    number: int | None
    images: int
    paths: tuple[Path, ...]
    why: str

    @property
    def name(self) -> str:
        """For messages."""
        number = "series" if self.number is None else f"series-{self.number}"
        return f"{number}-{hashed_uid(self.uid)}"


@dataclass(frozen=True)
class FoundSeries:
    """All CT series in what was given."""

    series: tuple[Series, ...] = ()
    """By series number."""
    refused: tuple[Refused, ...] = ()
    not_used: tuple[NotUsed, ...] = ()
    files: int = 0
    """That were looked at."""


def find_series(given: Path | Sequence[Path], *, fill_missing: bool = False) -> FoundSeries:
    """The CT series in a folder, a ZIP archive, a DICOMDIR, or files.

    Args:
        given: a folder is searched with its subfolders; other objects may lie about in it.
        fill_missing: interpolate single missing slices, and say so in the notes of the series.

    Raises:
        VolumeError: an archive that is damaged or beyond the limits, or too many files.
        OSError: a path is missing, or may not be read.
    """
    paths = [given] if isinstance(given, Path) else given
    images: dict[str, list[Image]] = {}
    not_used, count = list[NotUsed](), 0
    for stored in _objects(paths):
        count += 1
        if count > MAX_OBJECTS:
            raise VolumeError(f"over {MAX_OBJECTS} files: name the folders of single studies")
        found = _images(stored)
        if isinstance(found, NotUsed):
            not_used.append(found)
        else:
            images.setdefault(found[0].series_uid, []).extend(found)
    series, refused = list[Series](), list[Refused]()
    for uid in images:
        _sort_out(images[uid], fill_missing, series, refused, not_used)
    series = [_with_lost(one, not_used) for one in series]
    series.sort(key=lambda one: (one.number is None, one.number or 0, one.uid, one.part))
    return FoundSeries(tuple(series), tuple(refused), tuple(not_used), count)


def _objects(paths: Iterable[Path]) -> Iterator[Stored]:
    for path in paths:
        if path.is_dir():
            for folder, inside, files in os.walk(path):
                inside[:] = sorted(one for one in inside if not one.startswith((".", "__MACOSX")))
                yield from _regular(Path(folder) / one for one in sorted(files))
        elif is_archive(path):
            state, inside_it = members(path)
            yield from (Stored(path, state, member) for member in inside_it)
        else:
            yield from _named_by_directory(path) or [stored_file(path)]


def _regular(paths: Iterable[Path]) -> Iterator[Stored]:
    for path in paths:
        if not path.name.startswith(".") and path.is_file():
            yield stored_file(path)


def _named_by_directory(path: Path) -> list[Stored]:
    """The files that a DICOMDIR names, which lie in its folder; empty for another file."""
    stored = stored_file(path)
    if not is_dicom(stored.read(256)):
        return []
    named = _file_ids(stored)
    if named is None:
        return []
    files = list[Path]()
    for parts in named:
        if any(part in ("", ".", "..") or set(part) & set("/\\:\0") for part in parts):
            raise VolumeError(
                f"{without_uids(str(path))}: a DICOMDIR that names files outside its folder; give "
                "the folder itself"
            )
        files.append(path.parent.joinpath(*parts))
    missing = [one for one in files if not one.is_file()]
    if missing or not files:
        raise VolumeError(
            f"{without_uids(str(path))}: a DICOMDIR of {len(files)} files, of which {len(missing)} "
            "are not there; copy the whole medium, or give the folder itself"
        )
    return [stored_file(one) for one in files]


def _file_ids(stored: Stored) -> list[list[str]] | None:
    """The files that a DICOMDIR names, by the parts of their paths; None for another object."""
    try:
        dataset = read_header(stored).dataset
        with quiet():
            if _class_of(dataset) != _DIRECTORY:
                return None
            records = (dataset.get("DirectoryRecordSequence") or [])[:_MOST_DIRECTORY_ENTRIES]
            named = [list(texts(record, "ReferencedFileID")) for record in records]
    except (OSError, MemoryError):
        raise
    except Exception:  # what is wrong with it is said where all objects are read
        return None
    return [parts for parts in named if any(parts)]


def _class_of(dataset: Any) -> str:
    return str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID", ""))


def _images(stored: Stored) -> list[Image] | NotUsed:
    uid = ""
    try:
        if not is_dicom(stored.read(BYTES)):
            return NotUsed(stored, "not DICOM")
        header = read_header(stored, TAGS)
        with quiet():
            if why := no_ct(header.dataset, _class_of(header.dataset)):
                return NotUsed(stored, why)
            uid = text(header.dataset, "SeriesInstanceUID")
            return list(images_of(header, stored))
    except LitsError as error:
        why = str(error).removeprefix(f"{stored.name}: ")
    except OSError as error:  # its own text has the folder
        why = f"cannot be read: {error.strerror}"
    except MemoryError:
        raise
    except Exception as error:  # pydicom converts a value when it is first looked at
        why = f"damaged DICOM ({type(error).__name__})"
    return NotUsed(stored, why, lost=True, series_uid=uid)


def _sort_out(
    images: list[Image],
    fill_missing: bool,
    series: list[Series],
    refused: list[Refused],
    not_used: list[NotUsed],
) -> None:
    """Make volumes of the images of one series UID."""
    scouts = [image for image in images if is_localiser(image)]
    not_used += (_left(image, "a localiser (scout view)") for image in scouts)
    kept, copies = without_copies([image for image in images if not is_localiser(image)])
    not_used += (_left(image, "a copy of another image") for image in copies)
    groups = of_one_grid(kept)
    largest = max(map(len, groups), default=0)
    strays = [group for group in groups if len(group) < FEW <= largest]
    why = "of another orientation, matrix, spacing or kind than the rest of its series"
    not_used += (_left(image, why) for group in strays for image in group)
    notes = tuple(
        f"{len(group)} image{'s' * (len(group) > 1)} {why} left out: {some(group)}"
        for group in strays
    )
    made = list[Series]()
    for group in groups:
        if group in strays:
            continue
        try:
            for volume in phases(group):
                made.append(_series(volume, fill_missing, notes))
        except VolumeError as error:
            paths = tuple(dict.fromkeys(image.header.path for image in group))
            first = group[0]
            refused.append(Refused(first.series_uid, first.number, len(group), paths, str(error)))
    several = len(made) > 1
    series += (
        replace(one, part=(part, len(made))) if several else one for part, one in enumerate(made, 1)
    )


def _left(image: Image, why: str) -> NotUsed:
    return NotUsed(image.header.stored, why, series_uid=image.series_uid)


def _series(images: list[Image], fill_missing: bool, notes: tuple[str, ...]) -> Series:
    grid, first = grid_of(images, fill_missing=fill_missing), images[0]
    return Series(
        uid=first.series_uid,
        study_uid=first.study_uid,
        frame_of_reference_uid=first.frame_of_reference_uid,
        number=first.number,
        description=first.description,
        slices=grid.slices,
        orientation=first.orientation,
        geometry=grid.geometry,
        notes=(*grid.notes, *notes),
        acquisition=first.acquisition,
    )


def _with_lost(series: Series, not_used: Iterable[NotUsed]) -> Series:
    """With a note on files that may be slices of it, but cannot be read."""
    lost = [one for one in not_used if one.lost and one.series_uid in ("", series.uid)]
    if not lost:
        return series
    names = ", ".join(f"{one.stored.name} ({one.why})" for one in lost[:3])
    more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
    note = f"files that may be slices cannot be read, so that an end may be missing: {names}{more}"
    return replace(series, notes=(*series.notes, note))
