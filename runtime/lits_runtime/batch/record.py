"""The record of a job: what decides its mask, and the commit of its results."""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lits_runtime.errors import LitsError
from lits_runtime.files.atomic import FileFacts
from lits_runtime.measure.report import Report
from lits_runtime.model.metadata import ModelMetadata
from lits_runtime.records.record_file import (
    RECORD_VERSION,
    explains,
    facts_now,
    facts_of,
    matches,
    name_in_record,
    read_record,
    record_path,
    write_record,
)
from lits_runtime.records.record_shape import is_complete
from lits_runtime.segment.options import Applied
from lits_runtime.segment.outputs import ToFiles
from lits_runtime.system.versions import versions
from lits_runtime.volumes.digest import file_sha256

_BEFORE_SEARCH = {"search_mm": 0.0}
"""Settings that records of version 0.2.0 lack."""


@dataclass(frozen=True)
class JobRecord:
    """The record beside a mask, and what it must say for the mask not to be made again."""

    model_sha256: str
    applied: Applied
    output: ToFiles
    results: tuple[Path, ...]
    """The mask and the probabilities."""

    @property
    def mask(self) -> Path:
        """Beside which the record lies."""
        return self.output.mask

    @property
    def path(self) -> Path:
        """Of the record."""
        return record_path(self.mask)

    def settings(self) -> dict[str, Any]:
        """The settings that decide the mask, as they stand in the record."""
        return self.applied.to_json() | {
            "mask_kind": self.output.mask_kind,
            "probability": self.output.probability is not None,
        }

    def committed(self, scan: Path) -> dict[str, Any] | None:
        """The record, if it commits this scan, model and settings, and its files are intact."""
        record = read_record(self.path)
        if record is None or not is_complete(record):
            return None
        if _BEFORE_SEARCH | record["settings"] != self.settings():
            return None
        if record["model"]["sha256"] != self.model_sha256:
            return None
        recorded = {path: facts_of(record, self.mask, path) for path in self.results}
        if any(facts is None or not matches(path, facts) for path, facts in recorded.items()):
            return None
        try:
            return record if record["scan"]["sha256"] == file_sha256(scan) else None
        except (OSError, LitsError):  # opening it will say what is wrong
            return None

    def ours(self, path: Path) -> bool:
        """Whether the file at one of the results' paths, or at the record's, is ours to replace.

        A record of another mask is not: those of "a.nii" and "a.nii.gz" have the same name.
        """
        record = read_record(self.path)
        if record is None or path != self.path:
            return explains(record, self.mask, path)
        return "files" not in record or facts_of(record, self.mask, self.mask) is not None

    def names(self, path: Path) -> bool:
        """Whether the record names one of the results, whatever its content is now."""
        record = read_record(self.path)
        return record is not None and facts_of(record, self.mask, path) is not None

    def begin_naming(self, facts: dict[Path, FileFacts]) -> None:
        """Record the files that are about to take their names, and those of ours they replace."""
        before = read_record(self.path)
        replaced = {
            name_in_record(self.mask, path): [facts_now(path).to_json()]
            for path in facts
            if path.exists() and explains(before, self.mask, path)
        }
        record = {"record_version": RECORD_VERSION, "state": "naming", "files": self._files(facts)}
        write_record(self.path, record | ({"replaces": replaced} if replaced else {}))

    def commit(
        self, scan: Path, report: Report, facts: dict[Path, FileFacts], metadata: ModelMetadata
    ) -> dict[str, Any]:
        """Write the record of results that have their names, with size and digest of each."""
        found = report.to_json()
        del found["applied"]  # it is among the settings
        record: dict[str, Any] = {
            "record_version": RECORD_VERSION,
            "state": "done",
            "warnings": list(found.pop("warnings")),
            "scan": {
                "name": scan.name,
                "bytes": found.pop("scan_bytes"),
                "sha256": found.pop("scan_sha256"),
            },
            "model": {
                "sha256": found.pop("model_sha256"),
                "recipe": metadata.recipe,
                "precision": metadata.precision,
                "intended_use": metadata.intended_use,
            },
            "settings": self.settings(),
            **found,
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "files": self._files(facts),
        }
        return write_record(self.path, record)

    def _files(self, facts: dict[Path, FileFacts]) -> dict[str, Any]:
        return {
            name_in_record(self.mask, path): written.to_json() for path, written in facts.items()
        }
