"""The record beside a mask: what it was made from, written last, so that it is the commit.

A record also says which files are ours: those with a size and digest that it names. While results
take their names its state is "naming", and it knows both those that come ("files") and those that
they replace ("replaces"), so that a process may be killed at any moment and nothing is unexplained.
"""

import datetime
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lits_runtime.errors import LitsError
from lits_runtime.files.atomic import FileFacts, atomic_path
from lits_runtime.files.regular_file import open_regular
from lits_runtime.messages import stem_and_ending
from lits_runtime.model.metadata import ModelMetadata
from lits_runtime.records.record_shape import is_complete, is_record
from lits_runtime.segment.options import Options
from lits_runtime.system.versions import versions

if TYPE_CHECKING:
    from lits_runtime.measure.report import Report
    from lits_runtime.segment.outputs import Outputs

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
        for name in record.get("files", [f"{path.stem}.nii", f"{path.stem}.nii.gz"]):
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
        *record.get("replaces", {}).get(_name(beside, path), ()),
    ]
    return any(known is not None and is_as_told(path, known) for known in told)


def facts_of(record: dict[str, Any], beside: Path, path: Path) -> dict[str, Any] | None:
    """Size and digest that a record tells of a file; the first edition knew names only."""
    files: dict[str, Any] = record.get("files", {})
    return files.get(_name(beside, path), files.get(path.name))


def is_as_told(path: Path, facts: dict[str, Any]) -> bool:
    """Whether a file has the size and digest that a record tells."""
    from lits_runtime.volumes.nifti.reader import file_sha256

    try:
        if path.stat().st_size != facts["bytes"]:
            return False
        sha256: str = facts["sha256"]
        return file_sha256(path) == sha256
    except (OSError, LitsError):
        return False


def _name(beside: Path, path: Path) -> str:
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


@dataclass(frozen=True)
class Cause:
    """What decides a mask. Equal causes give equal masks, so that one need not be made again."""

    model_sha256: str
    options: Options
    outputs: "Outputs"
    mask: Path
    results: tuple[Path, ...]
    """The mask and the probabilities."""

    def settings(self) -> dict[str, Any]:
        """As it stands in a record."""
        return self.options.to_json() | {
            "mask_kind": self.outputs.mask_kind,
            "probability": self.outputs.probability is not None,
        }

    def committed(self, scan: Path) -> dict[str, Any] | None:
        """The record, if it commits to this scan, model and settings, and its files are whole."""
        from lits_runtime.volumes.nifti.reader import file_sha256

        record = read_record(record_path(self.mask))
        if record is None or not is_complete(record) or record["settings"] != self.settings():
            return None
        if record["model"]["sha256"] != self.model_sha256:
            return None
        told = {path: facts_of(record, self.mask, path) for path in self.results}
        if any(facts is None or not is_as_told(path, facts) for path, facts in told.items()):
            return None
        try:
            return record if record["scan"]["sha256"] == file_sha256(scan) else None
        except (OSError, LitsError):  # opening it will say what is wrong
            return None

    def ours(self, path: Path) -> bool:
        """Whether what is at one of the results' paths, or at the record's, is ours to replace.

        A record of another file is not: "a.nii" and "a.nii.gz" have one name for it.
        """
        record = read_record(record_path(self.mask))
        if record is None or path != record_path(self.mask):
            return explains(record, self.mask, path)
        return "files" not in record or facts_of(record, self.mask, self.mask) is not None

    def tells_of(self, path: Path) -> bool:
        """Whether the record names one of the results, whatever is there now."""
        record = read_record(record_path(self.mask))
        return record is not None and facts_of(record, self.mask, path) is not None

    def begin_naming(self, facts: dict[Path, FileFacts]) -> None:
        """Tell of files that are about to take their names, and of ours that they will replace."""
        before = read_record(record_path(self.mask))
        replaced = {
            _name(self.mask, path): [_facts(path).to_json()]
            for path in facts
            if path.exists() and explains(before, self.mask, path)
        }
        record = {"record_version": RECORD_VERSION, "state": "naming", "files": self._files(facts)}
        write_record(record_path(self.mask), record | ({"replaces": replaced} if replaced else {}))

    def commit(
        self, scan: Path, report: "Report", facts: dict[Path, FileFacts], metadata: ModelMetadata
    ) -> dict[str, Any]:
        """Write the record of files that are in place, by what was written to them."""
        told = report.to_json()
        record: dict[str, Any] = {
            "record_version": RECORD_VERSION,
            "state": "done",
            "warnings": list(told.pop("warnings")),
            "scan": {
                "name": scan.name,
                "bytes": told.pop("scan_bytes"),
                "sha256": told.pop("scan_sha256"),
            },
            "model": {
                "sha256": told.pop("model_sha256"),
                "recipe": metadata.recipe,
                "precision": metadata.precision,
                "intended_use": metadata.intended_use,
            },
            "settings": self.settings(),
            **told,
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "files": self._files(facts),
        }
        return write_record(record_path(self.mask), record)

    def _files(self, facts: dict[Path, FileFacts]) -> dict[str, Any]:
        return {_name(self.mask, path): told.to_json() for path, told in facts.items()}


def _facts(path: Path) -> FileFacts:
    from lits_runtime.volumes.nifti.reader import file_sha256

    return FileFacts(path.stat().st_size, file_sha256(path))
