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
    is_as_told,
    name_in_record,
    read_record,
    record_path,
    write_record,
)
from lits_runtime.records.record_shape import is_complete
from lits_runtime.segment.options import Options
from lits_runtime.segment.outputs import Outputs
from lits_runtime.system.versions import versions
from lits_runtime.volumes.digest import file_sha256


@dataclass(frozen=True)
class Cause:
    """What decides a mask. Equal causes give equal masks, so that one need not be made again."""

    model_sha256: str
    options: Options
    outputs: Outputs
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
            name_in_record(self.mask, path): [facts_now(path).to_json()]
            for path in facts
            if path.exists() and explains(before, self.mask, path)
        }
        record = {"record_version": RECORD_VERSION, "state": "naming", "files": self._files(facts)}
        write_record(record_path(self.mask), record | ({"replaces": replaced} if replaced else {}))

    def commit(
        self, scan: Path, report: Report, facts: dict[Path, FileFacts], metadata: ModelMetadata
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
        return {name_in_record(self.mask, path): told.to_json() for path, told in facts.items()}
