"""The record beside a mask: what it was made from, written last, so that it is the commit.

A record also says which files are ours: those with a size and digest that it names. While results
take their names its state is "naming", and it knows both those that come ("files") and those that
they replace ("replaces"), so that a process may be killed at any moment and nothing is unexplained.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from lits_runtime.errors import LitsError
from lits_runtime.files.atomic import FileFacts, atomic_path
from lits_runtime.files.regular_file import open_regular
from lits_runtime.records.record_shape import is_record
from lits_runtime.volumes.digest import file_sha256
from lits_runtime.volumes.names import WRITTEN, stem_and_ending

RECORD_VERSION = 1
MAX_RECORD_BYTES = 2**24
"""Twenty times a record of a thousand lesions."""


def record_path(mask: Path) -> Path:
    """Where the record of a mask is: "a_mask.nii.gz" has "a_mask.json"."""
    return mask.with_name(stem_and_ending(mask.name)[0] + ".json")


def read_record(path: Path) -> dict[str, Any] | None:
    """A record file of ours; None if there is none, or it is something else or damaged.

    It names its files, but need not be complete: see `record_shape.is_complete`.
    """
    try:
        with open_regular(path, LitsError) as file:
            text = file.read(MAX_RECORD_BYTES + 1)
        content = json.loads(text) if len(text) <= MAX_RECORD_BYTES else None
    except (OSError, ValueError, RecursionError, MemoryError, LitsError):
        return None
    return content if is_record(content, RECORD_VERSION) else None


def our_files(folder: Path) -> set[Path]:
    """Files that the records in a folder name as ours, there or elsewhere, whether they exist.

    Their names count and not their content: a mask that was corrected is no scan either. Paths are
    absolute, with the links among their folders followed.
    """
    ours: set[Path] = set()
    try:
        with os.scandir(folder) as entries:
            records = [Path(entry.path) for entry in entries if entry.name.endswith(".json")]
    except OSError:  # whoever walks the folder will say so
        return ours
    for path in records:
        record = read_record(path)
        if record is None:
            continue
        for name in record.get("files", [path.stem + ending for ending in WRITTEN]):
            place = folder / name
            with suppress(ValueError, OSError):  # no name that a file could have
                ours.add(Path(os.path.realpath(place.parent)) / place.name)
    return ours


def explains(record: dict[str, Any] | None, beside: Path, path: Path) -> bool:
    """Whether a file is as a record says that we wrote it.

    Args:
        record: as `read_record` gives it.
        beside: the file that the record lies beside.
        path: of the file in question, which exists.
    """
    if record is None:
        return False
    told = [
        facts_of(record, beside, path),
        *record.get("replaces", {}).get(name_in_record(beside, path), ()),
    ]
    return any(known is not None and is_as_told(path, known) for known in told)


def facts_of(record: dict[str, Any], beside: Path, path: Path) -> dict[str, Any] | None:
    """Size and digest that a record tells of a file; the first edition knew names only."""
    files: dict[str, Any] = record.get("files", {})
    return files.get(name_in_record(beside, path), files.get(path.name))


def is_as_told(path: Path, facts: dict[str, Any]) -> bool:
    """Whether a file has the size and digest that a record tells."""
    try:
        if path.stat().st_size != facts["bytes"]:
            return False
        sha256: str = facts["sha256"]
        return file_sha256(path) == sha256
    except (OSError, LitsError):
        return False


def name_in_record(beside: Path, path: Path) -> str:
    """How a record calls a file: by its name, or by the way there from the record's folder."""
    if path.parent == beside.parent:
        return path.name
    try:
        folder = os.path.relpath(os.path.realpath(path.parent), os.path.realpath(beside.parent))
    except ValueError:  # another drive of Windows
        return path.absolute().as_posix()
    return (Path(folder) / path.name).as_posix()


def write_record(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Write a record and give it as it will be read: with lists for tuples."""
    text = json.dumps(record, indent=1) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text)
    written: dict[str, Any] = json.loads(text)
    return written


def facts_now(path: Path) -> FileFacts:
    """Size and digest that a file has now."""
    return FileFacts(path.stat().st_size, file_sha256(path))
