"""The record beside a mask: it says what the mask was made from, and is written last, as a commit.

A record also accounts for the files that we wrote, by size and digest. While results are renamed to
their targets its state is "naming"; it then lists both the new files ("files") and those that they
replace ("replaces"), so that it accounts for all of them whenever the process is killed.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from lits_runtime.errors import LitsError
from lits_runtime.files.atomic import FileFacts, atomic_path
from lits_runtime.files.regular_file import read_bounded
from lits_runtime.records.record_shape import is_record
from lits_runtime.volumes.digest import file_sha256
from lits_runtime.volumes.names import WRITTEN, is_dicom_name, stem_and_ending

RECORD_VERSION = 1
MAX_RECORD_BYTES = 2**24
"""Twenty times the size of a record of a thousand lesions."""


def record_path(mask: Path) -> Path:
    """The path of a mask's record: a_mask.json for a_mask.nii.gz, seg.json for seg.dcm."""
    if is_dicom_name(mask.name):
        return mask.with_suffix(".json")
    return mask.with_name(stem_and_ending(mask.name)[0] + ".json")


def read_record(path: Path) -> dict[str, Any] | None:
    """The record in a file; None if there is no file, or no sound record in it.

    It lists its files, but need not be complete; see `record_shape.is_complete`.
    """
    try:
        return record_of(read_bounded(path, MAX_RECORD_BYTES, LitsError))
    except (OSError, LitsError):
        return None


def record_of(text: bytes) -> dict[str, Any] | None:
    """The record that is the content of a file; None if that is no sound record."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError, MemoryError):
        return None
    return content if is_record(content, RECORD_VERSION) else None


def our_files(folder: Path) -> set[Path]:
    """The files that the records in a folder list, whether they exist or not.

    Only their names count, not their content: a mask that was edited is not a scan either. Paths
    are absolute, and their folders free of links.
    """
    ours: set[Path] = set()
    try:
        with os.scandir(folder) as entries:
            records = [Path(entry.path) for entry in entries if entry.name.endswith(".json")]
    except OSError:  # the walk through the folder reports it
        return ours
    for path in records:
        record = read_record(path)
        if record is None:
            continue
        for name in record.get("files", [path.stem + ending for ending in WRITTEN]):
            place = folder / name
            with suppress(ValueError, OSError):  # not a possible file name
                ours.add(Path(os.path.realpath(place.parent)) / place.name)
    return ours


def explains(record: dict[str, Any] | None, beside: Path, path: Path) -> bool:
    """Whether a file is as we wrote it, according to a record.

    Args:
        record: as `read_record` returns it.
        beside: the file that the record belongs to.
        path: the file in question, which exists.
    """
    if record is None:
        return False
    known = [
        facts_of(record, beside, path),
        *record.get("replaces", {}).get(name_in_record(beside, path), ()),
    ]
    return any(facts is not None and matches(path, facts) for facts in known)


def facts_of(record: dict[str, Any], beside: Path, path: Path) -> dict[str, Any] | None:
    """Size and digest of a file by a record; the first edition listed names alone."""
    files: dict[str, Any] = record.get("files", {})
    return files.get(name_in_record(beside, path), files.get(path.name))


def matches(path: Path, facts: dict[str, Any]) -> bool:
    """Whether a file has the size and digest of a record."""
    try:
        if path.stat().st_size != facts["bytes"]:
            return False
        sha256: str = facts["sha256"]
        return file_sha256(path) == sha256
    except (OSError, LitsError):
        return False


def name_in_record(beside: Path, path: Path) -> str:
    """The name of a file in a record: its path relative to the folder of the record."""
    if path.parent == beside.parent:
        return path.name
    try:
        folder = os.path.relpath(os.path.realpath(path.parent), os.path.realpath(beside.parent))
    except ValueError:  # another drive on Windows
        return path.absolute().as_posix()
    return (Path(folder) / path.name).as_posix()


def write_record(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Write a record and return it as it will be read, with lists in place of tuples."""
    text = json.dumps(record, indent=1) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text)
    written: dict[str, Any] = json.loads(text)
    return written


def facts_now(path: Path) -> FileFacts:
    """The present size and digest of a file."""
    return FileFacts(path.stat().st_size, file_sha256(path))
